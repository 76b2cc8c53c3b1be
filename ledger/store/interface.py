"""The contract of a store, in prose and as a `Protocol`. Two stores share no SQL and no base class.

*Append.* One call is one transaction over any number of streams: all of it or nothing, durable when the
call returns. In this order: event ids (all present with the same content: the old records are returned
and nothing else happens; some present, or different: `EventIdConflict`), fence (`StaleFence`), versions
(`WrongExpectedVersion`), transitions (`IllegalTransition`), budgets (`BudgetExceeded`); then positions from
the head row, records, leaves, frontier, tile nodes, private bodies, job rows and the holds that follow from
them, documents. A ``private.erased`` event deletes the bodies it names in the same transaction. Concurrent
appends of one process are committed together; one that is refused takes none of the others with it.
What no store could record (an id of another shape, text sealed for another event) is a `ValueError`.

*Order.* Positions are dense and in commit order, so a reader that has seen N misses nothing up to N.

*Who retries.* The caller, with the same drafts: ids, salts and times were fixed before the first try, so
whether the first try was recorded or not, the second ends in "it is there". A store tries again by itself
only where its connection broke: it looks the event ids up, and returns the records or decides it anew.

*Absent* is None or an empty list; trouble with the store itself is `LedgerUnusable`, with the next step.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from ledger.canonical import encoded, sha256_hex
from ledger.errors import StaleFence
from ledger.events import Status
from ledger.job import Job, State
from ledger.private import PrivateBody
from ledger.record import Draft, Record, StoredRow
from ledger.tree.merkle import Frontier


class AnyVersion:
    """The type of `ANY`."""

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = AnyVersion()
"""Append at whatever version the stream is."""

NEW: Final = 0
"""Append to a stream that does not exist yet."""


class Batch(NamedTuple):
    """Events for one stream, on the condition that the stream is at `expected_version` before the append."""

    stream: str
    expected_version: int | AnyVersion
    drafts: Sequence[Draft]


class Hold(NamedTuple):
    """What one job holds of one budget, in micro-dollars.

    A store derives holds from the job rows: `holds_of` of each job after an append replaces what the job held
    before. The append is refused if a hold that reserves money grows and the budget's holds would then exceed
    its limit (the last ``budget.set`` in the stream ``budget_<name>``; a budget without one has no limit).
    A hold that reserves nothing is money already spent, which no limit can undo: it is recorded in any case.
    """

    budget: str
    job_id: str
    reserved_usd_micros: int
    settled_usd_micros: int

    @property
    def usd_micros(self) -> int:
        """Reserved and settled money together."""
        return self.reserved_usd_micros + self.settled_usd_micros


def holds_of(job: Job) -> Iterator[Hold]:
    """Yield what `job` holds of each budget in which its decision reserved money."""
    for budget, usd_micros in job.budgets.items():
        reserved = usd_micros if job.reserved_usd_micros else 0
        yield Hold(budget, job.job_id, reserved, job.settled_usd_micros or 0)


class Fence(NamedTuple):
    """Proof of a lease: the append goes through only while `token` is that of a live lease on the job.

    A lease that was released, has expired or went to another holder no longer writes.
    """

    job_id: str
    token: int


class Lease(NamedTuple):
    """A claimed job: who holds it, the fencing token, until when (Unix milliseconds, the store's clock)."""

    job_id: str
    holder: str
    token: int
    until_ms: int


class Limit(NamedTuple):
    """What all workers together may ask of one model of a server; None is no limit.

    `per_minute` requests, evenly spaced; `running` jobs that hold a slot at the same time.
    """

    name: str
    per_minute: int | None = None
    running: int | None = None

    @property
    def interval_ms(self) -> int:
        """The least time between two requests."""
        return -(-MINUTE_MS // self.per_minute) if self.per_minute else 0


def lost(lease: Lease) -> StaleFence:
    """Return the error for a lease that is no longer the current one."""
    return StaleFence(f"{lease.job_id}: the lease with fence {lease.token} was lost to another holder")


MINUTE_MS = 60_000
SLOT_WAIT_MS = 1_000
"""When to ask again for a slot, where all are taken: nobody knows when a render ends."""


class Tally(NamedTuple):
    """Numbers for people who watch: records by type, jobs by state, and the queue.

    `due` jobs wait for somebody, the oldest for `overdue_ms`; `waiting` ones are due later; on `leased` ones
    somebody works. What was settled without the queue (`ledger.job.OVER`) no longer counts.
    """

    events: Mapping[str, int]
    jobs: Mapping[str, int]
    due: int
    waiting: int
    leased: int
    overdue_ms: int


@dataclass(frozen=True)
class Document:
    """Bytes kept under their digest: policies, catalogs."""

    body: bytes

    @property
    def sha256(self) -> str:
        """The digest it is cited by."""
        return sha256_hex(self.body)


@dataclass(frozen=True)
class RecordFilter:
    """Which records to read; what is None does not restrict. Times are RFC 3339 UTC, `until` exclusive."""

    stream: str | None = None
    type: str | None = None
    actor: str | None = None
    trace_id: str | None = None
    since: str | None = None
    until: str | None = None


CREATED_AT: Final = b'"created_at":"'
"""What stands before the time of a job in its row."""

_SOURCES: Final = (b'"source_job":"', b'"remix_video_id":"')
"""What stands before the source of a job in its row, where it has one."""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; what is None does not restrict.

    `model` may be the one asked for or the one decided on. Times are RFC 3339 UTC, `until` exclusive.
    """

    states: tuple[State, ...] | None = None
    profile: str | None = None
    video_id: str | None = None
    id_prefix: str | None = None
    before: str | None = None
    """Only jobs with an id before this one, so that a long list is read in parts."""
    statuses: tuple[Status, ...] | None = None
    model: str | None = None
    purpose: str | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None
    derived: bool = False
    """Only jobs that name the job or the video they were made from."""

    def pieces(self) -> list[list[bytes]]:
        """Return lists of bytes; the row of a job that is meant contains one of each list.

        A row is canonical JSON, which writes a field and its value in one way only, and text within a value
        with its quotes escaped: so a field is found without a column of its own and without reading JSON.
        """
        wanted: list[list[tuple[str, str]]] = []
        if self.statuses is not None:
            wanted.append([("status", status.value) for status in self.statuses])
        if self.model is not None:
            wanted.append([("model", self.model), ("requested_model", self.model)])
        if self.purpose is not None:
            wanted.append([("purpose", self.purpose)])
        if self.actor is not None:
            wanted.append([("actor", self.actor)])
        pieces = [[encoded({name: value})[1:-1] for name, value in fields] for fields in wanted]
        return [*pieces, list(_SOURCES)] if self.derived else pieces


class WorkQueue(Protocol):
    """The jobs that are due, who works on them, and how many may run: no facts, so no events."""

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now, by the store's clock.

        While somebody holds it the earliest such time is kept, and counts once the holder releases it.
        """

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now, all of them in one transaction."""

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Take up to `limit` due jobs nobody holds a live lease on; each gets a new, higher token."""

    def enqueue_stale(self, states: Collection[State], before: str) -> int:
        """Make due what is in one of `states` and was never scheduled, or not again; returns how many jobs.

        Only jobs with an id below `before`, which are older: what was begun just now is in somebody's hands.
        """

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease that is still the current one, else `StaleFence`."""

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend every live lease of `holder` and return them; one that is missing was lost."""

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Hand a job back, due in `delay_ms`, or done for good with None; `StaleFence` if it was lost.

        What `schedule` asked for while the lease was held is not undone: the earlier time counts.
        """

    def acquire_slot(self, job_id: str, limit: Limit) -> int:
        """Take a turn for a request, and a slot for the job; 0, or after how many milliseconds to ask again.

        The job has the slot until `release_slots`. A job that has a slot already keeps it and needs no
        second one.
        """

    def release_slots(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs that no longer run; those that have none are none the worse."""

    def back_off(self, name: str, delay_ms: int) -> None:
        """Let nobody take a turn of the limit `name` for `delay_ms`: the server is at capacity."""

    def leases(self) -> list[Lease]:
        """Return the live leases, the first to expire first."""


class EventStore(Protocol):
    """What a ledger needs of a database."""

    @property
    def queue(self) -> WorkQueue:
        """The work queue in the same database."""

    def append(
        self,
        batches: Sequence[Batch],
        *,
        fence: Fence | None = None,
        documents: Sequence[Document] = (),
    ) -> list[Record]:
        """Record `batches` in one transaction; see the module's docstring."""

    def import_rows(self, rows: Iterable[tuple[StoredRow, Sequence[PrivateBody]]]) -> int:
        """Take rows of another ledger verbatim, from this one's head on; return how many were new.

        Rows that are here already must be the same, and every row what its hashes say. Leaves, tiles,
        job rows and holds follow from the rows; documents and leases do not come along.
        """

    def head(self) -> Frontier:
        """Return the tree's right edge; its size is the last position."""

    def rows(self, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
        """Return up to `limit` rows at positions greater than `after`, in order."""

    def histories(self, prefix: str, up_to: int) -> Iterator[StoredRow]:
        """Yield the rows up to a position of all streams that begin with `prefix`, stream by stream.

        Streams come in the order of their names' bytes, rows in that of their versions, all of one moment.
        """

    def event(self, event_id: str) -> StoredRow | None:
        """Return the row of one event id."""

    def bodies(self, positions: Sequence[int]) -> Mapping[str, PrivateBody]:
        """Return the private bodies of these positions by commitment; erased ones are absent."""

    def document(self, sha256: str) -> bytes | None:
        """Return a document by digest."""

    def job(self, job_id: str) -> Job | None:
        """Return one job row."""

    def jobs(self, where: JobFilter, limit: int | None = None) -> list[Job]:
        """Return job rows, newest first."""

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row in the order of the ids' bytes, all of one moment, in little memory."""

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Swap all job rows for `jobs`; refused if the head has moved past `at_position`."""

    def holds(self, budget: str) -> list[Hold]:
        """Return what every job holds of `budget`."""

    def held(self, budget: str) -> int:
        """Return what all jobs together hold of `budget`, reserved and settled, in micro-dollars."""

    def now(self) -> datetime:
        """Return the time (UTC) by the store's clock, which all who share it see, to the millisecond."""

    def tally(self) -> Tally:
        """Return the numbers of `Tally`, from indexes: cheap enough to ask every few seconds."""

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes: leaves at level 0, at multiples of 8 the roots of complete subtrees."""

    def scrub(self) -> list[str]:
        """Take what erased bodies left behind out of the database's own files, as far as this can be done.

        Returns in words what is left and what to do about it. Repeating it does no harm.
        """

    def wait_for_append(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`.

        Only a hint to look again: who follows the log reads by position, so a hint that is lost costs a wait.
        """

    def close(self) -> None:
        """Let go of the database."""
