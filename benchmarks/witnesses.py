"""Cost of three witnesses when publishing a checkpoint, and of publishing for concurrent appends.

Three witnesses from the tests run as processes on this machine, so the network adds nothing. Publications
with and without them alternate, on one ledger of 10,000 records that grows by one record before each. Then a
thread appends, alternately with and without checkpoints being published.

    .venv/bin/python benchmarks/witnesses.py
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import goals
from workload import WHO, adopted, draft

from ledger.log.ledger import Ledger
from ledger.log.opening import open_or_create
from ledger.log.tiles import origin_of
from ledger.store.interface import NEW, Batch
from render_service.api.sessions import open_session
from render_service.evidence.checkpoints import Publication
from render_service.evidence.keys import new_key
from render_service.evidence.publishing import publish_checkpoint
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, begin_trace
from render_service.session.session import Session

WITNESS = Path(__file__).parents[1] / "tests" / "outside" / "witness.py"
RECORDS, ROUNDS = 10_000, 30
APPENDING_S, TURNS = 1.5, 6
AIM_MS = 300.0


def main() -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_DATA_HOME"] = name
        asyncio.run(_measure(folder))


async def _measure(folder: Path) -> None:
    settings = read_settings(ledger=f"sqlite:///{folder}/ledger.db", environment=dict(os.environ))
    trace = begin_trace()
    session = open_session(settings, trace, Log(trace, quiet=True))
    number = iter(range(10_000_000))
    _append(session.ledger, number, RECORDS)
    key = folder / "key"
    verifier = new_key(key, origin_of(session.ledger))
    with _witnesses(folder, verifier.name, str(verifier)) as policy:
        target = str(folder / "checkpoint")
        plain, witnessed = Publication(target, key, record=True), Publication(target, key, policy)
        took: dict[str, list[float]] = {"without": [], "with three": []}
        for turn in range(2 * ROUNDS):
            _append(session.ledger, number, 1)
            began = time.perf_counter()
            await publish_checkpoint(session, witnessed if turn % 2 else plain)
            took["with three" if turn % 2 else "without"].append((time.perf_counter() - began) * 1000)
        middle = {which: statistics.median(values) for which, values in took.items()}
        added = middle["with three"] - middle["without"]
        for which, values in took.items():
            print(f"  {which:<11} median {middle[which]:6.1f} ms, max {max(values):6.1f}")
        print(f"  three witnesses add {added:.0f} ms to a checkpoint (aim: less than {AIM_MS:g})")
        goals.note("checkpoint, three witnesses", "300 ms more", added / AIM_MS)
        await _appends(folder, session, witnessed, number)
    await session.close()


async def _appends(folder: Path, session: Session, wanted: Publication, number: Iterator[int]) -> None:
    rates: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(TURNS):
        publishing, done, stop = bool(turn % 2), [0], threading.Event()

        def append(done: list[int] = done, stop: threading.Event = stop) -> None:
            with open_or_create(f"sqlite:///{folder}/ledger.db", WHO, datetime.now(UTC)) as ledger:
                while not stop.is_set():
                    _append(ledger, number, 1)
                    done[0] += 1

        thread = threading.Thread(target=append)
        thread.start()
        ends = time.monotonic() + APPENDING_S
        while time.monotonic() < ends:
            if publishing:
                await publish_checkpoint(session, wanted)
            await asyncio.sleep(APPENDING_S / 3)
        stop.set()
        thread.join()
        rates[publishing].append(done[0] / APPENDING_S)
    alone, beside = (statistics.median(rates[which]) for which in (False, True))
    print(f"  appends a second: {alone:.0f} alone, {beside:.0f} beside publications ({beside / alone:.2f})")


def _append(ledger: Ledger, number: Iterator[int], count: int) -> None:
    events = [next(number) for _ in range(count)]
    ledger.append([Batch(f"job_{at:032x}", NEW, [draft(adopted(at))]) for at in events])


@contextmanager
def _witnesses(folder: Path, origin: str, key: str) -> Iterator[Path]:
    running, lines = [], []
    for name in ("north", "south", "east"):
        options = ["--folder", str(folder / name), "--name", f"{name}.example/w", "--log", origin]
        command = [sys.executable, str(WITNESS), *options, "--log-key", key]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout
        port, verifier = process.stdout.readline().split()
        lines.append(f"witness {name} {verifier} http://127.0.0.1:{port}\n")
    policy = folder / "policy"
    policy.write_text("".join(lines) + "group all all north south east\nquorum all\n")
    try:
        yield policy
    finally:
        for process in running:
            process.kill()
            with process:
                pass


if __name__ == "__main__":
    main()
