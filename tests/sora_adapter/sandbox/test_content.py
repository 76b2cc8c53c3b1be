"""The files a sandbox serves; the clips are rendered once for all tests of this module."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx2
import pytest
from PIL import Image

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

Fetch = Callable[..., httpx2.Response]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    settings = SandboxSettings(tmp_path_factory.mktemp("sandbox"), render_seconds=0)
    with (
        SandboxServer(settings) as server,
        httpx2.Client(base_url=server.base_url, headers={"authorization": "Bearer k"}, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def video(api: httpx2.Client) -> dict[str, Any]:
    answer: dict[str, Any] = api.post("/videos", json={"prompt": "a teal kite", "size": "1280x720"}).json()
    return answer


@pytest.fixture(scope="module")
def fetch(api: httpx2.Client, video: dict[str, Any]) -> Fetch:
    def get(variant: str | None = None, **headers: str) -> httpx2.Response:
        query = {"variant": variant} if variant else {}
        return api.get(f"/videos/{video['id']}/content", params=query, headers=headers)

    return get


def test_the_video_is_the_default_variant(fetch: Fetch) -> None:
    assert fetch().headers["content-type"] == "video/mp4"


def test_the_video_is_of_the_size_asked_for(fetch: Fetch) -> None:
    with av.open(io.BytesIO(fetch("video").content)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (1280, 720)


def test_content_is_offered_as_a_download_under_the_job_s_name(fetch: Fetch, video: dict[str, Any]) -> None:
    assert fetch().headers["content-disposition"] == f'attachment; filename="{video["id"]}.mp4"'


def test_content_tells_its_length(fetch: Fetch) -> None:
    answer = fetch()
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_part_of_the_content_can_be_asked_for(fetch: Fetch) -> None:
    part = fetch(range="bytes=4-7")
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_the_thumbnail_is_a_webp_of_the_video_s_size(fetch: Fetch) -> None:
    answer = fetch("thumbnail")
    with Image.open(io.BytesIO(answer.content)) as image:
        facts = (answer.headers["content-type"], image.format, image.size)
    assert facts == ("image/webp", "WEBP", (1280, 720))


def test_the_spritesheet_is_a_jpeg_grid(fetch: Fetch) -> None:
    answer = fetch("spritesheet")
    with Image.open(io.BytesIO(answer.content)) as image:
        facts = (answer.headers["content-type"], image.format, image.size)
    assert facts == ("image/jpeg", "JPEG", (1280, 540))


def test_the_same_request_gives_the_same_bytes(api: httpx2.Client, fetch: Fetch) -> None:
    twin = api.post("/videos", json={"prompt": "a teal kite", "size": "1280x720"}).json()
    assert api.get(f"/videos/{twin['id']}/content").content == fetch().content


def test_a_clip_that_is_missing_after_a_restart_is_rendered_again(tmp_path: Path) -> None:
    clips: list[bytes] = []
    for _start in range(2):
        settings = SandboxSettings(tmp_path, render_seconds=0)
        with (
            SandboxServer(settings) as server,
            httpx2.Client(
                base_url=server.base_url, headers={"authorization": "Bearer k"}, timeout=60
            ) as client,
        ):
            if not clips:
                client.post("/videos", json={"prompt": "a kite", "size": "1280x720"})
            job = client.get("/videos").json()["first_id"]
            clips.append(client.get(f"/videos/{job}/content").content)
        (tmp_path / "media" / f"{job}.mp4").unlink()
    assert clips[0] == clips[1]


def test_cached_media_serves_one_clip_to_all_jobs_of_a_size_and_length(tmp_path: Path) -> None:
    settings = SandboxSettings(tmp_path, render_seconds=0, media="cached")
    with (
        SandboxServer(settings) as server,
        httpx2.Client(base_url=server.base_url, headers={"authorization": "Bearer k"}, timeout=60) as client,
    ):
        for prompt in ("one", "two"):
            job = client.post("/videos", json={"prompt": prompt, "size": "1280x720"}).json()
            client.get(f"/videos/{job['id']}/content")
    assert [path.name for path in (tmp_path / "media").iterdir()] == ["cached-1280x720-4s.mp4"]
