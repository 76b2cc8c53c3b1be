"""A video counts as completed once its clip can be fetched, however many are being rendered."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.sandbox import renderer, server
from sora_adapter.sandbox.media.planes import RenderStoppedError
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings


@pytest.fixture
def rendering(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold back every render until this is set."""
    mark_lost = threading.Event()

    def render(_: Any, path: Path, stopped: Callable[[], bool]) -> None:
        while not mark_lost.wait(0.01):
            if stopped():
                raise RenderStoppedError(path.name)
        path.write_bytes(b"a clip")

    monkeypatch.setattr(renderer, "render", render)
    monkeypatch.setattr(server, "CLIP_PATIENCE_S", 0.01)
    return mark_lost


def test_a_video_is_completed_once_its_clip_is_there(tmp_path: Path, rendering: threading.Event) -> None:
    settings = SandboxSettings(tmp_path, render_seconds=0)
    headers = {"authorization": "Bearer any"}
    with SandboxServer(settings) as server, httpx2.Client(headers=headers, timeout=30) as client:
        url = f"{server.base_url}/videos"
        video = client.post(url, json={"prompt": "p"}).json()["id"]
        early = client.get(f"{url}/{video}")
        assert (early.json()["status"], early.json()["completed_at"]) == ("in_progress", None)
        assert early.headers["openai-poll-after-ms"] == "250"
        assert client.get(url).json()["data"][0]["status"] == "in_progress"
        rendering.set()
        assert client.get(f"{url}/{video}/content").content == b"a clip"
        assert client.get(f"{url}/{video}").json()["status"] == "completed"


def test_a_clip_that_a_crash_left_out_is_rendered_when_its_video_is_asked_for(
    tmp_path: Path, rendering: threading.Event
) -> None:
    settings, headers = SandboxSettings(tmp_path, render_seconds=0), {"authorization": "Bearer any"}
    with SandboxServer(settings) as server, httpx2.Client(headers=headers) as client:
        video = client.post(f"{server.base_url}/videos", json={"prompt": "p"}).json()["id"]
    rendering.set()
    with SandboxServer(settings) as server, httpx2.Client(headers=headers) as client:
        client.get(f"{server.base_url}/videos/{video}")
        assert client.get(f"{server.base_url}/videos/{video}/content").content == b"a clip"
        assert client.get(f"{server.base_url}/videos/{video}").json()["status"] == "completed"
