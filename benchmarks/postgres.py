"""Durable appends per second on PostgreSQL, against the recorder of `eventsourcing` on the same server.

Both sides append one event per call, durable when the call returns, to the same fresh server with its default
settings (`fsync` and `synchronous_commit` on). Ours checks event ids and versions, folds the job, and keeps
its row, the Merkle frontier, the tiles and the leaf in the same transaction, and notifies. The peer,
`PostgresApplicationRecorder.insert_events`, gets finished bytes of the same size, locks its table so that
notification ids are in commit order, and notifies. The events are ``status.observed`` in running jobs; models
are built and salted before the clock starts, records and leaves within it.

Goals: 1.6 with one writer and 3.5 with eight, aims 1.8 and 4.5. On a busy machine with the server on a RAM
disk, an append of one writer took 0.55 to 0.75 of the peer's processor time, client and server together (1.6
before it was decided ahead), one of eight writers 0.2. Of one writer's append the client takes 0.3 ms and the
server 0.25 ms: an eighth of that evaluates the indexes on the bytes of the job row, an eighth is the trigger
that keeps the log append-only. Tried without a difference: more room in the pages of jobs and head.

    .venv/bin/python benchmarks/postgres.py             compare
    .venv/bin/python benchmarks/postgres.py --profile   show where our time goes, one writer
"""

import cProfile
import pstats
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote

import goals
import psycopg
import workload
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from ledger.store.interface import ANY, Batch
from ledger.store.postgres import PostgresStore

ROUNDS = 7
SETTINGS = "server_version fsync synchronous_commit full_page_writes wal_sync_method shared_buffers".split()
Call = Callable[[], object]


class Case(NamedTuple):
    """A case: the number of concurrent writers, and of appends per writer."""

    writers: int
    appends: int

    @property
    def name(self) -> str:
        """Return the name of the case."""
        return f"single appends, {self.writers} writer{'s' * (self.writers > 1)}"


CASES = [Case(1, 300), Case(8, 100)]


def main() -> None:
    """Run every case, alternating the two sides."""
    with workload.postgresql() as url:
        with psycopg.connect(url) as db:
            shown = [db.execute(f"SHOW {name}").fetchone()[0] for name in SETTINGS]
        print(", ".join(f"{name} = {value}" for name, value in zip(SETTINGS, shown, strict=True)))
        print(
            f"Python {sys.version.split()[0]}; median (min to max) appends per second of {ROUNDS} runs each\n"
        )
        for case in CASES:
            ours: list[float] = []
            peers: list[float] = []
            for _ in range(ROUNDS):
                ours.append(_ours(url, case))
                peers.append(_peer(url, case))
            ratio = statistics.median(ours) / statistics.median(peers)
            goals.note(f"PostgreSQL, {case.writers} writer{'s' * (case.writers > 1)}", "eventsourcing", ratio)
            print(
                f"{case.name:26} ledger {_spread(ours)}   eventsourcing {_spread(peers)}   ratio {ratio:.2f}"
            )


def profile() -> None:
    """Print where our side's time goes with one writer."""
    profiler = cProfile.Profile()
    with workload.postgresql() as url:
        _ours(url, CASES[0], profiler)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


@contextmanager
def _schema(url: str) -> Iterator[str]:
    """Yield the name of an empty schema, which is dropped afterwards."""
    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {name}")
        yield name
        db.execute(f"DROP SCHEMA {name} CASCADE")


def _ours(url: str, case: Case, profiler: cProfile.Profile | None = None) -> float:
    drafts = [workload.draft(workload.observed(number)) for number in range(case.writers * case.appends)]
    with _schema(url) as schema, PostgresStore(f"{url}&options={quote(f'-csearch_path={schema}')}") as store:
        for number in range(workload.JOBS):
            store.append([Batch(workload.job(number), ANY, [workload.draft(workload.adopted(number))])])
        batches = [[Batch(workload.job(number), ANY, [each])] for number, each in enumerate(drafts)]
        if profiler:
            profiler.enable()
        rate = _rate(case, [lambda each=each: store.append(each) for each in batches])
        if profiler:
            profiler.disable()
    return rate


def _peer(url: str, case: Case) -> float:
    place = conninfo_to_dict(url)
    state = _size_of_ours()
    events = [
        StoredEvent(
            uuid.UUID(int=number % workload.JOBS), number // workload.JOBS + 2, "status.observed", state
        )
        for number in range(case.writers * case.appends)
    ]
    with _schema(url) as schema:
        store = PostgresDatastore(
            dbname=place["dbname"], host=place["host"], port=place.get("port", "5432"), user=place["user"],
            password=place.get("password") or "", schema=schema, pool_size=case.writers, max_overflow=0,
        )  # fmt: skip
        recorder = PostgresApplicationRecorder(store, events_table_name="events")
        recorder.create_table()
        for number in range(workload.JOBS):
            recorder.insert_events([StoredEvent(uuid.UUID(int=number), 1, "render.adopted", state)])
        rate = _rate(case, [lambda each=each: recorder.insert_events([each]) for each in events])
        store.close()
    return rate


def _size_of_ours() -> bytes:
    """Return as many bytes as record and payload of one of our events have."""
    placed = workload.draft(workload.observed(1)).placed(workload.job(1), 1, 1)
    return bytes(len(placed.record) + len(placed.payload))


def _rate(case: Case, calls: Sequence[Call]) -> float:
    """Make `calls`, divided among the case's writers; return calls per second."""

    def run(part: Sequence[Call]) -> None:
        for call in part:
            call()

    threads = [
        threading.Thread(target=run, args=(calls[number :: case.writers],)) for number in range(case.writers)
    ]
    started = time.perf_counter()
    if case.writers == 1:
        run(calls)  # a profiler sees only its own thread
    else:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return len(calls) / (time.perf_counter() - started)


def _spread(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):6,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


if __name__ == "__main__":
    profile() if "--profile" in sys.argv else main()
