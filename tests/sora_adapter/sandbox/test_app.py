"""The API over real HTTP."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.sora_adapter.sandbox.conftest import Clock, code_of

Start = Callable[..., httpx2.Client]
Make = Callable[..., bytes]
FIELDS = {
    "id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt",
    "size", "seconds", "remixed_from_video_id", "error",
}  # fmt: skip


def create(api: httpx2.Client, **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/videos", json={"prompt": "a teal kite", **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def retrieve(api: httpx2.Client, video: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = api.get(f"/v1/videos/{video['id']}").json()
    return body


def test_a_new_job_has_all_fields_of_the_official_description(api: httpx2.Client) -> None:
    assert create(api).keys() == FIELDS


def test_a_new_job_is_queued(api: httpx2.Client) -> None:
    video = create(api)
    assert (video["status"], video["progress"]) == ("queued", 0)


def test_a_job_is_completed_when_the_clock_says_so(api: httpx2.Client, clock: Clock) -> None:
    video = create(api)
    clock.advance(10)
    assert retrieve(api, video)["status"] == "completed"


def test_a_completed_job_tells_when_it_was_and_when_its_content_expires(
    api: httpx2.Client, clock: Clock
) -> None:
    video = create(api)
    clock.advance(500)
    done, born = retrieve(api, video), video["created_at"]
    assert (done["completed_at"], done["expires_at"]) == (born + 10, born + 3610)


def test_a_job_that_takes_no_time_is_completed_at_the_first_retrieve(start: Start) -> None:
    api = start(render_seconds=0)
    assert retrieve(api, create(api))["status"] == "completed"


def test_a_prompt_marked_fail_is_blocked(api: httpx2.Client, clock: Clock) -> None:
    video = create(api, prompt="a kite [fail]")
    clock.advance(10)
    assert retrieve(api, video)["error"]["code"] == "moderation_blocked"


def test_a_job_under_way_tells_when_to_ask_again(api: httpx2.Client, clock: Clock) -> None:
    video = create(api)
    clock.advance(9.5)
    assert api.get(f"/v1/videos/{video['id']}").headers["openai-poll-after-ms"] == "500"


def test_a_completed_job_does_not_ask_to_be_asked_again(api: httpx2.Client, clock: Clock) -> None:
    video = create(api)
    clock.advance(10)
    assert "openai-poll-after-ms" not in api.get(f"/v1/videos/{video['id']}").headers


def test_a_job_lives_on_after_a_restart_in_mid_render(start: Start, clock: Clock) -> None:
    video = create(start(render_seconds=10))
    clock.advance(5)
    assert retrieve(start(render_seconds=99), video)["status"] == "in_progress"


def test_a_job_keeps_the_time_it_takes_when_the_setting_changes(start: Start, clock: Clock) -> None:
    video = create(start(render_seconds=10))
    clock.advance(10)
    assert retrieve(start(render_seconds=99), video)["status"] == "completed"


def test_several_hundred_creates_at_once_all_become_jobs(api: httpx2.Client) -> None:
    with ThreadPoolExecutor(32) as pool:
        videos = list(pool.map(lambda number: create(api, prompt=f"kite {number}"), range(300)))
    assert len({video["id"] for video in videos}) == 300


def test_json_is_read_whatever_its_content_type_says(api: httpx2.Client) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert api.post("/v1/videos", content='{"prompt": "p"}', headers=headers).status_code == 200


def test_a_multipart_form_may_carry_an_image(api: httpx2.Client, picture: Make) -> None:
    image = ("kite.png", picture((720, 1280)), "image/png")
    answer = api.post("/v1/videos", data={"prompt": "p"}, files={"input_reference": image})
    assert answer.status_code == 200


def test_a_multipart_form_may_carry_an_object_in_brackets(api: httpx2.Client, picture: Make) -> None:
    url = "data:image/png;base64," + base64.b64encode(picture((720, 1280))).decode()
    parts = {"prompt": (None, "p"), "input_reference[image_url]": (None, url)}
    assert api.post("/v1/videos", files=parts).status_code == 200


def test_a_prompt_in_a_form_may_look_like_json(api: httpx2.Client) -> None:
    answer = api.post("/v1/videos", files={"prompt": (None, '{"shot": "wide"}')})
    assert answer.json()["prompt"] == '{"shot": "wide"}'


def test_a_form_that_says_something_twice_is_refused(api: httpx2.Client) -> None:
    parts = [("prompt", (None, "a")), ("prompt", (None, "b"))]
    assert code_of(api.post("/v1/videos", files=parts)) == (400, "duplicate_parameter")


@pytest.mark.parametrize("body", ["", "{", "[]", '"prompt"', "[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(api: httpx2.Client, body: str) -> None:
    assert api.post("/v1/videos", content=body).status_code == 400


def test_a_form_without_a_boundary_is_refused(api: httpx2.Client) -> None:
    answer = api.post("/v1/videos", content="x", headers={"content-type": "multipart/form-data"})
    assert code_of(answer) == (400, "invalid_multipart_form")


def test_a_body_that_is_too_large_is_refused(api: httpx2.Client) -> None:
    answer = api.post("/v1/videos", content=b" " * (33 * 1024 * 1024))
    assert code_of(answer) == (413, "request_too_large")


def test_a_refusal_comes_in_the_envelope_of_the_api(api: httpx2.Client) -> None:
    error = api.post("/v1/videos", json={}).json()["error"]
    assert error == {
        "message": "Missing required parameter: 'prompt'.",
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "missing_required_parameter",
    }


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/nothing", (404, "unknown_url")),
        ("GET", "/v1/videos/", (404, "unknown_url")),
        ("PUT", "/v1/videos", (405, "method_not_allowed")),
        ("GET", "/v1/videos/video_0", (404, "video_not_found")),
        ("DELETE", "/v1/videos/video_0", (404, "video_not_found")),
        ("GET", "/v1/videos/video_0/content", (404, "video_not_found")),
        ("GET", "/v1/videos?after=video_0", (404, "video_not_found")),
    ],
)
def test_what_is_not_there_is_reported_in_the_envelope(
    api: httpx2.Client, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert code_of(api.request(method, path)) == expected


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/videos", "GET, HEAD, POST"),
        ("/v1/videos/video_0", "DELETE, GET, HEAD"),
        ("/v1/videos/edits", "POST"),
    ],
)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(
    api: httpx2.Client, path: str, allowed: str
) -> None:
    assert api.options(path).headers["allow"] == allowed


def test_a_fault_of_the_sandbox_s_own_is_reported_in_the_envelope(
    api: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sora_adapter.sandbox.server.parse_list", lambda _query: 1 / 0)
    assert code_of(api.get("/v1/videos")) == (500, "server_error")


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/videos/video_0", "/v1/nothing"])
def test_every_answer_carries_an_id_of_its_own(api: httpx2.Client, path: str) -> None:
    ids = {api.get(path).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


def test_every_answer_tells_how_long_it_took(api: httpx2.Client) -> None:
    assert api.get("/v1/nothing").headers["openai-processing-ms"].isdecimal()


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc"])
def test_a_request_without_a_key_is_refused(api: httpx2.Client, header: str) -> None:
    answer = api.get("/v1/videos", headers={"authorization": header})
    assert code_of(answer) == (401, "invalid_api_key")


def test_a_wrong_key_is_refused_once_one_is_set(start: Start) -> None:
    assert code_of(start(api_key="sk-right").get("/v1/videos")) == (401, "invalid_api_key")


def test_the_right_key_is_accepted_once_one_is_set(start: Start) -> None:
    headers = {"authorization": "Bearer sk-right"}
    assert start(api_key="sk-right").get("/v1/videos", headers=headers).status_code == 200


def test_a_list_shows_the_newest_job_first(start: Start) -> None:
    api = start()
    made = [create(api)["id"] for _ in range(3)]
    assert [video["id"] for video in api.get("/v1/videos").json()["data"]] == made[::-1]


def test_pages_together_show_every_job_once(start: Start) -> None:
    api = start()
    made = [create(api)["id"] for _ in range(5)]
    observed: list[str] = []
    query: dict[str, Any] = {"limit": 2, "order": "asc"}
    while (page := api.get("/v1/videos", params=query).json())["has_more"]:
        observed += [video["id"] for video in page["data"]]
        query["after"] = page["last_id"]
    assert observed + [video["id"] for video in page["data"]] == made


def test_a_list_of_nothing_has_no_first_and_no_last(start: Start) -> None:
    page = start().get("/v1/videos").json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_page_of_none_still_tells_that_there_are_more(api: httpx2.Client) -> None:
    create(api)
    assert api.get("/v1/videos?limit=0").json()["has_more"]


def test_a_completed_job_can_be_deleted(api: httpx2.Client, clock: Clock) -> None:
    video = create(api)
    clock.advance(10)
    answer = api.delete(f"/v1/videos/{video['id']}")
    assert answer.json() == {"id": video["id"], "deleted": True, "object": "video.deleted"}


def test_a_deleted_job_is_gone(api: httpx2.Client, clock: Clock) -> None:
    video = create(api)
    clock.advance(10)
    api.delete(f"/v1/videos/{video['id']}")
    assert code_of(api.get(f"/v1/videos/{video['id']}")) == (404, "video_not_found")


def test_a_job_under_way_cannot_be_deleted(api: httpx2.Client) -> None:
    answer = api.delete(f"/v1/videos/{create(api)['id']}")
    assert code_of(answer) == (400, "video_not_finished")


def test_content_is_not_ready_before_completion(api: httpx2.Client) -> None:
    answer = api.get(f"/v1/videos/{create(api)['id']}/content")
    assert (answer.status_code, answer.json()["error"]["message"][:23]) == (404, "Video is not ready yet,")


def test_content_of_a_failed_job_is_not_there(api: httpx2.Client, clock: Clock) -> None:
    video = create(api, prompt="[fail]")
    clock.advance(10)
    assert code_of(api.get(f"/v1/videos/{video['id']}/content")) == (404, "video_failed")


def test_content_expires(start: Start, clock: Clock) -> None:
    api = start(render_seconds=0, expire_seconds=60)
    video = create(api)
    clock.advance(60)
    assert code_of(api.get(f"/v1/videos/{video['id']}/content")) == (404, "video_expired")


def test_an_unknown_variant_of_content_is_refused(api: httpx2.Client) -> None:
    answer = api.get(f"/v1/videos/{create(api)['id']}/content?variant=gif")
    assert code_of(answer) == (400, "invalid_value")


def test_a_remix_inherits_model_size_and_seconds(api: httpx2.Client, clock: Clock) -> None:
    source = create(api, model="sora-2-pro", size="1792x1024", seconds="8")
    clock.advance(10)
    remix = api.post(f"/v1/videos/{source['id']}/remix", json={"prompt": "in rust"}).json()
    inherited = ("model", "size", "seconds")
    assert [remix[field] for field in inherited] == [source[field] for field in inherited]


def test_a_remix_names_its_source(api: httpx2.Client, clock: Clock) -> None:
    source = create(api)
    clock.advance(10)
    remix = api.post(f"/v1/videos/{source['id']}/remix", files={"prompt": (None, "in rust")}).json()
    assert remix["remixed_from_video_id"] == source["id"]


def test_a_job_under_way_cannot_be_remixed(api: httpx2.Client) -> None:
    answer = api.post(f"/v1/videos/{create(api)['id']}/remix", json={"prompt": "in rust"})
    assert code_of(answer) == (400, "video_not_completed")


def test_the_sandbox_counts_what_it_was_asked_even_what_it_refused(start: Start) -> None:
    api = start()
    create(api)
    api.post("/v1/videos", json={})
    api.get("/v1/videos/video_0")
    counts = api.get("/_sandbox/requests").json()
    assert {name: count for name, count in counts.items() if count} == {"creates": 2, "retrieves": 1}


def test_the_sandbox_remembers_which_request_made_a_job(start: Start) -> None:
    api = start()
    headers = {"x-client-request-id": "mine-1", "traceparent": "00-ab-cd-01"}
    answer = api.post("/v1/videos", json={"prompt": "p"}, headers=headers)
    (record,) = api.get("/_sandbox/jobs").json()["data"]
    known = (record["request_id"], record["client_request_id"], record["traceparent"])
    assert known == (answer.headers["x-request-id"], "mine-1", "00-ab-cd-01")
