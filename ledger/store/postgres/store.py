"""`PostgresStore`: the contract of `ledger.store.interface` on one PostgreSQL database.

Appends of one process go through a group commit, one transaction for all that wait: one round trip reads
what they are decided on, under the lock of the head row, and one writes what they came to. Nobody else can
append in between, so a refusal is known before anything is written and needs no savepoint. Reading, and
work on leases, takes any other connection and waits for no append.

A connection that breaks while the COMMIT is under way leaves two possibilities. The store connects again
and takes the head's lock, which waits for the lost transaction to end, and looks the event ids up: they
are there, or they are not. That is no second try of the append.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Self

import psycopg

from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.job import Job, State
from ledger.merkle import Frontier
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow
from ledger.store.group_commit import GroupCommit, Request
from ledger.store.interface import Batch, Document, Fence, Hold, JobFilter, Lease, Limit, RecordFilter, Tally
from ledger.store.postgres import erasing, reading, turns, work
from ledger.store.postgres.append import Changes, already_recorded, decide
from ledger.store.postgres.connection import Connection, Place, open_reading, open_writing, patiently
from ledger.store.postgres.listening import Listener
from ledger.store.postgres.pool import Pool
from ledger.store.postgres.present import Append, Keys, Present, begin, lock_head, read_head
from ledger.store.postgres.taking_in import take_in
from ledger.store.postgres.trouble import meaning, usable
from ledger.store.postgres.write import commit, write_jobs
from ledger.store.verbatim import chunks

AppendRequest = Request[Append, list[Record]]


class PostgresStore:
    """A ledger in the database at `url`; an empty one becomes a ledger, unless `read_only`."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.place = Place.at(url)
        self.read_only = read_only
        self._pool = Pool(self.place, read_only=read_only)
        self._listener = Listener(self.place)
        self._commits: GroupCommit[Append, list[Record]] = GroupCommit(self._commit)
        with usable(self.place.label):
            self._pool.put(open_reading(self.place) if read_only else open_writing(self.place))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._listener.close()
        self._pool.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with usable(self.place.label), self._pool.taken() as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if self.read_only:
            raise LedgerUnusable(f"ledger {self.place.label}: it was opened for reading only")
        with self._reading() as db:
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
        keys = Keys()
        for request in group:
            with _refusing(request):
                keys.take_in(request.work)
        with self._writing() as db:
            present, changes = begin(db, keys), Changes()
            for request in _open_in(group):
                with _refusing(request):
                    request.result = decide(request.work, present, changes)
            if not changes:
                return
            try:
                commit(db, changes, present.tree)
            except psycopg.Error:
                if not db.closed:
                    raise
            else:
                return
        self._look_up(group, keys)

    def _look_up(self, group: list[AppendRequest], keys: Keys) -> None:
        """Find out what became of a COMMIT whose answer was lost."""
        try:
            present = patiently(self.place, lambda db: begin(db, keys))
        except psycopg.Error as error:
            raise LedgerUnusable(
                f"ledger {self.place.label}: the connection broke in mid-append, and the server cannot say "
                f"yet what was recorded ({meaning(error)}); repeating the same append is safe: what is there "
                "is not recorded twice"
            ) from error
        for request in _open_in(group):
            with _refusing(request):
                request.result = self._found(request.work, present)

    def _found(self, append: Append, present: Present) -> list[Record]:
        records = already_recorded(append.batches, present)
        if records is None:
            raise LedgerUnusable(
                f"ledger {self.place.label}: the connection broke in mid-append; no event of it was "
                "recorded: check the server"
            )
        return records

    def import_rows(self, rows: Iterable[tuple[StoredRow, Sequence[PrivateBody]]]) -> int:
        """Take rows of another ledger verbatim; those at or below the head must be the same."""
        imported = 0
        for part in chunks(rows):
            with self._writing() as db:
                imported += take_in(db, part)
        return imported

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Swap all job rows for `jobs`, folded up to `at_position`."""
        with self._writing() as db, db.transaction():
            size = lock_head(db).size
            if size != at_position:
                raise WrongExpectedVersion(
                    f"jobs were folded up to position {at_position}, the ledger is at {size}: fold again"
                )
            db.execute("DELETE FROM jobs")
            write_jobs(db, jobs)

    def scrub(self) -> list[str]:
        """Write the table of bodies anew, where this user may; say where deleted ones are left."""
        with self._writing() as db:
            return erasing.rewrite_bodies(db)

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now."""
        with self._writing() as db:
            work.schedule(db, job_id, delay_ms)

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now."""
        with self._writing() as db:
            work.wake(db, job_ids)

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Take due jobs nobody holds."""
        with self._writing() as db:
            return work.claim(db, holder, lease_ms, limit)

    def enlist(self, states: Collection[State], before: str) -> int:
        """Make due what is in nobody's schedule."""
        with self._writing() as db:
            return work.enlist(db, [state.value for state in states], before)

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend the live leases of `holder`."""
        with self._writing() as db:
            return work.keep(db, holder, lease_ms)

    def take_turn(self, job_id: str, limit: Limit) -> int:
        """Take a turn and a slot: 0, or the milliseconds after which to ask again."""
        with self._writing() as db, db.transaction():
            return turns.take_turn(db, job_id, limit)

    def give_back(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs that no longer run."""
        with self._writing() as db:
            turns.give_back(db, job_ids)

    def hold_back(self, name: str, delay_ms: int) -> None:
        """Let nobody take a turn of `name` for a while."""
        with self._writing() as db:
            turns.hold_back(db, name, delay_ms)

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease that is still current."""
        with self._writing() as db:
            return work.renew(db, lease, lease_ms)

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Hand a job back, due in `delay_ms`, or done with None."""
        with self._writing() as db:
            work.release(db, lease, delay_ms)

    # --- reading ---

    def wait_for_append(self, timeout_s: float) -> bool:
        """Wait until somebody appends; False if nobody did for `timeout_s`.

        The first call begins to listen and returns at once, so that nothing appended before is missed.
        """
        with usable(self.place.label):
            return self._listener.wait(timeout_s)

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
        with self._reading() as db, db.transaction():
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
            return reading.job(db, job_id)

    def jobs(self, where: JobFilter, limit: int | None = None) -> list[Job]:
        """Return job rows, newest first."""
        with self._reading() as db:
            return reading.jobs(db, where, limit)

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row by id."""
        with self._reading() as db, db.transaction():
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
            return work.leases(db)

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        with self._reading() as db:
            return work.now(db)

    def tally(self) -> Tally:
        """Return how many records, jobs and leases there are."""
        with self._reading() as db:
            return reading.tally(db)

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes; a leaf's number is its position less one."""
        with self._reading() as db:
            return reading.nodes(db, level, start, count)


def _open_in(group: Iterable[AppendRequest]) -> list[AppendRequest]:
    return [request for request in group if request.error is None]


@contextmanager
def _refusing(request: AppendRequest) -> Iterator[None]:
    """Keep what goes wrong with one request for its own caller; `Request.outcome` raises it there."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, the others of the group go on
        request.error = error
