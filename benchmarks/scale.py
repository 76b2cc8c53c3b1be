"""How far one ledger carries: appends per second, and what a year of renders costs to keep and to verify.

`heads` measures appends that are durable when the call returns, on SQLite and on a private PostgreSQL, with
1, 8 and 16 writers, one record at a time and in batches. If other programs are running, use the processor
time of this process per record: its inverse is what one core could append without any waiting. On PostgreSQL
the server's time is additional.

`year` generates a ledger of whole renders (`big_ledger`: ten records each), measures its size and the time of
`verify` in one process and in two, and extrapolates to a year at 10, 1,000 and 100,000 renders per hour. A
second ledger, `--check` times as long, is generated as well, and compared with the extrapolation to it.

    .venv/bin/python benchmarks/scale.py heads
    .venv/bin/python benchmarks/scale.py year                    100,000 records, checked at 400,000
    .venv/bin/python benchmarks/scale.py year --records 219000   checked at the year of 10 renders per hour

Assumptions of `year`, which options change: a file of `--video-mb` for each render, dollars per GB and month
of a disk for the ledger (`--disk`) and of a bucket for files (`--bucket`), both at the end of the year with
nothing deleted, and a verification that is as much faster with twice the processes as it is with two.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
import workload
from big_ledger import PER_JOB, big_ledger

from ledger.log.verification import verify_ranges
from ledger.store.interface import ANY, Batch, EventStore
from ledger.store.postgres import PostgresStore
from ledger.store.sqlite import SqliteStore

WRITERS = (1, 8, 16)
BATCHES = (1, 100)
ROUNDS = 3
RECORDS = 2_000
"""Maximum records per round; a single writer makes fewer single appends, because each waits for the disk."""

HOURS = 8_760
RATES = (10, 1_000, 100_000)
GB = 1e9


class Rate(NamedTuple):
    """Records per second, and this process's processor time per record in microseconds."""

    a_second: float
    processor_us: float


def heads() -> None:
    """Measure and print a table."""
    print(
        f"{'store':11} {'writers':>7} {'batch':>6} {'records/s (median, min to max)':>34} {'processor':>12}"
    )
    for name, opened in (("SQLite", _sqlite), ("PostgreSQL", _postgresql)):
        with opened() as begin:
            for batch in BATCHES:
                for writers in WRITERS:
                    rates = [_round(begin, writers, batch) for _ in range(ROUNDS)]
                    seconds = [rate.a_second for rate in rates]
                    spread = f"{statistics.median(seconds):,.0f} ({min(seconds):,.0f} to {max(seconds):,.0f})"
                    processor = statistics.median(rate.processor_us for rate in rates)
                    print(f"{name:11} {writers:7} {batch:6} {spread:>34} {processor:9.0f} µs", flush=True)


Begin = Callable[[], AbstractContextManager[EventStore]]


@contextmanager
def _sqlite() -> Iterator[Begin]:
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(1_000))
        yield lambda: SqliteStore(Path(folder) / f"{next(numbers)}.db")


@contextmanager
def _postgresql() -> Iterator[Begin]:
    with workload.postgresql() as url:
        numbers = iter(range(1_000))

        def begin() -> PostgresStore:
            name = f"scale_{next(numbers)}"
            with psycopg.connect(url, autocommit=True) as db:
                db.execute(f"CREATE SCHEMA {name}")
            return PostgresStore(f"{url}&options={quote(f'-csearch_path={name}')}")

        yield begin


def _round(begin: Begin, writers: int, batch: int) -> Rate:
    """Append from `writers` threads, `batch` records at a time, to a new ledger."""
    commits = max(writers * 5, RECORDS // batch // (4 if writers == batch == 1 else 1))
    commits -= commits % writers
    drafts = [workload.draft(workload.observed(number)) for number in range(commits * batch)]
    with begin() as store:
        for number in range(workload.JOBS):
            store.append([Batch(workload.job(number), ANY, [workload.draft(workload.adopted(number))])])
        appends = [_batches(drafts, start, batch) for start in range(0, len(drafts), batch)]
        threads = [
            threading.Thread(target=_append, args=(store, appends[number::writers]))
            for number in range(writers)
        ]
        began, used = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken, processor = time.perf_counter() - began, time.process_time() - used
        assert store.head().size == workload.JOBS + len(drafts)
    return Rate(len(drafts) / taken, processor / len(drafts) * 1e6)


def _append(store: EventStore, appends: Sequence[list[Batch]]) -> None:
    for each in appends:
        store.append(each)


def _batches(drafts: Sequence[Any], start: int, batch: int) -> list[Batch]:
    """Return the records from `start` on as one append, by job."""
    jobs: dict[str, list[Any]] = {}
    for number in range(start, min(start + batch, len(drafts))):
        jobs.setdefault(workload.job(number), []).append(drafts[number])
    return [Batch(job, ANY, those) for job, those in jobs.items()]


class Sample(NamedTuple):
    """Size of a generated ledger: records, bytes, and seconds of `verify` in one and in two processes."""

    records: int
    bytes: int
    one_s: float
    two_s: float
    one_processor_s: float


def year(options: argparse.Namespace) -> None:
    """Generate, measure, extrapolate, check, and print a table."""
    sample = _sample(options.records, options.rounds)
    check = _sample(options.records * options.check, options.rounds)
    for one in (sample, check):
        print(
            f"{one.records:>12,} records: {one.bytes / 1e6:,.0f} MB, {one.bytes / one.records:,.0f} bytes "
            f"each; verify {one.one_s:.1f} s in one process ({one.one_processor_s:.1f} s of a processor), "
            f"{one.two_s:.1f} s in two",
            flush=True,
        )
    times = check.records / sample.records
    for name, expected, found in (
        ("size", sample.bytes * times, check.bytes),
        ("verify, processor", sample.one_processor_s * times, check.one_processor_s),
        ("verify, one process", sample.one_s * times, check.one_s),
    ):
        print(f"extrapolated {name}: {found / expected - 1:+.1%} off at {check.records:,} records")
    print()
    speed_up = max(1.0, check.one_s / check.two_s)
    columns = (
        "renders/h",
        "records",
        "records/s",
        "ledger",
        "$/month",
        "videos",
        "$/month",
        "verify: 1 process",
        "2",
        "8",
    )
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for rate in RATES:
        renders = rate * HOURS
        records = renders * PER_JOB
        size = records * check.bytes / check.records
        videos = renders * options.video_mb * 1e6
        verify_s = records * check.one_processor_s / check.records
        cells = (
            f"{rate:,}", _count(records), f"{records / HOURS / 3600:,.3g}", _size(size),
            f"{size / GB * options.disk:,.2f}", _size(videos), f"{videos / GB * options.bucket:,.0f}",
            _time(verify_s), _time(verify_s / speed_up), _time(verify_s / speed_up**3),
        )  # fmt: skip
        print("| " + " | ".join(cells) + " |")


def _sample(records: int, rounds: int) -> Sample:
    path = big_ledger(records)
    size = path.stat().st_size
    times: dict[int, list[float]] = {1: [], 2: []}
    processor: list[float] = []
    for _ in range(rounds):
        for processes, taken in times.items():
            began, used = time.perf_counter(), time.process_time()
            assert verify_ranges(str(path), (), processes).clean
            taken.append(time.perf_counter() - began)
            if processes == 1:
                processor.append(time.process_time() - used)
    return Sample(records, size, min(times[1]), min(times[2]), min(processor))


def _count(number: float) -> str:
    for size, unit in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:,.3g} {unit}"
    return f"{number:,.0f}"


def _size(size: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if size >= unit:
            return f"{size / unit:,.3g} {name}"
    return f"{size / 1e6:,.0f} MB"


def _time(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.0f} s"


def main() -> None:
    """Run the requested parts."""
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = reader.add_subparsers(dest="part", required=True)
    parts.add_parser("heads", help="appends per second")
    years = parts.add_parser("year", help="a year of renders")
    years.add_argument("--records", type=int, default=100_000, help="of the first ledger")
    years.add_argument("--check", type=int, default=4, help="how many times as long the second is")
    years.add_argument("--rounds", type=int, default=ROUNDS, help="verifications of each; the best counts")
    years.add_argument("--video-mb", type=float, default=5.0, help="megabytes of a stored video")
    years.add_argument("--disk", type=float, default=0.10, help="dollars per GB and month, for the ledger")
    years.add_argument("--bucket", type=float, default=0.023, help="dollars per GB and month, for videos")
    options = reader.parse_args()
    if options.part == "heads":
        heads()
    else:
        year(options)


if __name__ == "__main__":
    main()
