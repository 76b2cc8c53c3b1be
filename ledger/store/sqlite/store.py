"""`SqliteStore`: the contract of `ledger.store.interface` on one SQLite file.

One connection writes, behind a group commit; any number read, each seeing a snapshot. Processes share the
file through SQLite's own locks.
"""

import json
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.job import Job
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow
from ledger.store.ahead import Ahead, Decided
from ledger.store.append import Append, AppendRequest, Keys, Present, append_each, decide_all
from ledger.store.filters import ALL_JOBS, EVERY_JOB, JobFilter, RecordFilter
from ledger.store.group_commit import GroupCommit
from ledger.store.import_rows import Row, add_imported, chunks, intact, keys_of
from ledger.store.interface import (
    AppendCall,
    Batch,
    Document,
    Facet,
    Fence,
    FoundJob,
    Hold,
    ListDrift,
    Match,
    Money,
    SpentBy,
    Standing,
    Tally,
)
from ledger.store.outbox import Outbox
from ledger.store.queue import WorkQueue
from ledger.store.sqlite import append_rows, blocks, reading
from ledger.store.sqlite import search as searching
from ledger.store.sqlite.append_rows import data_version, read, read_head, write, write_jobs
from ledger.store.sqlite.connection import (
    Connection,
    check_schema,
    connect,
    connect_reading,
    migrate,
    open_reading,
    recognise,
    roll_back,
    unusable,
    usable,
    use_wal,
)
from ledger.store.sqlite.queue import SqliteOutbox, SqliteQueue, current_token, now
from ledger.tree.merkle import Frontier


def take_in(db: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Record `rows` of another ledger, except those at or below the head; return how many were new."""
    records = [intact(row, bodies) for row, bodies in rows]
    present = read(db, keys_of(records))
    stored = _stored(db, [record.position for record in records if record.position <= present.tree.size])
    changes = add_imported(records, stored, present)
    if changes:
        write(db, changes, present.tree)
    return len(changes.records)


def _stored(db: sqlite3.Connection, positions: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
    query = "SELECT position, record, payload FROM json_each(?) CROSS JOIN events ON position = value"
    rows = db.execute(query, (json.dumps(positions),)).fetchall() if positions else []
    return {position: (record, payload) for position, record, payload in rows}


POLL_S = 0.25
_MOVED = (
    "the file was moved, deleted or replaced while it was in use; nothing was recorded: put it back, or stop "
    "the processes that use it"
)


def _identity(name: str) -> tuple[int, int] | None:
    """Return the file that `name` refers to now; None if there is none."""
    try:
        status = os.stat(name)  # noqa: PTH116  # half the time of `Path.stat`, in every append
    except OSError:
        return None
    return status.st_dev, status.st_ino


class SqliteStore:
    """A ledger in one SQLite file at `path`, which is created if it is missing, unless `read_only`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._name = os.fspath(path)
        self.read_only = read_only
        self._idle: deque[Connection] = deque()
        self._commits: GroupCommit[Append, list[Record]] = GroupCommit(self._commit)
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._writing = threading.RLock()
        self._ahead: Ahead | None = None
        self._data_version: int | None = None
        """SQLite's number of the last foreign commit; the memory is invalid after another one."""
        self.queue: WorkQueue = SqliteQueue(self._changing, self._reading)
        self.outbox: Outbox = SqliteOutbox(self._changing, self._reading)
        with usable(path, undone="" if read_only else "nothing was recorded"):
            self._open()

    def _open(self) -> None:
        if self.read_only:
            self._idle.append(open_reading(self.path))
            self._file = _identity(self._name)
            return
        self._writer = connect(self.path, read_only=False)
        self._file = _identity(self._name)
        try:
            is_ready = recognise(self._writer, self.path)
            use_wal(self._writer)  # a copy made by VACUUM INTO is not in WAL mode
            if not is_ready:
                with self._transaction() as db:
                    if not recognise(db, self.path):
                        migrate(db)
                        searching.rebuild(db)  # these tables derive from the log and are filled here
                        blocks.rebuild(db)
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
            db = self._begin()
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                roll_back(db)
                raise

    def _begin(self) -> sqlite3.Connection:
        if self._writer is None:
            raise LedgerUnusable(
                f"ledger {self.path}: it is open for reading only",
                expected="a ledger that is open for writing",
                found="one for reading only",
            )
        self._check_file()
        self._writer.execute("BEGIN IMMEDIATE")
        return self._writer

    def _check_file(self) -> None:
        """Refuse a file that was moved: SQLite would write into the old one."""
        if _identity(self._name) != self._file:
            raise LedgerUnusable(f"ledger {self.path}: {_MOVED}")

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with usable(self.path), self._transaction() as db:
            yield db

    def append(
        self,
        batches: Sequence[Batch],
        *,
        fence: Fence | None = None,
        documents: Sequence[Document] = (),
    ) -> list[Record]:
        """Record `batches` in one transaction; see the contract."""
        return self._commits.run(Append.of(batches, fence, documents))[0].outcome()

    def append_each(self, calls: Sequence[AppendCall]) -> list[list[Record] | Exception]:
        """Make several appends in one transaction; see the contract."""
        return append_each(self._commits, calls)

    def _commit(self, group: Sequence[AppendRequest]) -> None:
        try:
            with self._writing:  # the following is `_changing` without its cost
                ahead, self._ahead = self._ahead or Ahead(), None  # after a failure, nothing is remembered
                db = self._begin()
                try:
                    version = data_version(db)
                    if version != self._data_version:  # another process wrote: its records, or a newer schema
                        check_schema(db, self.path)
                        ahead, self._data_version = Ahead(), version
                    decided = ahead.decide(group)
                    if decided and self._write_ahead(db, decided):
                        before, present = decided.before, decided.present
                    else:
                        decided = None
                        before, present = self._decide_and_write(db, group)
                    # A crash before this line leaves no record of the group, after it all of them; `_ahead`
                    # is only memory. A caller without an answer repeats the append with the same event ids.
                    db.execute("COMMIT")
                except BaseException:
                    roll_back(db)
                    raise
                ahead.learn(before, present)
                self._ahead = ahead
        except sqlite3.Error as error:
            undone = "nothing of this append was recorded"
            raise unusable(error, self.path, undone=undone) from error
        if decided:
            for request, result in zip(group, decided.results, strict=True):
                request.result = result

    def _decide_and_write(
        self, db: sqlite3.Connection, group: Sequence[AppendRequest]
    ) -> tuple[Frontier, Present]:
        """Decide on rows that are read, and write; return the edges before and after."""
        present = read(db, Keys.joined([request.work.keys for request in group]))
        before = present.tree.copy()
        changes = decide_all(group, present, sqlite3.Error)
        if changes:
            write(db, changes, present.tree)
        return before, present

    def _write_ahead(self, db: sqlite3.Connection, decided: Decided) -> bool:
        """Write what was decided ahead; False, with nothing written, if a condition fails."""
        for fence in decided.fences:
            if current_token(db, fence.job_id) != fence.token:
                return False
        try:
            write(db, decided.changes, decided.present.tree)
        except sqlite3.IntegrityError:  # an event id or a text is already recorded: it is decided again
            roll_back(db)
            db.execute("BEGIN IMMEDIATE")
            return False
        return True

    def import_rows(self, rows: Iterable[tuple[StoredRow, Sequence[PrivateBody]]]) -> int:
        """Add rows of another ledger verbatim; those at or below the head must be identical."""
        imported = 0
        for part in chunks(rows):
            with self._changing() as db:
                self._ahead = None
                imported += take_in(db, part)
        return imported

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Replace all job rows with `jobs`, folded up to `at_position`."""
        with self._changing() as db:  # a crash before the COMMIT leaves the old rows
            size = read_head(db).size
            if size != at_position:
                raise WrongExpectedVersion(
                    f"jobs were folded up to position {at_position}, the ledger is at {size}: fold again"
                )
            self._ahead = None
            db.execute("DELETE FROM jobs")
            write_jobs(db, jobs)
            searching.rebuild(db)
            blocks.rebuild(db)

    def scrub(self) -> list[str]:
        """Remove what erased bodies left behind in the file and its write-ahead log."""
        with usable(self.path), self._writing:
            if self._writer is None:
                raise LedgerUnusable(
                    f"ledger {self.path}: it is open for reading only",
                    expected="a ledger that is open for writing",
                    found="one for reading only",
                )
            append_rows.no_temporary_files(self._writer)
            with self._transaction() as db:
                append_rows.rewrite_bodies(db)
                searching.rewrite_words(db)
            emptied = append_rows.empty_log(self._writer)
        return [] if emptied else [append_rows.LOG_IN_USE.format(log=f"{self.path}-wal")]

    # --- reading ---

    def wait_for_append(self, timeout_s: float) -> bool:
        """Wait briefly and return True: a file cannot notify, so there may be more."""
        time.sleep(min(timeout_s, POLL_S))
        return True

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with usable(self.path):
            self._check_file()
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

    def histories(self, prefix: str, up_to: int, *, backwards: bool = False) -> Iterator[StoredRow]:
        """Yield the rows of streams whose names begin with `prefix`, stream by stream."""
        with self._reading() as db:
            yield from reading.histories(db, prefix, up_to, backwards=backwards)

    def event(self, event_id: str) -> StoredRow | None:
        """Return the row with this event id."""
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
            return reading.job(db, job_id)

    def jobs(self, where: JobFilter, limit: int | None = None) -> list[Job]:
        """Return job rows, newest first."""
        with self._reading() as db:
            return reading.jobs(db, where, limit)

    def is_searchable(self) -> bool:
        """Return False for a ledger of an older version, which was opened for reading."""
        with self._reading() as db:
            return db.schema >= searching.LISTING

    def search(
        self,
        words: str,
        where: JobFilter,
        limit: int,
        *,
        sees: Sequence[JobFilter] = ALL_JOBS,
        beyond: int | None = None,
    ) -> list[FoundJob]:
        """Return the jobs whose prompts have `words`; see the contract."""
        with self._reading() as db:
            return searching.search(db, words, where, limit, sees=sees, beyond=beyond)

    def matches(self, words: str, limit: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> list[Match]:
        """Return the newest jobs whose prompts have all `words`."""
        with self._reading() as db:
            return searching.matches(db, words, limit, sees=sees)

    def listed(self, positions: Sequence[int]) -> list[FoundJob]:
        """Return the jobs that began at `positions`."""
        with self._reading() as db:
            return searching.listed(db, positions)

    def counts(
        self, by: Facet, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, int]:
        """Return the numbers of jobs per value of one property."""
        with self._reading() as db:
            return searching.counts(db, by, where, sees=sees)

    def list_drift(self) -> list[ListDrift]:
        """Compare the tables of lists, counts and money with the job rows."""
        with self._reading() as db:
            return searching.list_drift(db)

    def spent(
        self, by: SpentBy, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, Money]:
        """Return the money of jobs per value of one property."""
        with self._reading() as db:
            return searching.spent(db, by, where, sees=sees)

    def standing(self, position: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> Standing:
        """Return the jobs that had begun at `position`."""
        with self._reading() as db:
            return searching.standing(db, position, sees=sees)

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row by id."""
        with self._reading() as db:
            yield from reading.all_jobs(db)

    def holds(self, budget: str) -> list[Hold]:
        """Return the holds of `budget`, by job."""
        with self._reading() as db:
            return reading.holds(db, budget)

    def held(self, budget: str) -> int:
        """Return the sum of all holds of `budget`."""
        with self._reading() as db:
            return reading.held(db, budget)

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        with self._reading() as db:
            return now(db)

    def tally(self) -> Tally:
        """Return how many records, jobs and leases there are."""
        with self._reading() as db:
            return reading.tally(db)

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes; a leaf's number is its position less one."""
        with self._reading() as db:
            return reading.nodes(db, level, start, count)
