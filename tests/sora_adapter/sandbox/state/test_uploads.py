"""Files uploaded on their own, and named as the first frame of a clip."""

import io
from collections.abc import Callable

import httpx2
import pytest

from tests.sora_adapter.sandbox.conftest import Clock, code_of

Make = Callable[..., bytes]


def uploaded(api: httpx2.Client, body: bytes, **fields: str) -> httpx2.Response:
    files = {"file": ("first.png", io.BytesIO(body), "image/png")}
    return api.post("/v1/files", data={"purpose": "vision", **fields}, files=files)


def test_a_file_is_shown_as_the_api_does(api: httpx2.Client, clock: Clock) -> None:
    file = uploaded(api, b"1234").json()
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": 4,
        "created_at": int(clock()),
        "filename": "first.png",
        "purpose": "vision",
        "status": "processed",
    }
    assert api.get(f"/v1/files/{file['id']}").json() == file


def test_a_clip_begins_with_a_file_that_was_uploaded(api: httpx2.Client, picture: Make) -> None:
    file_id = uploaded(api, picture((1280, 720))).json()["id"]
    body = {"prompt": "p", "size": "1280x720", "input_reference": {"file_id": file_id}}
    assert api.post("/v1/videos", json=body).status_code == 200
    parts = {"prompt": "p", "size": "1280x720", "input_reference[file_id]": file_id}
    form = {name: (None, value) for name, value in parts.items()}
    assert api.post("/v1/videos", files=form).status_code == 200
    [first, _] = api.get("/_sandbox/jobs").json()["data"]
    assert first["reference_sha256"]


def test_an_uploaded_file_has_to_be_an_image_of_the_size(api: httpx2.Client, picture: Make) -> None:
    for body, code in ((picture((64, 64)), "image_size_mismatch"), (b"text", "invalid_image_file")):
        reference = {"file_id": uploaded(api, body).json()["id"]}
        answer = api.post("/v1/videos", json={"prompt": "p", "input_reference": reference})
        assert code_of(answer) == (400, code)


def test_a_file_that_was_deleted_is_not_found(api: httpx2.Client) -> None:
    file_id = uploaded(api, b"1").json()["id"]
    deleted = {"id": file_id, "object": "file", "deleted": True}
    assert api.delete(f"/v1/files/{file_id}").json() == deleted
    assert code_of(api.get(f"/v1/files/{file_id}")) == (404, "file_not_found")
    assert code_of(api.delete(f"/v1/files/{file_id}")) == (404, "file_not_found")


@pytest.mark.parametrize("fields", [{"purpose": "fun"}, {"size": "1"}])
def test_an_upload_that_makes_no_sense_is_refused(api: httpx2.Client, fields: dict[str, str]) -> None:
    assert uploaded(api, b"1", **fields).status_code == 400


def test_an_upload_without_a_file_is_refused(api: httpx2.Client) -> None:
    assert api.post("/v1/files", data={"purpose": "vision"}).status_code == 400
    assert api.post("/v1/files", data={"purpose": "vision", "file": "text"}).status_code == 400
