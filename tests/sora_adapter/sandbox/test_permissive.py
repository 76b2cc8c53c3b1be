"""A permissive sandbox is there for other people's tests; an ordinary one is not."""

from collections.abc import Callable

import httpx2
import pytest

from tests.sora_adapter.sandbox.conftest import Clock

Start = Callable[..., httpx2.Client]
NO_FILE = ("kite", b"no file", "application/octet-stream")

READS = ["/v1/videos/video_123", "/v1/videos/characters/char_123", "/v1/webhook_endpoints/whe_123"]


@pytest.mark.parametrize("path", READS)
def test_the_ids_of_the_sdk_s_own_tests_exist(start: Start, path: str) -> None:
    assert start(permissive=True).get(path).status_code == 200


@pytest.mark.parametrize("path", READS)
def test_the_ids_of_the_sdk_s_own_tests_exist_nowhere_else(start: Start, path: str) -> None:
    assert start().get(path).status_code == 404


@pytest.mark.parametrize("path", ["/v1/videos/video_123", "/v1/webhook_endpoints/whe_123"])
def test_a_stand_in_can_be_deleted_again_and_again(start: Start, path: str) -> None:
    api = start(permissive=True)
    assert [api.delete(path).json()["deleted"] for _ in range(2)] == [True, True]


def test_a_stand_in_has_content_however_late_it_is_asked_for(start: Start, clock: Clock) -> None:
    api = start(permissive=True)
    clock.advance(10**6)
    assert api.get("/v1/videos/video_123/content").status_code == 200


def test_a_stand_in_stays_the_same_after_a_restart(start: Start, clock: Clock) -> None:
    before = start(permissive=True).get("/v1/videos/video_123").json()
    clock.advance(100)
    assert start(permissive=True).get("/v1/videos/video_123").json() == before


@pytest.mark.parametrize(
    ("path", "fields", "upload"),
    [
        ("/v1/videos", {"prompt": "p"}, "input_reference"),
        ("/v1/videos/edits", {"prompt": "p"}, "video"),
        ("/v1/videos/extensions", {"prompt": "p", "seconds": "4"}, "video"),
        ("/v1/videos/characters", {"name": "n"}, "video"),
    ],
)
@pytest.mark.parametrize(("permissive", "status"), [(True, 200), (False, 400)])
def test_only_a_permissive_sandbox_takes_uploads_that_are_nothing(
    start: Start, path: str, fields: dict[str, str], upload: str, *, permissive: bool, status: int
) -> None:
    api = start(permissive=permissive)
    assert api.post(path, data=fields, files={upload: NO_FILE}).status_code == status


@pytest.mark.parametrize(("permissive", "status"), [(True, 200), (False, 400)])
def test_only_a_permissive_sandbox_takes_unknown_models(
    start: Start, *, permissive: bool, status: int
) -> None:
    api = start(permissive=permissive)
    assert api.post("/v1/videos", json={"prompt": "p", "model": "string"}).status_code == status


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/webhook_endpoints"])
@pytest.mark.parametrize(("permissive", "status"), [(True, 200), (False, 404)])
def test_only_a_permissive_sandbox_lists_after_what_is_not_there(
    start: Start, path: str, *, permissive: bool, status: int
) -> None:
    assert start(permissive=permissive).get(path, params={"after": "after"}).status_code == status


def test_the_test_of_an_endpoint_without_a_host_pretends_that_it_answered(start: Start) -> None:
    api = start(permissive=True)
    answer = api.post("/v1/webhook_endpoints/whe_123/test", json={"event_type": "video.completed"})
    assert answer.json()["status_code"] == 200
