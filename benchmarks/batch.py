"""``create-batch --concurrency 16`` against a bare `AsyncOpenAI` loop, and the cost of sweeping 200 jobs.

Both sides send the same 200 prompts, 16 at a time, to one sandbox in a separate process that renders in no
time. Ours reads and checks the file, decides each entry, records request, decision, intent and outcome (every
commit is synchronised to disk before the call, or before the next step), and writes a JSON file per job, on a
new ledger each round. The loop keeps the SDK's answers. Imports, the start of the process and opening the
ledger are not timed; making a client is timed on both sides. The aim is a ratio of 1.3.

Measured on a busy machine: 1.14 times the loop's time, where waiting for the processor dominates on both
sides, and 1.42 times its processor time.

Where the processor's time goes (sampled on a disk of memory; of 100): sending 59, nearly all of it the SDK
and its HTTP client, for which the loop pays 80; appends 9 (more on ext4); requests, commitments and decisions
5; the drafts of intents and outcomes 8; files 2 (more on ext4); the file of entries and opening the ledger 4;
tasks and hand-overs between threads the rest. Tried and left out, as they saved nothing: `uvloop`, waiting 2
or 4 ms for more appends to share a commit, appending on the event loop's own thread, no garbage collection.
Left for later: head and body of a request in one write, and a look at the socket alone when a connection is
taken up again (200 calls of the system of 400, 3 to 5 % of our calls and 7 % of the median of processor
time, 1.48 to 1.38 in one run): both need a stream below the HTTP client's pool, which only a private
attribute of it sets.
Left out for what they would weaken: intents recorded long before their calls, commits without their sync,
connections kept for longer than half a second, `aiohttp` below the SDK (docs/decisions/0031-connections.md).
Files cost what the file system needs for new ones, which is printed: ext4 scans every inode that was deleted
in the last minutes, by any program.

The sweep then settles 200 running jobs; its requests are counted by the sandbox.

    .venv/bin/python benchmarks/batch.py             compare
    .venv/bin/python benchmarks/batch.py --profile   show where our time goes
"""

import asyncio
import cProfile
import pstats
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import goals
import httpx2
from openai import AsyncOpenAI

from decision.rules.toml import default_catalog
from render_service.api import sessions
from render_service.batches.file import read_batch
from render_service.batches.folder import BatchFolder
from render_service.batches.plan import plan
from render_service.batches.run import BatchOptions, run_batch
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session
from render_service.settlement.sweep import settle_all

JOBS = 200
AT_ONCE = 16
ROUNDS = 9
PEER = "bare AsyncOpenAI loop"
AIM = goals.GOALS["create-batch", PEER].ratio
RENDER_SECONDS = 3.0
INTERVAL_S = 0.5
TRACE = Trace("1" * 32, "2" * 16)
PROMPTS = [f"Shot {number}: a fox runs through snow" for number in range(JOBS)]
PRAGMAS = "journal_mode synchronous secure_delete".split()


@dataclass(frozen=True)
class Took:
    """Seconds of one round: wall time, and this process's processor time."""

    wall_s: float
    processor_s: float


def main() -> None:
    """Compare, then count."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # `client.videos` of the bare loop
    with sandbox(0) as base_url, folders() as folder:
        asyncio.run(bare(base_url))  # warm-up: imports, and everything done only once
        asyncio.run(ours(base_url, folder()))
        rounds = [(asyncio.run(bare(base_url)), asyncio.run(ours(base_url, folder()))) for _ in range(ROUNDS)]
        files_ms = statistics.median(write_files(folder()) for _ in range(3))
    peers, batches = [peer for peer, _ in rounds], [batch for _, batch in rounds]
    worked = processor_ms(batches) / processor_ms(peers)
    goals.note("create-batch", PEER, ratio(batches, peers))
    print(f"SQLite {sqlite3.sqlite_version}, Python {sys.version.split()[0]}; ledger: {pragmas()}")
    print(f"{JOBS} jobs, {AT_ONCE} at once, {ROUNDS} rounds each, alternating")
    print(f"  {JOBS} new files alone take {files_ms:.0f} ms here")
    print(f"  create-batch     {spread(batches)}")
    print(f"  bare AsyncOpenAI {spread(peers)}")
    print(f"  ratio of medians {ratio(batches, peers):.2f} (aim: at most {AIM:g}), processor {worked:.2f}")
    with sandbox(RENDER_SECONDS) as base_url:
        asyncio.run(sweep(base_url))


def profile() -> None:
    """Print where the time of one batch goes in the event loop's thread."""
    profiler = cProfile.Profile()
    with sandbox(0) as base_url, folders() as folder:
        asyncio.run(ours(base_url, folder()))
        asyncio.run(ours(base_url, folder(), profiler))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


async def bare(base_url: str) -> Took:
    """Send every prompt with the SDK alone."""
    began, worked = time.perf_counter(), time.process_time()
    waiting = iter(PROMPTS)
    async with AsyncOpenAI(api_key="any", base_url=base_url) as client:

        async def worker() -> None:
            for prompt in waiting:
                await client.videos.create(prompt=prompt, model="sora-2", size="1280x720", seconds="4")

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return Took(time.perf_counter() - began, time.process_time() - worked)


async def ours(base_url: str, folder: Path, profiler: cProfile.Profile | None = None) -> Took:
    """Carry out the same prompts as a batch, with ledger and files in `folder`."""
    session = open_session(folder, base_url)
    if profiler:
        profiler.enable()
    began, worked = time.perf_counter(), time.process_time()
    await carry_out(session, folder / "out")
    took = Took(time.perf_counter() - began, time.process_time() - worked)
    if profiler:
        profiler.disable()
    await session.close()
    return took


async def carry_out(session: Session, out_dir: Path) -> list[str]:
    """Read, check, decide, record and send the batch; return the ids of its jobs."""
    defaults = {"profile": session.settings.chosen_profile(), "augment": False}
    planned = plan(
        read_batch("\n".join(PROMPTS), Path()),
        name="bench",
        batch=str(out_dir),
        defaults=defaults,
        catalog=default_catalog(),
    )
    members = await run_batch(session, planned, BatchFolder(out_dir), BatchOptions(concurrency=AT_ONCE))
    return [member.job.job_id for member in members]


async def sweep(base_url: str) -> None:
    """Settle a batch whose renders take a while, and print the sandbox's request counts."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(Path(folder), base_url)
        jobs = [session.ledger.job(name) for name in await carry_out(session, Path(folder) / "out")]
        before = requests(base_url)
        began = time.perf_counter()
        ends = await settle_all(session, jobs, interval_s=INTERVAL_S, timeout_s=60)
        took = time.perf_counter() - began
        calls = {name: count - before.get(name, 0) for name, count in requests(base_url).items()}
        await session.close()
    stored = sum(end.job.state == "stored" for end in ends.values())
    rounds = took / INTERVAL_S
    looks = calls.get("lists", 0) + calls.get("retrieves", 0)
    print(f"sweep of {JOBS} running jobs, every {INTERVAL_S:g} s: {stored} stored after {took:.1f} s")
    print(
        f"  {calls.get('lists', 0)} lists, {calls.get('retrieves', 0)} single questions: "
        f"at least {looks / rounds:.1f} a round"
    )


def open_session(folder: Path, base_url: str) -> Session:
    """Open a session on a new ledger."""
    environment = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": base_url, "SORA_LEDGER_PROFILE": "openai"}
    settings = read_settings(
        ledger=str(folder / "ledger.db"), actor="bench", environment=environment, folder=folder
    )
    return sessions.open_session(settings, TRACE, Log(TRACE, quiet=True))


def write_files(folder: Path) -> float:
    """Write as many files as a batch does; return the processor time in milliseconds."""
    began = time.process_time()
    for number in range(JOBS):
        part = folder / f"{number}.part"
        part.write_bytes(b"{}" * 600)
        part.replace(folder / f"{number}.json")
    return (time.process_time() - began) * 1000


@contextmanager
def folders() -> Iterator[Callable[[], Path]]:
    """Yield a function that makes empty folders; all are removed together, at the end.

    ext4 passes over the inodes deleted in the last minutes one by one: a round that comes after the removal
    of another's files pays 0.5 to 0.9 ms for each file it makes, instead of 0.05.
    """
    with tempfile.TemporaryDirectory() as parent:
        yield lambda: Path(tempfile.mkdtemp(dir=parent))


@contextmanager
def sandbox(render_seconds: float) -> Iterator[str]:
    """Run a sandbox as a process; yield its base URL."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cli", "sandbox", "--port", "0", "--data", folder]
        options = ["--render-seconds", str(render_seconds), "--media", "cached"]
        with subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout
                yield process.stdout.readline().strip().partition("=")[2]
            finally:
                process.terminate()


def requests(base_url: str) -> dict[str, int]:
    """Return the sandbox's request counts so far."""
    return dict(httpx2.get(base_url.removesuffix("/v1") + "/_sandbox/requests").json())


def pragmas() -> str:
    """Return the pragmas that a new ledger is written with."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(Path(folder), "http://127.0.0.1:9/v1")
        db = session.ledger.store._writer  # type: ignore[attr-defined]  # noqa: SLF001  # those really in force
        pragmas_text = ", ".join(f"{name} = {db.execute(f'PRAGMA {name}').fetchone()[0]}" for name in PRAGMAS)
        session.ledger.close()
        return pragmas_text


def spread(rounds: list[Took]) -> str:
    """Return the median, minimum and maximum of some rounds, and their processor time."""
    walls = [took.wall_s * 1000 for took in rounds]
    return (
        f"median {statistics.median(walls):6.0f} ms, min {min(walls):6.0f}, max {max(walls):6.0f}; "
        f"processor {processor_ms(rounds):6.0f} ms"
    )


def processor_ms(rounds: list[Took]) -> float:
    """Return the median processor time of some rounds."""
    return statistics.median(took.processor_s * 1000 for took in rounds)


def ratio(ours: list[Took], peers: list[Took]) -> float:
    """Return how many times as long ours takes."""
    return statistics.median(took.wall_s for took in ours) / statistics.median(took.wall_s for took in peers)


if __name__ == "__main__":
    profile() if "--profile" in sys.argv else main()
