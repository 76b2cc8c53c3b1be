"""`PostgresStore`: the contract of `ledger.store.interface` on one PostgreSQL database.

Appends of one process go through a group commit, one transaction for all waiting requests: one round trip
reads the rows they depend on, under the lock on the head row, and one writes the changes. No other process
can append in between, so a refusal is known before anything is written and needs no savepoint. Reads and the
work queue use other connections and do not wait for appends.

If the connection breaks or the server crashes during the COMMIT, the group may or may not have been recorded.
The store reconnects, for as long as `ledger.store.postgres.outage` allows, and takes the lock on the head,
which waits for the lost transaction to end. Then it looks up the event ids: either they are recorded, or the
append is decided again with the same ids on the current state. A fence whose lease has expired in the
meantime is refused there too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Self, TypeVar

import psycopg

from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.job import Job
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow
from ledger.store.ahead import Ahead, Decided
from ledger.store.append import Append, AppendRequest, Keys, append_each, decide_all
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
from ledger.store.postgres import append_rows, reading
from ledger.store.postgres import search as searching
from ledger.store.postgres.append_rows import Head, begin, lock_head, read_head
from ledger.store.postgres.connection import Connection, Place, check_readable, make_writable
from ledger.store.postgres.errors import meaning, usable
from ledger.store.postgres.notify import Listener
from ledger.store.postgres.outage import Pool
from ledger.store.postgres.queue import PostgresOutbox, PostgresQueue, now
from ledger.store.postgres.write_rows import commit, insert_jobs, write_ahead
from ledger.store.queue import WorkQueue
from ledger.tree.merkle import Frontier


def take_in(db: Connection, rows: Sequence[Row], place: str) -> int:
    """Record `rows` of another ledger, except those at or below the head; return how many were new."""
    records = [intact(row, bodies) for row, bodies in rows]
    present, before = begin(db, keys_of(records), place)
    stored = _stored(db, [record.position for record in records if record.position <= present.tree.size])
    changes = add_imported(records, stored, present)
    if changes:
        commit(db, changes, before, present.tree)
    return len(changes.records)


def _stored(db: Connection, positions: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
    query = "SELECT position, record, payload FROM events WHERE position = ANY(%s)"
    rows = db.execute(query, (positions,), binary=True).fetchall() if positions else []
    return {position: (record, payload) for position, record, payload in rows}


Found = TypeVar("Found")


class PostgresStore:
    """A ledger in the database at `url`; an empty one becomes a ledger, unless `read_only`.

    `patient_s` is how long to wait for an unreachable server; the default comes from the environment.
    """

    def __init__(self, url: str, *, read_only: bool = False, patient_s: float | None = None) -> None:
        self.place = Place.at(url)
        self.read_only = read_only
        self._pool = Pool(self.place, read_only=read_only, patient_s=patient_s)
        self._listener = Listener(self._pool.outage)
        self._ahead = Ahead()
        self._xid = 0
        """The transaction for which the memory `_ahead` is valid."""
        self._commits: GroupCommit[Append, list[Record]] = GroupCommit(self._commit)
        self.queue: WorkQueue = PostgresQueue(self._change, self._ask)
        self.outbox: Outbox = PostgresOutbox(self._change, self._ask)
        check = check_readable if read_only else partial(make_writable, fill=searching.rebuild)
        try:
            self._ask(lambda db: check(db, self.place))
        except BaseException:
            self._pool.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._listener.close()
        self._pool.close()

    def _ask(self, use: Callable[[Connection], Found]) -> Found:
        with usable(self.place.label):
            return self._pool.run(use)

    def _change(self, use: Callable[[Connection], Found]) -> Found:
        self._check_writable()
        return self._ask(use)

    def _check_writable(self) -> None:
        if self.read_only:
            raise LedgerUnusable(
                f"ledger {self.place.label}: it is open for reading only",
                expected="a ledger that is open for writing",
                found="one for reading only",
            )

    @contextmanager
    def _for_long(self) -> Iterator[Connection]:
        with usable(self.place.label), self._pool.for_long() as db:
            yield db

    # --- writing ---

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

    def _commit(self, group: list[AppendRequest]) -> None:
        self._check_writable()
        committing = False

        def make(db: Connection) -> None:
            nonlocal committing
            if not committing and (decided := self._ahead.decide(group)):
                committing = True
                if self._write_ahead(db, group, decided):
                    return
            keys = Keys.joined([request.work.keys for request in group])
            present, before = begin(db, keys, self.place.label)
            if before.xid != self._xid:
                self._ahead.missed()
            changes = decide_all(group, present, psycopg.Error)
            if changes:
                committing = True
                self._xid = commit(db, changes, before, present.tree)
                self._ahead.learn(before.edge, present)

        with usable(self.place.label):
            try:
                self._pool.run(make)
            except psycopg.Error as error:
                if committing:
                    raise LedgerUnusable(
                        f"ledger {self.place.label}: the connection broke during an append, and it is not "
                        f"known yet whether it was recorded ({meaning(error)}); repeating the same append is "
                        "safe: it is never recorded twice"
                    ) from error
                raise

    def _write_ahead(self, db: Connection, group: Sequence[AppendRequest], decided: Decided) -> bool:
        before, present = decided.before, decided.present
        xid = write_ahead(db, decided.changes, Head(before, self._xid), present.tree, decided.fences)
        if xid is None:
            self._ahead.missed()
            return False
        for request, result in zip(group, decided.results, strict=True):
            request.result = result
        self._xid = xid
        self._ahead.learn(before, present)
        return True

    def import_rows(self, rows: Iterable[tuple[StoredRow, Sequence[PrivateBody]]]) -> int:
        """Add rows of another ledger verbatim; those at or below the head must be identical."""
        imported = 0
        for part in chunks(rows):
            imported += self._change(partial(take_in, rows=part, place=self.place.label))
        return imported

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Replace all job rows with `jobs`, folded up to `at_position`."""
        self._check_writable()
        with self._for_long() as db, db.transaction():  # a crash before the COMMIT leaves the old rows
            size = lock_head(db).size
            if size != at_position:
                raise WrongExpectedVersion(
                    f"jobs were folded up to position {at_position}, the ledger is at {size}: fold again"
                )
            db.execute("DELETE FROM jobs")
            insert_jobs(db, jobs)
            searching.rebuild(db)

    def scrub(self) -> list[str]:
        """Rewrite the tables of texts and their words if this user may; say where deleted text remains."""
        self._check_writable()
        with self._for_long() as db:
            return append_rows.rewrite_bodies(db)

    # --- reading ---

    def wait_for_append(self, timeout_s: float) -> bool:
        """Wait until something is appended; False if nothing was for `timeout_s`.

        The first call starts listening and returns immediately, so that no earlier append is missed.
        """
        with usable(self.place.label):
            return self._listener.wait(timeout_s)

    def head(self) -> Frontier:
        """Return the tree's right edge."""
        return self._ask(read_head)

    def rows(self, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
        """Return up to `limit` rows after position `after`, in order."""
        return self._ask(lambda db: reading.rows(db, after, limit, where))

    def histories(self, prefix: str, up_to: int, *, backwards: bool = False) -> Iterator[StoredRow]:
        """Yield the rows of streams whose names begin with `prefix`, stream by stream."""
        with self._for_long() as db, db.transaction():
            yield from reading.histories(db, prefix, up_to, backwards=backwards)

    def event(self, event_id: str) -> StoredRow | None:
        """Return the row with this event id."""
        return self._ask(lambda db: reading.event(db, event_id))

    def bodies(self, positions: Sequence[int]) -> Mapping[str, PrivateBody]:
        """Return the private bodies of these positions by commitment."""
        return self._ask(lambda db: reading.bodies(db, positions))

    def document(self, sha256: str) -> bytes | None:
        """Return a document by digest."""
        return self._ask(lambda db: reading.document(db, sha256))

    def job(self, job_id: str) -> Job | None:
        """Return one job row."""
        return self._ask(lambda db: reading.job(db, job_id))

    def jobs(self, where: JobFilter, limit: int | None = None) -> list[Job]:
        """Return job rows, newest first."""
        return self._ask(lambda db: reading.jobs(db, where, limit))

    def is_searchable(self) -> bool:
        """Return False for a ledger of an older version, which was opened for reading."""
        return self._ask(lambda db: db.execute("SELECT to_regclass('listing')").fetchone() != (None,))

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
        return self._ask(lambda db: searching.search(db, words, where, limit, sees=sees, beyond=beyond))

    def matches(self, words: str, limit: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> list[Match]:
        """Return the newest jobs whose prompts have all `words`."""
        return self._ask(lambda db: searching.matches(db, words, limit, sees=sees))

    def listed(self, positions: Sequence[int]) -> list[FoundJob]:
        """Return the jobs that began at `positions`."""
        return self._ask(lambda db: searching.listed(db, positions))

    def counts(
        self, by: Facet, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, int]:
        """Return the numbers of jobs per value of one property."""
        return self._ask(lambda db: searching.counts(db, by, where, sees=sees))

    def list_drift(self) -> list[ListDrift]:
        """Compare the tables of lists, counts and money with the job rows."""
        with self._for_long() as db, db.transaction():
            return searching.list_drift(db)

    def spent(
        self, by: SpentBy, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, Money]:
        """Return the money of jobs per value of one property."""
        return self._ask(lambda db: searching.spent(db, by, where, sees=sees))

    def standing(self, position: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> Standing:
        """Return the jobs that had begun at `position`."""
        return self._ask(lambda db: searching.standing(db, position, sees=sees))

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row by id."""
        with self._for_long() as db, db.transaction():
            yield from reading.all_jobs(db)

    def holds(self, budget: str) -> list[Hold]:
        """Return the holds of `budget`, by job."""
        return self._ask(lambda db: reading.holds(db, budget))

    def held(self, budget: str) -> int:
        """Return the sum of all holds of `budget`."""
        return self._ask(lambda db: reading.held(db, budget))

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return self._ask(now)

    def tally(self) -> Tally:
        """Return how many records, jobs and leases there are."""
        return self._ask(reading.tally)

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes; a leaf's number is its position less one."""
        return self._ask(lambda db: reading.nodes(db, level, start, count))
