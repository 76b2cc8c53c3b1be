"""Faults over real sockets: what the client sees, and what the sandbox carried out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from sora_adapter.sandbox.server import create_app
from sora_adapter.sandbox.settings import SandboxSettings
from tests.sora_adapter.sandbox.conftest import Clock

Start = Callable[..., httpx2.Client]

RENDER = {"prompt": "a teal kite"}
IMPATIENT = httpx2.Timeout(30, read=0.05)


def post(api: httpx2.Client) -> httpx2.Response:
    return api.post("/v1/videos", json=RENDER)


def creates(api: httpx2.Client) -> int:
    counts: dict[str, int] = api.get("/_sandbox/requests").json()
    return counts["creates"]


def jobs(api: httpx2.Client) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = api.get("/_sandbox/jobs").json()["data"]
    return data


def download(api: httpx2.Client, video_id: str) -> tuple[int, int]:
    """Return the number of bytes that came and that were announced, although the rest is missing."""
    received = 0
    with api.stream("GET", f"/v1/videos/{video_id}/content") as answer:
        try:
            for chunk in answer.iter_raw():
                received += len(chunk)
        except httpx2.TransportError:
            pass
        return received, int(answer.headers["content-length"])


def test_a_lost_request_breaks_off_and_was_never_seen(start: Start) -> None:
    api = start(faults=("create=lost:1",))
    with pytest.raises(httpx2.TransportError):
        post(api)
    assert (creates(api), jobs(api)) == (0, [])


def test_a_lost_answer_is_a_reset_and_the_job_is_there(start: Start) -> None:
    api = start(faults=("create=kept-but-answer-lost:1",))
    with pytest.raises(httpx2.ReadError, match="reset by peer"):
        post(api)
    assert (creates(api), len(jobs(api))) == (1, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_before_leaves_no_job(start: Start, status: int) -> None:
    api = start(faults=(f"create={status}:1",))
    assert (post(api).status_code, creates(api)) == (status, 0)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_after_leaves_a_job(start: Start, status: int) -> None:
    api = start(faults=(f"create=kept-but-{status}:1",))
    assert (post(api).status_code, len(jobs(api))) == (status, 1)


def test_a_failure_has_the_envelope_and_a_request_id(start: Start) -> None:
    answer = post(start(faults=("create=503:1",)))
    assert answer.json()["error"]["code"] == "server_error"
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(("spec", "retry_after"), [("create=429@7:1", "7"), ("create=429:1", None)])
def test_a_429_comes_with_retry_after_or_without(start: Start, spec: str, retry_after: str | None) -> None:
    api = start(faults=(spec,))
    answer = post(api)
    assert (answer.status_code, answer.headers.get("retry-after"), creates(api)) == (429, retry_after, 0)


def test_a_slow_answer_outlasts_an_impatient_client(start: Start) -> None:
    api = start(faults=("create=slow@60:1",))
    with pytest.raises(httpx2.ReadTimeout):
        api.post("/v1/videos", json=RENDER, timeout=IMPATIENT)


def test_a_slow_answer_is_an_answer(start: Start) -> None:
    assert post(start(faults=("create=slow@0.01:1",))).status_code == 200


def test_what_is_answered_slowly_was_carried_out_at_once(start: Start) -> None:
    api = start(faults=("create=kept-but-slow@60:1",))
    with pytest.raises(httpx2.ReadTimeout):
        api.post("/v1/videos", json=RENDER, timeout=IMPATIENT)
    while not jobs(api):  # it may still be on its way; the answer is, for a minute
        pass
    assert len(jobs(api)) == 1


def test_an_answer_that_was_held_back_is_whole(start: Start) -> None:
    assert post(start(faults=("create=kept-but-slow@0.01:1",))).json()["status"] == "queued"


@pytest.mark.parametrize("kind", ["reset", "truncated"])
def test_a_download_that_breaks_off_is_half_of_what_was_announced(start: Start, kind: str) -> None:
    api = start(render_seconds=0, faults=(f"content={kind}:1",))
    video_id = post(api).json()["id"]
    received, announced = download(api, video_id)
    overtaken = kind == "reset" and received < announced // 2  # a reset discards what was not read yet
    assert received == announced // 2 or overtaken
    assert download(api, video_id) == (announced, announced)


def test_a_stuck_job_never_gets_further(start: Start, clock: Clock) -> None:
    api = start(faults=("create=stuck@40:1",))
    video_id = post(api).json()["id"]
    clock.advance(3600)
    answer = api.get(f"/v1/videos/{video_id}").json()
    assert (answer["status"], answer["progress"], answer["completed_at"]) == ("in_progress", 40, None)
    assert api.get(f"/v1/videos/{video_id}/content").json()["error"]["code"] == "video_not_ready"


def test_a_stuck_job_gets_as_far_as_that_in_its_time(start: Start, clock: Clock) -> None:
    api = start(render_seconds=10, faults=("create=stuck@40:1",))
    video_id = post(api).json()["id"]
    clock.advance(2)
    assert api.get(f"/v1/videos/{video_id}").json()["progress"] < 40


def test_a_failing_job_fails_when_it_would_have_been_completed(start: Start, clock: Clock) -> None:
    api = start(render_seconds=10, faults=("create=failing@no_gpu:1",))
    video_id = post(api).json()["id"]
    assert api.get(f"/v1/videos/{video_id}").json()["status"] == "queued"
    clock.advance(10)
    answer = api.get(f"/v1/videos/{video_id}").json()
    assert (answer["status"], answer["error"]["code"]) == ("failed", "no_gpu")
    assert api.get(f"/v1/videos/{video_id}/content").json()["error"]["code"] == "video_failed"


def test_a_list_shows_jobs_as_they_are_fated(start: Start, clock: Clock) -> None:
    api = start(faults=("create=failing:1",))
    post(api)
    clock.advance(3600)
    listed = api.get("/v1/videos").json()["data"]
    assert [video["error"]["code"] for video in listed] == ["moderation_blocked"]


def test_the_job_after_a_fated_one_goes_well(start: Start, clock: Clock) -> None:
    api = start(faults=("create=failing:1",))
    post(api)
    video_id = post(api).json()["id"]
    clock.advance(3600)
    assert api.get(f"/v1/videos/{video_id}").json()["status"] == "completed"


def test_a_fate_planned_for_a_request_that_is_refused_befalls_nobody(start: Start, clock: Clock) -> None:
    api = start(faults=("create=failing:1",))
    assert api.post("/v1/videos", json={}).status_code == 400
    video_id = post(api).json()["id"]
    clock.advance(3600)
    assert api.get(f"/v1/videos/{video_id}").json()["status"] == "completed"


def test_a_test_plans_reads_and_takes_back(start: Start) -> None:
    api = start()
    planned = api.post("/_sandbox/faults", json={"faults": ["create=503", "list=429:1"]}).json()
    assert planned == {"faults": ["create=503", "list=429:1"]}
    assert post(api).status_code == 503
    assert api.request("DELETE", "/_sandbox/faults").json() == {"faults": []}
    assert post(api).status_code == 200
    assert api.get("/_sandbox/faults").json() == {"faults": []}


@pytest.mark.parametrize("body", [{"faults": ["create=melted"]}, {"faults": "create=lost"}, {}, []])
def test_a_plan_that_makes_no_sense_is_refused(start: Start, body: Any) -> None:
    answer = start().post("/_sandbox/faults", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "faults")


def test_a_setting_that_makes_no_sense_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a fault"):
        create_app(SandboxSettings(tmp_path, faults=("oops",)))


def test_without_the_sandboxs_own_server_a_broken_connection_says_what_it_needs(tmp_path: Path) -> None:
    app: Starlette = create_app(SandboxSettings(tmp_path, media="cached", faults=("create=lost",)))
    with TestClient(app) as elsewhere:
        answer = elsewhere.post("/v1/videos", json=RENDER)
    assert "needs the sandbox's own server" in answer.json()["error"]["message"]
