"""Cost of reading a C2PA manifest in the settlement of a clip of 10 MB.

A sandbox in a separate process serves one clip with a manifest, whose signature covers all bytes. Renders are
settled one by one, from the status request to the closed job, alternating between reading and recording the
manifest and behaving as if the extra were not installed. The first reading in a process loads the library, so
it is shown separately. The ledger and the files are on disk.

    .venv/bin/python benchmarks/provenance.py
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from goals import note

from decision.request.request import parse_request
from decision.rules.toml import default_catalog
from ledger.events import ProvenanceObserved
from render_service.api.sessions import open_session
from render_service.provenance import observe
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, begin_trace
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.c2pa_peer import box, credentials, signed

CLIP_BYTES = 10_000_000
ROUNDS = 20
ONE_CLIP = "cached-1280x720-4s.mp4"


@contextmanager
def reading(*, on: bool) -> Iterator[None]:
    """Read manifests, or behave as if the extra were not installed."""
    installed = observe.is_installed
    observe.is_installed = lambda: on
    try:
        yield
    finally:
        observe.is_installed = installed


class Took(NamedTuple):
    """Seconds of wall time, and of processor time in this process."""

    clock_s: float
    processor_s: float


async def settled(session: Session, number: int, *, on: bool) -> Took:
    """Settle one more render."""
    request = parse_request(
        catalog=default_catalog(),
        operation="create",
        prompt=f"a fox {number}",
        profile="openai",
        augment=False,
    )
    job = (await place(session, request)).job
    with reading(on=on):
        began, used = time.perf_counter(), time.process_time()
        job = await settle(session, job, interval_s=0.01, timeout_s=60)
        took = Took(time.perf_counter() - began, time.process_time() - used)
    types = [record.type for record in session.ledger.history(job.job_id)]
    assert (job.state, ProvenanceObserved.type in types) == ("stored", on)
    return took


def serve(folder: Path, pipe: Connection) -> None:
    """Serve the clip until the other end of the pipe is closed."""
    with SandboxServer(SandboxSettings(folder / "sandbox", render_seconds=0, media="cached")) as server:
        pipe.send(server.base_url)
        with suppress(EOFError):
            pipe.recv()


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """Start the sandbox; yield its address."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(folder, theirs))
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join()


async def measure(folder: Path) -> None:
    """Settle alternately and print the medians."""
    with sandbox(folder) as address:
        environment = {
            "OPENAI_API_KEY": "sk-bench",
            "OPENAI_BASE_URL": address,
            "SORA_LEDGER_PROFILE": "openai",
        }
        settings = read_settings(
            ledger=str(folder / "ledger.db"), actor="ana", environment=environment, folder=folder
        )
        trace = begin_trace()
        session = open_session(settings, trace, Log(trace, quiet=True))
        await settled(session, 0, on=False)  # makes the sandbox's one clip
        clip = folder / "sandbox" / "media" / ONE_CLIP
        content = clip.read_bytes()
        padding = box(b"mdat", Random(1).randbytes(CLIP_BYTES - len(content)))
        clip.write_bytes(signed(content + padding, credentials()))
        await settled(session, 1, on=False)
        first = await settled(session, 2, on=True)
        times: dict[bool, list[Took]] = {False: [], True: []}
        for number in range(ROUNDS):
            for on in (False, True) if number % 2 else (True, False):
                times[on].append(await settled(session, 3 + 2 * number + on, on=on))
        await session.close()
    print(f"settling a clip of {CLIP_BYTES / 1e6:.0f} MB, {ROUNDS} times each, in turns; milliseconds")
    print("                     clock: median   best   processor: median")
    for on, words in ((False, "not read"), (True, "read and recorded")):
        clock = [took.clock_s * 1000 for took in times[on]]
        processor = statistics.median(took.processor_s * 1000 for took in times[on])
        print(f"  {words:18} {statistics.median(clock):14.1f} {min(clock):6.1f} {processor:19.1f}")
    print(f"  the first one in a process, which loads the library: {first.clock_s * 1000:.1f}")
    without, with_it = (statistics.median(took.clock_s for took in times[on]) for on in (False, True))
    print(f"  ratio of the medians {with_it / without:.3f} (goal: at most 1.1)")
    note("settle a clip with a manifest", "not read", with_it / without)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        asyncio.run(measure(Path(name)))
