"""A change of a video: of one the sandbox made, or of an upload."""

import io
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.sora_adapter.sandbox.conftest import Clock, code_of

Make = Callable[..., bytes]


@pytest.fixture
def source(api: httpx2.Client, clock: Clock) -> dict[str, Any]:
    wanted = {"prompt": "a teal kite", "model": "sora-2-pro", "size": "1792x1024", "seconds": "8"}
    video: dict[str, Any] = api.post("/v1/videos", json=wanted).json()
    clock.advance(10)
    return video


def test_an_edit_inherits_model_size_and_seconds(api: httpx2.Client, source: dict[str, Any]) -> None:
    edit = api.post("/v1/videos/edits", json={"prompt": "in rust", "video": {"id": source["id"]}}).json()
    inherited = ("model", "size", "seconds")
    assert [edit[field] for field in inherited] == [source[field] for field in inherited]


def test_an_edit_names_its_source(api: httpx2.Client, source: dict[str, Any]) -> None:
    edit = api.post("/v1/videos/edits", json={"prompt": "in rust", "video": {"id": source["id"]}}).json()
    assert edit["remixed_from_video_id"] == source["id"]


@pytest.mark.parametrize("video", ["video[id]", "video"])
def test_a_multipart_form_may_name_the_video(api: httpx2.Client, source: dict[str, Any], video: str) -> None:
    value = source["id"] if video == "video[id]" else f'{{"id": "{source["id"]}"}}'
    answer = api.post("/v1/videos/edits", files={"prompt": (None, "in rust"), video: (None, value)})
    assert answer.json()["remixed_from_video_id"] == source["id"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_json_is_read_whatever_its_content_type_says(
    api: httpx2.Client, source: dict[str, Any], content_type: str
) -> None:
    body = f'{{"prompt": "in rust", "video": {{"id": "{source["id"]}"}}}}'
    answer = api.post("/v1/videos/edits", content=body, headers={"content-type": content_type})
    assert answer.status_code == 200


def test_a_video_that_is_not_there_cannot_be_edited(api: httpx2.Client) -> None:
    answer = api.post("/v1/videos/edits", json={"prompt": "p", "video": {"id": "video_0"}})
    assert code_of(answer) == (404, "video_not_found")


def test_a_video_under_way_cannot_be_edited(api: httpx2.Client) -> None:
    video = api.post("/v1/videos", json={"prompt": "a kite"}).json()
    answer = api.post("/v1/videos/edits", json={"prompt": "p", "video": {"id": video["id"]}})
    assert code_of(answer) == (400, "video_not_completed")


def test_an_upload_can_be_edited(api: httpx2.Client, film: Make) -> None:
    upload = ("kite.mp4", io.BytesIO(film((1280, 720), 4)), "video/mp4")
    edit = api.post("/v1/videos/edits", data={"prompt": "in rust"}, files={"video": upload}).json()
    assert [edit[field] for field in ("model", "size", "seconds", "remixed_from_video_id")] == [
        "sora-2",
        "1280x720",
        "4",
        None,
    ]


def test_an_upload_may_be_edited_by_the_model_that_is_named(api: httpx2.Client, film: Make) -> None:
    upload = ("kite.mp4", film((1024, 1792), 2), "video/mp4")
    data = {"prompt": "in rust", "model": "sora-2-pro"}
    assert api.post("/v1/videos/edits", data=data, files={"video": upload}).json()["size"] == "1024x1792"


def test_the_model_of_a_video_cannot_be_changed_by_an_edit(
    api: httpx2.Client, source: dict[str, Any]
) -> None:
    body = {"prompt": "p", "model": "sora-2", "video": {"id": source["id"]}}
    assert code_of(api.post("/v1/videos/edits", json=body)) == (400, "unknown_parameter")


def test_an_upload_that_is_no_video_is_refused(api: httpx2.Client) -> None:
    upload = ("kite.mp4", b"hello", "video/mp4")
    answer = api.post("/v1/videos/edits", data={"prompt": "p"}, files={"video": upload})
    assert code_of(answer) == (400, "invalid_video_file")
