"""How many jobs of a model are taken in."""

from collections.abc import Callable

import httpx2

from tests.sora_adapter.sandbox.conftest import Clock

Start = Callable[..., httpx2.Client]


def create(api: httpx2.Client, model: str = "sora-2") -> httpx2.Response:
    return api.post("/v1/videos", json={"prompt": "a kite", "model": model})


def test_a_job_over_the_rate_is_refused_with_the_time_to_wait(start: Start, clock: Clock) -> None:
    api = start(requests_per_minute=2)
    create(api)
    clock.advance(20)
    create(api)
    refused = create(api)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], refused.headers["retry-after"]) == (
        429,
        "rate_limit_exceeded",
        "40",
    )


def test_a_job_is_taken_once_the_time_to_wait_is_over(start: Start, clock: Clock) -> None:
    api = start(requests_per_minute=1)
    create(api)
    clock.advance(int(create(api).headers["retry-after"]))
    assert create(api).status_code == 200


def test_each_model_has_a_rate_of_its_own(start: Start) -> None:
    api = start(requests_per_minute=1)
    create(api)
    assert create(api, "sora-2-pro").status_code == 200


def test_a_remix_counts_for_the_model_it_inherits(start: Start, clock: Clock) -> None:
    api = start(requests_per_minute=1, render_seconds=0)
    source = create(api).json()
    refused = api.post(f"/v1/videos/{source['id']}/remix", json={"prompt": "in rust"})
    assert refused.status_code == 429


def test_a_request_that_is_refused_for_what_it_asks_does_not_count(start: Start) -> None:
    api = start(requests_per_minute=1)
    api.post("/v1/videos", json={})
    assert create(api).status_code == 200


def test_looking_at_jobs_is_not_limited(start: Start) -> None:
    api = start(requests_per_minute=1)
    create(api)
    assert [api.get("/v1/videos").status_code for _ in range(3)] == [200] * 3


def test_a_job_beside_too_many_others_is_refused_without_a_time_to_wait(start: Start) -> None:
    api = start(running_jobs=1)
    create(api)
    refused = create(api)
    expected = {
        "message": "Too many running tasks",
        "type": "video_generation_user_error",
        "param": None,
        "code": None,
    }
    assert (refused.status_code, refused.json()["error"], "retry-after" in refused.headers) == (
        429,
        expected,
        False,
    )


def test_a_job_is_taken_once_another_is_over(start: Start, clock: Clock) -> None:
    api = start(running_jobs=1, render_seconds=10)
    create(api)
    clock.advance(10)
    assert create(api).status_code == 200


def test_what_is_running_is_counted_for_each_model(start: Start) -> None:
    api = start(running_jobs=1)
    create(api)
    assert create(api, "sora-2-pro").status_code == 200


def test_what_is_running_is_known_after_a_restart(start: Start) -> None:
    create(start(running_jobs=1))
    assert create(start(running_jobs=1)).status_code == 429
