"""A sandbox over real HTTP, with a clock the test moves."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from sora_adapter.sandbox import renderer
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.clips import plain


@dataclass
class Clock:
    """A clock that stands still until it is told to move."""

    now: float = 1_790_000_000.25

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


Start = Callable[..., httpx2.Client]
RENDER = renderer.render


@pytest.fixture(scope="module", autouse=True)
def _rendered_clips() -> Iterator[None]:
    """Have the sandboxes of this folder render, where all others make plain clips."""
    others, renderer.render = renderer.render, RENDER
    yield
    renderer.render = others


@pytest.fixture(scope="module")
def clock() -> Clock:
    """One clock for the sandboxes of a module: it only ever goes forward."""
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock, media: Path) -> Iterator[Start]:
    """Start a sandbox on this test's data dir and return a client of it; settings may be changed."""
    shutil.copytree(media, tmp_path / "data" / "media")  # the one cached clip
    with ExitStack() as stack:

        def begin(**changes: Any) -> httpx2.Client:
            values = {"data_dir": tmp_path / "data", "clock": clock, "media": "cached", **changes}
            server = stack.enter_context(SandboxServer(SandboxSettings(**values)))
            return stack.enter_context(client_of(server))

        yield begin


def client_of(server: SandboxServer) -> httpx2.Client:
    return httpx2.Client(base_url=server.origin, headers={"authorization": "Bearer any"}, timeout=120)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, clock: Clock, media: Path) -> Iterator[httpx2.Client]:
    """A client of a sandbox whose jobs take ten seconds and share one clip; other tests use it too."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(media, folder / "media")
    settings = SandboxSettings(folder, render_seconds=10, clock=clock, media="cached")
    with SandboxServer(settings) as server, client_of(server) as client:
        yield client


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Make an image file: four coloured quarters, so that a turned or tinted one is noticed."""

    def make(size: tuple[int, int] = (1280, 720), kind: str = "PNG") -> bytes:
        corners = Image.new("RGB", (2, 2))
        corners.putdata([(200, 40, 40), (30, 120, 60), (40, 60, 170), (220, 190, 60)])
        buffer = io.BytesIO()
        corners.resize(size, Image.Resampling.NEAREST).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Make an MP4 file of a size and a length, each once."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"

    @cache
    def make(size: tuple[int, int] = (1280, 720), seconds: int = 4) -> bytes:
        plain(Recipe("sandbox", size, seconds, ("any",)), path)
        return path.read_bytes()

    return make


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    """Return the status of a refusal, and the code of its error."""
    return answer.status_code, answer.json()["error"]["code"]
