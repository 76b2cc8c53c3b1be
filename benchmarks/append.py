"""Durable appends per second, against a bare `sqlite3` insert of the same rows, and against `eventsourcing`.

All sides commit in WAL mode with ``synchronous = FULL``: each commit is on disk before it counts. Our side
checks event ids and versions, folds the job, and keeps its row, the Merkle frontier and the tiles. The bare
insert writes the same bytes into the table `events` of a new ledger (the schema after every migration, so the
same indexes and triggers; the same pragmas) and gets finished rows: no hashing, no folding, one INSERT. The
third is `SQLiteApplicationRecorder` of the PyPI package `eventsourcing`, ``insert_events`` with as many bytes
of finished state per event as our record and payload have, in its own table; it runs one `execute` per event.
The events are ``status.observed`` in running jobs; models are built and salted before the clock starts,
records and leaves within it. If other programs use the disk, the rates say little: the ratio of processor
times is steadier.

    .venv/bin/python benchmarks/append.py             compare
    .venv/bin/python benchmarks/append.py --profile   show where our time goes

Where the time goes, in microseconds of processor time per event, on a RAM disk and two busy cores. A single
append takes 180; it took 395 when it reread what its process had just written. More than half is SQLite and
the kernel: 11 to 19 for an empty transaction, the rest for six statements and the six pages that they change,
four of them those of the bare insert. The rest is Python: steps that take 30 together when each is repeated
alone (placing the record 4, folding the job 2, its row 2, the tree 1, the file's identity 4), and twice as
long where they alternate with SQLite. Sixteen threads took 126 where a single thread took 180, with 2.3 waits
and 1.3 preemptions for an append. Since each thread wakes the next instead of all being woken together, they
take 46 to 54 instead of 59 to 65 on a machine twice as fast where a single thread takes 137, and the ratio to
`eventsourcing` is 3.30 to 3.37 instead of 2.86 to 3.07 (three runs each, in turns). In batches of 1,000 an
event takes 27. Half of that are the bare rows with three indexes and the trigger (13: the row alone 6, the
two other indexes 4, the trigger 3), four are placing the record, two the fold, two hashing for record and
tree. `eventsourcing` takes 7, half of what the bare rows take: it writes finished bytes into a table with one
index and hashes, encodes and folds nothing. So half of its rate is out of reach.

Taken out: reading what the process remembers; indexes on the bytes of job rows and on type and trace; the
page that each job row had to itself; a second writer of unchanged columns; pydantic and `json` for rows and
records; half of the function calls; parameters of type `bytes`, for which `sqlite3` looks for an adapter (1.2
each, three for each event; the bare insert still has them, as most programs do); the copy of each page with
which SQLite could take back a refused statement alone (1.5; the bare insert has that too). The last two and
25 of 155 calls took a single append from 208 to 183 and batches from 30.5 to 27.1 (the least of 15 rounds,
both versions in turn, in both orders), sixteen threads from 141 to 126. Tried and left: `_sha256` instead of
OpenSSL's (six times as long for 146 bytes), a larger ``wal_autocheckpoint`` (slower), a larger cache (no
difference), ``secure_delete = OFF`` (5 to 10 %, for a promise about erasure), no garbage collection (no
difference), structures of msgspec for the two classes that hold what an append is decided on (no difference;
docs/decisions/0284-what-compiling-does-not-save.md), `apsw` with a newer SQLite (25 instead of 29 for the six
statements, of about 150; the whole store would have to leave `sqlite3`, because two SQLite libraries in a
process break each other's locks on a file). Left for later: writing the index of words for several prompts at
once (a sixth of the append that begins a job, and nothing here).
"""

import cProfile
import pstats
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import goals
import workload
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from ledger.record import Draft
from ledger.store.interface import ANY, Batch
from ledger.store.sqlite import SqliteStore

ROUNDS = 7
SINGLES = 400
THREADS = 16
PER_THREAD = 100
BATCH = 1_000
PRAGMAS = "journal_mode synchronous secure_delete wal_autocheckpoint page_size cache_size fullfsync".split()
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Case(NamedTuple):
    """A case: the number of threads, of events per transaction, and of transactions."""

    name: str
    threads: int
    batch: int
    commits: int

    @property
    def events(self) -> int:
        """Return how many events a round records."""
        return self.batch * self.commits


class Rate(NamedTuple):
    """The result of one round: events per second, and processor time per event in microseconds."""

    a_second: float
    processor_us: float


CASES = [
    Case("single appends, 1 thread", 1, 1, SINGLES),
    Case(f"single appends, {THREADS} threads", THREADS, 1, THREADS * PER_THREAD),
    Case(f"batches of {BATCH}", 1, BATCH, 3),
]


def main() -> None:
    """Run every case, alternating the two sides."""
    for number, case in enumerate(CASES):
        ours: list[Rate] = []
        peers: list[Rate] = []
        recorders: list[Rate] = []
        for turn in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                rows, pragmas = _ours(Path(folder) / "ours.db", case, ours)
                _peer(Path(folder) / "peer.db", case, rows, peers)
                _recorder(Path(folder) / "recorder.db", case, recorders)
            if not number and not turn:
                print(
                    f"SQLite {sqlite3.sqlite_version}, Python {sys.version.split()[0]}; both sides: {pragmas}"
                )
                print(f"median (min to max) events per second, processor time; {ROUNDS} runs, alternating\n")
        print(f"{case.name:28} ledger        {_spread(ours)}")
        for name, theirs in (("bare sqlite3", peers), ("eventsourcing", recorders)):
            wall = _median(ours) / _median(theirs)
            processor = _processor_us(theirs) / _processor_us(ours)
            goals.note(case.name, name, wall)
            print(f"{'':28} {name:13} {_spread(theirs)}   ratio {wall:.2f}, processor {processor:.2f}")


def profile() -> None:
    """Print where our side's time goes in single appends and in batches."""
    for case in (CASES[0], CASES[2]):
        profiler = cProfile.Profile()
        with tempfile.TemporaryDirectory() as folder:
            _ours(Path(folder) / "ours.db", case, [], profiler)
        print(f"--- {case.name} ---")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


def _ours(
    path: Path, case: Case, rates: list[Rate], profiler: cProfile.Profile | None = None
) -> tuple[list[tuple[Any, ...]], str]:
    """Measure one of our rounds; return the rows it wrote and the pragmas it used."""
    drafts = [workload.draft(workload.observed(number)) for number in range(case.events)]
    with SqliteStore(path) as store:
        for number in range(workload.JOBS):
            store.append([Batch(workload.job(number), ANY, [workload.draft(workload.adopted(number))])])
        appends = [_batches(drafts, start, case.batch) for start in range(0, case.events, case.batch)]
        if profiler:
            profiler.enable()
        rates.append(_rate(case, [lambda each=each: store.append(each) for each in appends]))
        if profiler:
            profiler.disable()
        db = store._writer  # noqa: SLF001  # to print the pragmas that are really in force
        assert db
        pragmas = ", ".join(f"{name} = {db.execute(f'PRAGMA {name}').fetchone()[0]}" for name in PRAGMAS)
        return db.execute("SELECT * FROM events ORDER BY position").fetchall(), pragmas


def _peer(path: Path, case: Case, rows: Sequence[tuple[Any, ...]], rates: list[Rate]) -> None:
    """Measure one round of bare inserts of `rows`; those that begin the jobs come before the clock."""
    SqliteStore(path).close()  # the same schema, after every migration
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    db.executemany(INSERT, rows[: workload.JOBS])
    rest = iter(rows[workload.JOBS :])
    writing = threading.Lock()

    def commit() -> None:
        with writing:
            db.execute("BEGIN IMMEDIATE")
            if case.batch == 1:
                db.execute(INSERT, next(rest))
            else:
                db.executemany(INSERT, [next(rest) for _ in range(case.batch)])
            db.execute("COMMIT")

    rates.append(_rate(case, [commit] * case.commits))
    db.close()


def _recorder(path: Path, case: Case, rates: list[Rate]) -> None:
    """Measure one round of `eventsourcing`, each event in the stream and at the version that ours has."""
    placed = workload.draft(workload.observed(1)).placed(workload.job(1), 1, 1)
    state = placed.record + placed.payload
    events = [
        StoredEvent(UUID(int=number % workload.JOBS), number // workload.JOBS + 2, "status.observed", state)
        for number in range(case.events)
    ]
    store = SQLiteDatastore(str(path), pool_size=case.threads)
    recorder = SQLiteApplicationRecorder(store, events_table_name="events")
    recorder.create_table()
    for number in range(workload.JOBS):
        recorder.insert_events([StoredEvent(UUID(int=number), 1, "render.adopted", state)])
    with store.transaction(commit=False) as cursor:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2)):
            cursor.execute(f"PRAGMA {pragma}")
            assert tuple(cursor.fetchone()) == (value,), pragma
    batches = [events[start : start + case.batch] for start in range(0, case.events, case.batch)]
    rates.append(_rate(case, [lambda each=each: recorder.insert_events(each) for each in batches]))
    store.close()


def _rate(case: Case, commits: Sequence[Callable[[], object]]) -> Rate:
    """Run `commits`, shared out over the case's threads."""

    def run(part: Sequence[Callable[[], object]]) -> None:
        for commit in part:
            commit()

    threads = [
        threading.Thread(target=run, args=(commits[number :: case.threads],))
        for number in range(case.threads)
    ]
    started, worked = time.perf_counter(), time.process_time()
    if case.threads == 1:
        run(commits)
    else:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    took, work = time.perf_counter() - started, time.process_time() - worked
    return Rate(case.events / took, work / case.events * 1e6)


def _batches(drafts: Sequence[Draft], start: int, size: int) -> list[Batch]:
    """Return the batches of one append: its drafts by job."""
    by_job: dict[str, list[Draft]] = {}
    for number in range(start, start + size):
        by_job.setdefault(workload.job(number), []).append(drafts[number])
    return [Batch(job_id, ANY, part) for job_id, part in by_job.items()]


def _median(rates: Sequence[Rate]) -> float:
    return statistics.median(rate.a_second for rate in rates)


def _processor_us(rates: Sequence[Rate]) -> float:
    return statistics.median(rate.processor_us for rate in rates)


def _spread(rates: Sequence[Rate]) -> str:
    least, most = min(rates).a_second, max(rates).a_second
    return f"{_median(rates):7,.0f} ({least:,.0f} to {most:,.0f}), {_processor_us(rates):4.0f} us"


if __name__ == "__main__":
    profile() if "--profile" in sys.argv else main()
