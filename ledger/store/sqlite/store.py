"""`SqliteStore`: the contract of `ledger.store.interface` on one SQLite file.

One connection writes, behind a group commit; any number read, each seeing a snapshot. Processes share the
file through SQLite's own locks.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Self

from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.job import Job, State
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow
from ledger.store.group_commit import GroupCommit, Request
from ledger.store.import_rows import Row, chunks, intact
from ledger.store.interface import (
    Batch,
    Document,
    Fence,
    Hold,
    JobFilter,
    Lease,
    Limit,
    RecordFilter,
    Tally,
    holds_of,
)
from ledger.store.sqlite import queue, reading, scrub
from ledger.store.sqlite.connection import (
    connect,
    connect_reading,
    migrate,
    open_reading,
    recognise,
    usable,
    use_wal,
)
from ledger.store.sqlite.read_for_append import (
    Append,
    Placed,
    as_one,
    fold_jobs,
    place,
    read_head,
    read_job,
    write,
    write_head,
    write_jobs,
)
from ledger.tree.merkle import Frontier

AppendRequest = Request[Append, list[Record]]


def apply_all(db: sqlite3.Connection, group: Sequence[AppendRequest], tree: Frontier) -> None:
    """Carry out `group` and settle each request's result or error; `tree` grows with it.

    What SQLite raises, and whatever else goes wrong once writing has begun, ends the whole transaction.
    """
    for requests in _apart(group):
        if len(requests) == 1 or not _apply_as_one(db, requests, tree):
            for request in requests:
                _apply(db, request, tree)


def _apart(group: Sequence[AppendRequest]) -> Iterator[Sequence[AppendRequest]]:
    """Yield the requests in their order, as many at a time as touch nothing twice."""
    begin, touched, expected = 0, set[tuple[str, str]](), set[tuple[str, str]]()
    for number, request in enumerate(group):
        touches, expects = request.work.touched, request.work.expected
        if not (touched.isdisjoint(touches | expects) and expected.isdisjoint(touches)):
            yield group[begin:number]
            begin, touched, expected = number, set(), set()
        touched |= touches
        expected |= expects
    yield group[begin:]


def _apply_as_one(db: sqlite3.Connection, requests: Sequence[AppendRequest], tree: Frontier) -> bool:
    """Carry out `requests` as one append; False, with nothing done, where that is refused."""
    try:
        placed = place(db, as_one([request.work for request in requests]), tree.size)
    except sqlite3.Error:
        raise
    except Exception:  # noqa: BLE001  # one of them is refused; by itself it is told so
        return False
    write(db, placed, tree)
    records = iter(placed.records)
    for request in requests:
        request.result = list(islice(records, request.work.size))
    return True


def _apply(db: sqlite3.Connection, request: AppendRequest, tree: Frontier) -> None:
    try:
        placed = place(db, request.work, tree.size)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001  # the caller's own; `Request.outcome` raises it there
        request.error = error
        return
    write(db, placed, tree)
    request.result = placed.records


def take_in(db: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Record `rows`, those at or below the head excepted; return how many were new. In a transaction."""
    tree = read_head(db)
    new: list[Record] = []
    bodies: list[tuple[int, PrivateBody]] = []
    for row, row_bodies in rows:
        record, expected = intact(row, row_bodies), tree.size + len(new) + 1
        if record.position <= tree.size:
            _must_be_same(db, record)
        elif record.position != expected:
            raise WrongExpectedVersion(f"import: expected position {expected}, got {record.position}")
        else:
            new.append(record)
            bodies += [(record.position, body) for body in row_bodies]
    jobs = fold_jobs(db, new)
    holds = [hold for job in jobs for hold in holds_of(job)]
    write(db, Placed(new, jobs, bodies, holds), tree)
    write_head(db, tree)
    return len(new)


def _must_be_same(db: sqlite3.Connection, record: Record) -> None:
    row = db.execute("SELECT record, payload FROM events WHERE position = ?", (record.position,)).fetchone()
    if row != (record.record, record.payload):
        raise WrongExpectedVersion(
            f"import: position {record.position} is here already with other content: not the same ledger"
        )


POLL_S = 0.25


class SqliteStore:
    """A ledger in one SQLite file at `path`; made if it is missing, unless `read_only`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._idle: deque[sqlite3.Connection] = deque()
        self._commits: GroupCommit[Append, list[Record]] = GroupCommit(self._commit)
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.RLock()
        with usable(path, undone="" if read_only else "nothing was recorded"):
            self._open()

    def _open(self) -> None:
        if self.read_only:
            self._idle.append(open_reading(self.path))
            return
        self._writer = connect(self.path, read_only=False)
        try:
            is_ready = recognise(self._writer, self.path)
            use_wal(self._writer)  # a copy made by VACUUM INTO has lost it
            if not is_ready:
                with self._transaction() as db:
                    if not recognise(db, self.path):
                        migrate(db)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; the last one checkpoints the WAL into the file."""
        while self._idle:
            self._idle.pop().close()
        with self._writing:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    # --- writing ---

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            if self._writer is None:
                raise LedgerUnusable(f"ledger {self.path}: it was opened for reading only")
            db = self._writer
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def append(
        self,
        batches: Sequence[Batch],
        *,
        holds: Sequence[Hold] = (),
        fence: Fence | None = None,
        documents: Sequence[Document] = (),
    ) -> list[Record]:
        """Record `batches` in one transaction; see the contract."""
        return self._commits.run(Append.of(batches, holds, fence, documents))

    def _commit(self, group: Sequence[AppendRequest]) -> None:
        with usable(self.path, undone="nothing of this append was recorded"), self._transaction() as db:
            tree = read_head(db)
            size = tree.size
            apply_all(db, group, tree)
            if tree.size > size:
                write_head(db, tree)

    def import_rows(self, rows: Iterable[tuple[StoredRow, Sequence[PrivateBody]]]) -> int:
        """Take rows of another ledger verbatim; those at or below the head must be the same."""
        imported = 0
        for part in chunks(rows):
            with usable(self.path), self._transaction() as db:
                imported += take_in(db, part)
        return imported

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Swap all job rows for `jobs`, folded up to `at_position`."""
        with usable(self.path), self._transaction() as db:
            size = read_head(db).size
            if size != at_position:
                raise WrongExpectedVersion(
                    f"jobs were folded up to position {at_position}, the ledger is at {size}: fold again"
                )
            db.execute("DELETE FROM jobs")
            write_jobs(db, jobs)

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now."""
        with usable(self.path), self._transaction() as db:
            queue.schedule(db, job_id, delay_ms)

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now."""
        with usable(self.path), self._transaction() as db:
            queue.wake(db, job_ids)

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Take due jobs nobody holds."""
        with usable(self.path), self._transaction() as db:
            return queue.claim(db, holder, lease_ms, limit)

    def enqueue_stale(self, states: Collection[State], before: str) -> int:
        """Make due what is in nobody's schedule."""
        with usable(self.path), self._transaction() as db:
            return queue.enqueue_stale(db, [state.value for state in states], before)

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend the live leases of `holder`."""
        with usable(self.path), self._transaction() as db:
            return queue.keep(db, holder, lease_ms)

    def acquire_slot(self, job_id: str, limit: Limit) -> int:
        """Take a turn and a slot: 0, or the milliseconds after which to ask again."""
        with usable(self.path), self._transaction() as db:
            return queue.acquire_slot(db, job_id, limit)

    def release_slots(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs that no longer run."""
        with usable(self.path), self._transaction() as db:
            queue.release_slots(db, job_ids)

    def back_off(self, name: str, delay_ms: int) -> None:
        """Let nobody take a turn of `name` for a while."""
        with usable(self.path), self._transaction() as db:
            queue.back_off(db, name, delay_ms)

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease that is still current."""
        with usable(self.path), self._transaction() as db:
            return queue.renew(db, lease, lease_ms)

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Hand a job back, due in `delay_ms`, or done with None."""
        with usable(self.path), self._transaction() as db:
            queue.release(db, lease, delay_ms)

    def scrub(self) -> list[str]:
        """Take what erased bodies left behind out of the file and its write-ahead log."""
        with usable(self.path), self._writing:
            if self._writer is None:
                raise LedgerUnusable(f"ledger {self.path}: it was opened for reading only")
            scrub.no_temporary_files(self._writer)
            with self._transaction() as db:
                scrub.rewrite_bodies(db)
            emptied = scrub.empty_log(self._writer)
        return [] if emptied else [scrub.LOG_IN_USE.format(log=f"{self.path}-wal")]

    # --- reading ---

    def wait_for_append(self, timeout_s: float) -> bool:
        """Wait a moment and say that there may be more: a file tells nobody."""
        time.sleep(min(timeout_s, POLL_S))
        return True

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with usable(self.path):
            try:
                db = self._idle.pop()
            except IndexError:
                db = connect_reading(self.path)
            try:
                yield db
            finally:
                self._idle.append(db)

    def head(self) -> Frontier:
        """Return the tree's right edge."""
        with self._reading() as db:
            return read_head(db)

    def rows(self, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
        """Return up to `limit` rows after position `after`, in order."""
        with self._reading() as db:
            return reading.rows(db, after, limit, where)

    def histories(self, prefix: str, up_to: int) -> Iterator[StoredRow]:
        """Yield the rows of streams that begin with `prefix`, stream by stream."""
        with self._reading() as db:
            yield from reading.histories(db, prefix, up_to)

    def event(self, event_id: str) -> StoredRow | None:
        """Return the row of one event id."""
        with self._reading() as db:
            return reading.event(db, event_id)

    def bodies(self, positions: Sequence[int]) -> Mapping[str, PrivateBody]:
        """Return the private bodies of these positions by commitment."""
        with self._reading() as db:
            return reading.bodies(db, positions)

    def document(self, sha256: str) -> bytes | None:
        """Return a document by digest."""
        with self._reading() as db:
            return reading.document(db, sha256)

    def job(self, job_id: str) -> Job | None:
        """Return one job row."""
        with self._reading() as db:
            return read_job(db, job_id)

    def jobs(self, where: JobFilter, limit: int | None = None) -> list[Job]:
        """Return job rows, newest first."""
        with self._reading() as db:
            return reading.jobs(db, where, limit)

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row by id."""
        with self._reading() as db:
            yield from reading.all_jobs(db)

    def holds(self, budget: str) -> list[Hold]:
        """Return what every job holds of `budget`."""
        with self._reading() as db:
            return reading.holds(db, budget)

    def held(self, budget: str) -> int:
        """Return what all jobs together hold of `budget`."""
        with self._reading() as db:
            return reading.held(db, budget)

    def leases(self) -> list[Lease]:
        """Return the live leases."""
        with self._reading() as db:
            return queue.leases(db)

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        with self._reading() as db:
            return queue.now(db)

    def tally(self) -> Tally:
        """Return how many records, jobs and leases there are."""
        with self._reading() as db:
            return reading.tally(db)

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes; a leaf's number is its position less one."""
        with self._reading() as db:
            return reading.nodes(db, level, start, count)
