"""`PostgresStore`: the contract of `ledger.store.interface` on one PostgreSQL database.

Appends of one process go through a group commit, one transaction for all that wait: one round trip reads
what they are decided on, under the lock of the head row, and one writes what they came to. Nobody else can
append in between, so a refusal is known before anything is written and needs no savepoint. Reading, and
work on leases, takes any other connection and waits for no append.

A connection that breaks while the COMMIT is under way leaves two possibilities. The store connects again,
for as long as `ledger.store.postgres.outage` allows, and takes the head's lock, which waits for the lost
transaction to end, and looks the event ids up: they are there, or the append is decided and made anew, with
the same ids, against what is there now. A fence whose lease has run out meanwhile is refused there too.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Self, TypeVar

import psycopg

from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.job import Job, State
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow
from ledger.store.append import Changes, add_records, decide
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
from ledger.store.postgres import queue, reading, scrub
from ledger.store.postgres.connection import Connection, Place, check_readable, make_writable
from ledger.store.postgres.errors import meaning, usable
from ledger.store.postgres.notify import Listener
from ledger.store.postgres.pool import Pool
from ledger.store.postgres.read_for_append import Append, Keys, begin, lock_head, read_head
from ledger.store.postgres.write import commit, write_jobs
from ledger.tree.merkle import Frontier

_THERE = "SELECT position, record, payload FROM events WHERE position = ANY(%s)"


def take_in(db: Connection, rows: Sequence[Row]) -> int:
    """Record `rows` in one transaction, those at or below the head excepted; return how many were new."""
    given = [(intact(row, bodies), bodies) for row, bodies in rows]
    present = begin(db, Keys(streams={record.stream for record, _ in given}))
    size = present.tree.size
    _must_be_same(db, [record for record, _ in given if record.position <= size])
    new = [(record, bodies) for record, bodies in given if record.position > size]
    for expected, (record, _) in enumerate(new, size + 1):
        if record.position != expected:
            raise WrongExpectedVersion(f"import: expected position {expected}, got {record.position}")
    changes = Changes()
    bodies = [(record.position, body) for record, of_record in new for body in of_record]
    jobs = add_records([record for record, _ in new], bodies, present, changes)
    changes.holds = {hold[:2]: hold for job in jobs for hold in holds_of(job)}
    if changes:
        commit(db, changes, present.tree)
    return len(new)


def _must_be_same(db: Connection, records: Sequence[Record]) -> None:
    positions = [record.position for record in records]
    rows = db.execute(_THERE, (positions,), binary=True).fetchall() if positions else []
    there = {position: stored for position, *stored in rows}
    for record in records:
        if there.get(record.position) != [record.record, record.payload]:
            raise WrongExpectedVersion(
                f"import: position {record.position} is here already with other content: not the same ledger"
            )


Found = TypeVar("Found")
AppendRequest = Request[Append, list[Record]]


class PostgresStore:
    """A ledger in the database at `url`; an empty one becomes a ledger, unless `read_only`."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.place = Place.at(url)
        self.read_only = read_only
        self._pool = Pool(self.place, read_only=read_only)
        self._listener = Listener(self._pool.outage)
        self._commits: GroupCommit[Append, list[Record]] = GroupCommit(self._commit)
        check = check_readable if read_only else make_writable
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
            raise LedgerUnusable(f"ledger {self.place.label}: it was opened for reading only")

    @contextmanager
    def _for_long(self) -> Iterator[Connection]:
        with usable(self.place.label), self._pool.for_long() as db:
            yield db

    # --- writing ---

    def append(
        self,
        batches: Sequence[Batch],
        *,
        holds: Sequence[Hold] = (),
        fence: Fence | None = None,
        documents: Sequence[Document] = (),
    ) -> list[Record]:
        """Record `batches` in one transaction; see the contract."""
        return self._commits.run(Append(batches, holds, fence, documents))

    def _commit(self, group: list[AppendRequest]) -> None:
        self._check_writable()
        keys = Keys()
        for request in group:
            with _refusing(request):
                keys.take_in(request.work)
        committing = False

        def make(db: Connection) -> None:
            nonlocal committing
            present, changes = begin(db, keys), Changes()
            for request in group:
                if request.error is None:
                    with _refusing(request):
                        request.result = decide(request.work, present, changes)
            if changes:
                committing = True
                commit(db, changes, present.tree)

        with usable(self.place.label):
            try:
                self._pool.run(make)
            except psycopg.Error as error:
                if committing:
                    raise LedgerUnusable(
                        f"ledger {self.place.label}: the connection broke in mid-append, and the server "
                        f"cannot say yet what was recorded ({meaning(error)}); repeating the same append is "
                        "safe: what is there is not recorded twice"
                    ) from error
                raise

    def import_rows(self, rows: Iterable[tuple[StoredRow, Sequence[PrivateBody]]]) -> int:
        """Take rows of another ledger verbatim; those at or below the head must be the same."""
        imported = 0
        for part in chunks(rows):
            imported += self._change(lambda db, part=part: take_in(db, part))  # type: ignore[misc]
        return imported

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Swap all job rows for `jobs`, folded up to `at_position`."""
        self._check_writable()
        with self._for_long() as db, db.transaction():
            size = lock_head(db).size
            if size != at_position:
                raise WrongExpectedVersion(
                    f"jobs were folded up to position {at_position}, the ledger is at {size}: fold again"
                )
            db.execute("DELETE FROM jobs")
            write_jobs(db, jobs)

    def scrub(self) -> list[str]:
        """Write the table of bodies anew, where this user may; say where deleted ones are left."""
        self._check_writable()
        with self._for_long() as db:
            return scrub.rewrite_bodies(db)

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now."""
        self._change(lambda db: queue.schedule(db, job_id, delay_ms))

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now."""
        self._change(lambda db: queue.wake(db, job_ids))

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Take due jobs nobody holds."""
        return self._change(lambda db: queue.claim(db, holder, lease_ms, limit))

    def enqueue_stale(self, states: Collection[State], before: str) -> int:
        """Make due what is in nobody's schedule."""
        return self._change(lambda db: queue.enqueue_stale(db, [state.value for state in states], before))

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend the live leases of `holder`."""
        return self._change(lambda db: queue.keep(db, holder, lease_ms))

    def acquire_slot(self, job_id: str, limit: Limit) -> int:
        """Take a turn and a slot: 0, or the milliseconds after which to ask again."""
        return self._change(lambda db: queue.acquire_slot_alone(db, job_id, limit))

    def release_slots(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs that no longer run."""
        self._change(lambda db: queue.release_slots(db, job_ids))

    def back_off(self, name: str, delay_ms: int) -> None:
        """Let nobody take a turn of `name` for a while."""
        self._change(lambda db: queue.back_off(db, name, delay_ms))

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease that is still current."""
        return self._change(lambda db: queue.renew(db, lease, lease_ms))

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Hand a job back, due in `delay_ms`, or done with None."""
        self._change(lambda db: queue.release(db, lease, delay_ms))

    # --- reading ---

    def wait_for_append(self, timeout_s: float) -> bool:
        """Wait until somebody appends; False if nobody did for `timeout_s`.

        The first call begins to listen and returns at once, so that nothing appended before is missed.
        """
        with usable(self.place.label):
            return self._listener.wait(timeout_s)

    def head(self) -> Frontier:
        """Return the tree's right edge."""
        return self._ask(read_head)

    def rows(self, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
        """Return up to `limit` rows after position `after`, in order."""
        return self._ask(lambda db: reading.rows(db, after, limit, where))

    def histories(self, prefix: str, up_to: int) -> Iterator[StoredRow]:
        """Yield the rows of streams that begin with `prefix`, stream by stream."""
        with self._for_long() as db, db.transaction():
            yield from reading.histories(db, prefix, up_to)

    def event(self, event_id: str) -> StoredRow | None:
        """Return the row of one event id."""
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

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row by id."""
        with self._for_long() as db, db.transaction():
            yield from reading.all_jobs(db)

    def holds(self, budget: str) -> list[Hold]:
        """Return what every job holds of `budget`."""
        return self._ask(lambda db: reading.holds(db, budget))

    def held(self, budget: str) -> int:
        """Return what all jobs together hold of `budget`."""
        return self._ask(lambda db: reading.held(db, budget))

    def leases(self) -> list[Lease]:
        """Return the live leases."""
        return self._ask(queue.leases)

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return self._ask(queue.now)

    def tally(self) -> Tally:
        """Return how many records, jobs and leases there are."""
        return self._ask(reading.tally)

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes; a leaf's number is its position less one."""
        return self._ask(lambda db: reading.nodes(db, level, start, count))


@contextmanager
def _refusing(request: AppendRequest) -> Iterator[None]:
    """Keep what goes wrong with one request for its own caller; `Request.outcome` raises it there."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, the others of the group go on
        request.error = error
