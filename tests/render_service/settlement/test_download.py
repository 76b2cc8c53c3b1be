"""A download that breaks off goes on where it was, or begins again; memory stays flat; too late is lost."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.events import AssetLost
from ledger.job import Job
from ledger.terms import State, Variant
from render_service.assets.store import AssetStore
from render_service.runtime.errors import AssetUnusable
from render_service.session.session import Session
from render_service.settlement.download import Receiving
from render_service.settlement.settle import settle
from render_service.submission.submit import place
from sora_adapter.client import VideosClient
from sora_adapter.errors import ContentTruncated, ServerFailed
from sora_adapter.profiles import profile
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.transport import CHUNK_BYTES
from tests.conftest import Clock
from tests.render_service.conftest import LastEvent

PIECE = bytes(range(256)) * 256
JOB = Job(
    job_id="job_1",
    version=1,
    position=1,
    state=State.COMPLETED,
    created_at="",
    updated_at="",
    actor="",
    trace_id="",
    video_id="video_1",
)
RECEIVE = """
import asyncio, sys
from pathlib import Path
from ledger.terms import (Variant)
from render_service.assets.store import AssetStore
from render_service.settlement.download import drain
from sora_adapter.client import VideosClient
from sora_adapter.profiles import profile

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

async def receive(base_url, folder, url):
    store = AssetStore(Path(folder), url or None)
    store.put(b"warm", "image/png")
    async with VideosClient(profile("sandbox"), base_url, None) as client:
        async with client.fetch("video_1", Variant.VIDEO) as content:
            before = peak()
            with store.open_incoming() as incoming:
                await drain(content, incoming)
                uri = store.keep(incoming, "video/mp4")
    print(incoming.bytes, store.locate(uri).bytes, peak() - before)

asyncio.run(receive(*sys.argv[1:]))
"""


@dataclass
class Film:
    """Serves one file of `pieces` pieces; each of `breaks` ends an answer after so many bytes."""

    pieces: int
    ranges: bool = True
    tag: str = '"one"'
    breaks: list[int] = field(default_factory=list)
    shift: int = 0
    asked: list[int] = field(default_factory=list)
    base_url: str = ""

    @property
    def bytes(self) -> int:
        return self.pieces * len(PIECE)


@pytest.fixture
def film() -> Iterator[Callable[..., Film]]:
    """Start the server of a film."""
    servers = []

    def start(pieces: int, **how: Any) -> Film:
        told = Film(pieces, **how)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                begin = 0
                if told.ranges and self.headers.get("If-Range") == told.tag:
                    begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                told.asked.append(begin)
                self.send_response(206 if begin else 200)
                if begin:
                    at = begin + told.shift
                    self.send_header("Content-Range", f"bytes {at}-{told.bytes - 1}/{told.bytes}")
                if told.ranges:
                    self.send_header("Accept-Ranges", "bytes")
                self.send_header("ETag", told.tag)
                self.send_header("Content-Type", "video/mp4")
                self.send_header("Content-Length", str(told.bytes - begin))
                self.end_headers()
                self.send(begin, told.breaks.pop(0) if told.breaks else told.bytes)

            def send(self, begin: int, most: int) -> None:
                end = min(told.bytes, begin + most)
                while begin < end:
                    inside = begin % len(PIECE)
                    piece = PIECE[inside : inside + end - begin]
                    self.wfile.write(piece)
                    begin += len(piece)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        told.base_url = f"http://127.0.0.1:{server.server_port}/v1"
        return told

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


async def received(film: Film, folder: Path, goes: int, between: Callable[[], object] = lambda: None) -> str:
    """Receive in `goes`, the last of which has to bring the rest; returns the digest."""
    store = AssetStore(folder)
    async with VideosClient(profile("sandbox"), film.base_url, None) as client:
        with store.open_incoming() as incoming:
            receiving = Receiving(incoming)
            for _ in range(goes - 1):
                with pytest.raises((ContentTruncated, AssetUnusable)) as broken:
                    await receiving.take(client, JOB, Variant.VIDEO)
                if broken.type is AssetUnusable:
                    receiving.restart()
                between()
            assert await receiving.take(client, JOB, Variant.VIDEO) == "video/mp4"
            incoming.flush()
            assert incoming.path.stat().st_size == incoming.bytes
            return incoming.sha256


def digest(film: Film) -> str:
    return hashlib.sha256(PIECE * film.pieces).hexdigest()


@pytest.mark.anyio
async def test_a_download_goes_on_where_it_broke_off(film: Callable[..., Film], tmp_path: Path) -> None:
    told = film(20, breaks=[600_000, 400_000])
    assert await received(told, tmp_path, 3) == digest(told)
    assert told.asked == [0, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES]


@pytest.mark.anyio
async def test_a_server_without_ranges_is_asked_for_the_whole_again(
    film: Callable[..., Film], tmp_path: Path
) -> None:
    told = film(20, ranges=False, breaks=[500_000])
    assert await received(told, tmp_path, 2) == digest(told)
    assert told.asked == [0, 0]


@pytest.mark.anyio
async def test_a_file_that_changed_meanwhile_is_begun_again(
    film: Callable[..., Film], tmp_path: Path
) -> None:
    told = film(20, breaks=[500_000])
    assert await received(told, tmp_path, 2, lambda: setattr(told, "tag", '"two"')) == digest(told)
    assert told.asked == [0, 0]


@pytest.mark.anyio
async def test_a_weak_tag_is_not_gone_on_from(film: Callable[..., Film], tmp_path: Path) -> None:
    told = film(20, tag='W/"one"', breaks=[500_000])
    assert await received(told, tmp_path, 2) == digest(told)
    assert told.asked == [0, 0]


@pytest.mark.anyio
async def test_a_part_that_was_not_asked_for_is_not_taken(film: Callable[..., Film], tmp_path: Path) -> None:
    told = film(20, breaks=[500_000], shift=7)
    assert await received(told, tmp_path, 3) == digest(told)
    assert told.asked == [0, CHUNK_BYTES, 0]


LARGE = [
    pytest.param(300, id="300 MB"),
    pytest.param(2_048, id="2 GB", marks=pytest.mark.soak),
]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("megabytes", LARGE)
def test_memory_stays_flat_into_a_folder(film: Callable[..., Film], tmp_path: Path, megabytes: int) -> None:
    assert grown(film, tmp_path, megabytes, "") < 10_000


def grown(film: Any, folder: Path, megabytes: int, url: str) -> int:
    """Receive and keep a file in a process of its own; returns by how many kilobytes that grew."""
    told = film(megabytes * 16)
    command = [sys.executable, "-c", RECEIVE, told.base_url, str(folder / "assets"), url]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    came, kept, kilobytes = map(int, ran.stdout.split())
    assert came == kept == megabytes * 1_048_576
    return kilobytes


@pytest.fixture
def late(
    at: Callable[[str], Session], sandbox: Callable[..., SandboxServer], clock: Clock
) -> Callable[..., Session]:
    """Return a session whose clock is so many seconds past the sandbox's, whose content goes wrong."""

    def make(seconds: float) -> Session:
        session = at(sandbox(faults=("content=500:99",)).base_url)
        return replace(session, clock=lambda: datetime.fromtimestamp(clock() + seconds, UTC))

    return make


@pytest.mark.anyio
async def test_a_video_that_never_came_is_lost_once_it_has_expired(
    late: Callable[..., Session],
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    session = late(4_000)
    job = (await place(session, request_for())).job
    with pytest.raises(ServerFailed):
        await settle(session, job, interval_s=0.05, timeout_s=30)
    job = await session.job(job.job_id)
    assert (job.state, job.outcome, event(job, AssetLost).cause) == (State.LOST, "lost", "expired")
    assert intact()


@pytest.mark.anyio
async def test_a_video_that_has_not_expired_is_tried_again(
    late: Callable[..., Session], request_for: Callable[..., RenderRequest]
) -> None:
    session = late(3_700)
    job = (await place(session, request_for())).job
    with pytest.raises(ServerFailed):
        await settle(session, job, interval_s=0.05, timeout_s=30)
    assert (await session.job(job.job_id)).state is State.COMPLETED
