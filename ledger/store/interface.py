"""The contract of a store, in prose and as protocols. Stores share no SQL and no base class.

*Append.* One call is one transaction over any number of streams: all of it or nothing, durable when the
call returns. In this order: event ids (all present with the same content: the old records are returned
and nothing else happens; some present, or different: `EventIdConflict`), fence (`StaleFence`), versions
(`WrongExpectedVersion`), transitions (`IllegalTransition`), budgets (`BudgetExceeded`); then positions from
the head row, records, leaves, frontier, tile nodes, private bodies, job rows with the holds and lists that
follow from them, documents. A ``private.erased`` event deletes the bodies it names, and their words from
the index, in the same transaction. Concurrent appends of one process are committed together; one that is
refused takes none of the others with it.
What no store could record (an id of another shape, text sealed for another event) is a `ValueError`.

*Order.* Positions are dense and in commit order, so a reader that has read position N has missed nothing.

*Retries* are up to the caller, with the same drafts: ids, salts and times were fixed before the first
attempt, so it is recorded once, whichever attempt succeeded. A store retries by itself only if its connection
broke: it looks up the event ids, and returns the records or decides the append again.

*Absent* is None or an empty list. A failure of the store itself is `LedgerUnusable`, with the next step.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from ledger.canonical import encoded, sha256_hex
from ledger.errors import StaleFence
from ledger.job import Job, State
from ledger.private_bodies import PrivateBody
from ledger.record import Draft, Record, StoredRow
from ledger.store.outbox import Outbox
from ledger.store.search import Facet, FoundJob, Match, Money, SpentBy
from ledger.terms import Status
from ledger.tree.merkle import Frontier


class AnyVersion:
    """The type of `ANY`."""

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = AnyVersion()
"""Append to the stream at any version."""

NEW: Final = 0
"""Append to a stream that does not exist yet."""


class Batch(NamedTuple):
    """Events for one stream, which must be at `expected_version` before the append."""

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
    """Proof of a lease: the append is refused unless `token` is that of a live lease on the job.

    A lease that was released, expired or went to another holder no longer writes.
    """

    job_id: str
    token: int


class Lease(NamedTuple):
    """A claimed job: holder, fencing token, and expiry (Unix milliseconds of the store's clock)."""

    job_id: str
    holder: str
    token: int
    until_ms: int


class Release(NamedTuple):
    """The end of a lease: its job is due in `delay_ms`, or done with None."""

    lease: Lease
    delay_ms: int | None


class Limit(NamedTuple):
    """What all workers together may request from one model of a server; None is unlimited.

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
"""When to retry if all slots are taken: the end of a render cannot be predicted."""


class Pace(NamedTuple):
    """What a limit allows now: the jobs that hold a slot, and the milliseconds until the next request."""

    name: str
    running: int
    wait_ms: int


class Depth(NamedTuple):
    """The numbers of the queue.

    `due` jobs wait for a worker, the oldest for `overdue_ms`; `waiting` jobs are due later; `leased` jobs
    have a worker. Jobs that need no further work (`ledger.job.OVER`) do not count.
    """

    due: int
    waiting: int
    leased: int
    overdue_ms: int


class Standing(NamedTuple):
    """Jobs as of a position: those unchanged since, by state, and the ids of those with a later record."""

    unchanged: Mapping[str, int]
    changed: Sequence[str]


class ListDrift(NamedTuple):
    """A row of the tables of lists that differs from what the job rows give; None stands for no row."""

    table: str
    row: str
    live: tuple[object, ...] | None
    expected: tuple[object, ...] | None


class Tally(NamedTuple):
    """Numbers for monitoring: records by type, jobs by state, and the numbers of `Depth`."""

    events: Mapping[str, int]
    jobs: Mapping[str, int]
    due: int
    waiting: int
    leased: int
    overdue_ms: int


@dataclass(frozen=True)
class Document:
    """Bytes stored under their digest: policies, catalogs."""

    body: bytes

    @property
    def sha256(self) -> str:
        """The digest under which records cite the document."""
        return sha256_hex(self.body)


@dataclass(frozen=True)
class RecordFilter:
    """Which records to read; None does not restrict. Times are RFC 3339 UTC, `until` exclusive."""

    stream: str | None = None
    type: str | None = None
    actor: str | None = None
    trace_id: str | None = None
    since: str | None = None
    until: str | None = None
    before: int | None = None
    """Only records at positions before this one."""
    newest_first: bool = False
    """Read in the opposite order, from the newest one."""
    of_jobs: "tuple[JobFilter, ...] | None" = None
    """Only records of jobs that match one of these, which name only `of_team`, `of_actor` and `teamless`."""


CREATED_AT: Final = b'"created_at":"'
"""JSON key that precedes a job's creation time; used for byte search."""

_SOURCES: Final = (b'"source_job":"', b'"remix_video_id":"')
"""JSON keys that precede the source of a job, if it has one; used for byte search."""


class Unreviewed(StrEnum):
    """Which finished videos without a review: all of them, or those for a final purpose."""

    ALL = "all"
    FINALS = "finals"


_DAY = len("2026-11-30")
_MIDNIGHT = re.compile(r"T00:00:00(\.0+)?Z$")


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; a field that is None does not restrict.

    `model` matches the requested or the decided model. Times are RFC 3339 UTC, `until` exclusive.
    """

    states: tuple[State, ...] | None = None
    profile: str | None = None
    video_id: str | None = None
    id_prefix: str | None = None
    id_suffix: str | None = None
    """Only jobs whose id ends like this; every id is looked at."""
    before: str | None = None
    """Only jobs with an id before this one, to read a long list in parts."""
    after: str | None = None
    """Only jobs with an id after this one."""
    oldest_first: bool = False
    """List in the order of the ids; without it, newest first."""
    of_team: str | None = None
    of_actor: str | None = None
    teamless: bool = False
    """Whose jobs, from an index: of a team, of an actor, and with `teamless` only those of no team.

    `actor` and `team` below say the same without an index, so that ledgers of older schemas can be read.
    """
    statuses: tuple[Status, ...] | None = None
    model: str | None = None
    purpose: str | None = None
    actor: str | None = None
    team: str | None = None
    project: str | None = None
    access_key_id: str | None = None
    since: str | None = None
    until: str | None = None
    derived: bool = False
    """Only jobs that were made from another job or video."""
    source_job: str | None = None
    """Only jobs that were made from this job, from an index."""
    source_video: str | None = None
    """Only jobs that name this video as their source and no job, from an index."""

    unreviewed: Unreviewed | None = None
    """Only finished videos that nobody has reviewed, from an index."""

    def by_day(self) -> "JobFilter | None":
        """Return this filter with days instead of times; None if sums of whole days cannot answer it."""
        times = [time for time in (self.since, self.until) if time is not None and len(time) > _DAY]
        if self.states is not None or self.model is not None or not all(map(_MIDNIGHT.search, times)):
            return None
        return replace(self, since=self.since and self.since[:_DAY], until=self.until and self.until[:_DAY])

    def pieces(self) -> list[list[bytes]]:
        """Return lists of bytes; the row of a matching job contains at least one item of each list.

        A row is canonical JSON: each field and value has one spelling, and quotes within a value are
        escaped. So a byte search finds a field without a column for it and without parsing JSON.
        """
        wanted: list[list[tuple[str, str]]] = []
        if self.statuses is not None:
            wanted.append([("status", status.value) for status in self.statuses])
        if self.model is not None:
            wanted.append([("model", self.model), ("requested_model", self.model)])
        if self.purpose is not None:
            wanted.append([("purpose", self.purpose)])
        same = ("actor", "team", "project", "access_key_id", "source_job")
        wanted += [[(name, value)] for name in same if (value := getattr(self, name)) is not None]
        if self.source_video is not None:
            wanted.append([("remix_video_id", self.source_video)])
        pieces = [[encoded({name: value})[1:-1] for name, value in fields] for fields in wanted]
        return [*pieces, list(_SOURCES)] if self.derived else pieces


def key_range(value: str, longest: int) -> tuple[bytes, bytes]:
    """Return a range of the first `longest` bytes after a JSON key whose value is `value`, the end exclusive.

    Those bytes are the value with its closing quote, and what follows in the row if the value is shorter.
    """
    least = encoded({"": value})[len(b'{"":"') : -1][:longest]
    return least, least[:-1] + bytes([least[-1] + 1])


EVERY_JOB: Final = JobFilter()
ALL_JOBS: Final = (EVERY_JOB,)
"""What a caller sees who sees every job."""


LONGEST_PAUSE_MS = 60_000
"""Pauses under a limit end within this time after the clock was set back."""


class WorkQueue(Protocol):
    """Due jobs, leases and slots. They are not facts, so they leave no events.

    This is all that the use cases know of the queue. A job is due by `schedule` and no longer by `cancel`; a
    worker has it from `claim` to `release`, by `renew`. `wake`, `keep` and `release_all` are the same for
    many jobs in one transaction; the rest finds jobs that nothing scheduled, and limits requests. An append
    checks the token of a lease (`Fence`) in its own transaction, so the store has the queue's table beside
    the log's (decision 267).
    """

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now, by the store's clock.

        While the job is leased, the earliest such time is stored and counts once the lease is released.
        """

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now, in one transaction."""

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Claim up to `limit` due jobs without a live lease; each gets a new, higher token."""

    def cancel(self, job_id: str) -> None:
        """Make a job due no more, at no time it was scheduled for; a live lease on it stays."""

    def enqueue_stale(self, states: Collection[State], before: str) -> int:
        """Make due the jobs in one of `states` that are not scheduled; return how many.

        Only jobs with an id below `before`, which are older: a job that was begun just now still has a
        process working on it.
        """

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease that is still current, or raise `StaleFence`."""

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend every live lease of `holder` and return them; a missing one was lost."""

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Release a lease, or raise `StaleFence`; the job is due in `delay_ms`, or done with None.

        If the job was scheduled while it was leased, the earlier time counts.
        """

    def release_all(self, releases: Collection[Release]) -> list[Lease]:
        """Release leases of different jobs in one transaction; return those that were lost."""

    def acquire_slot(self, job_id: str, limit: Limit) -> int:
        """Acquire permission for one request, and a slot for the job; 0, or the milliseconds until a retry.

        The job has the slot until `release_slots`. A job that already has a slot keeps it and needs no
        second one.
        """

    def release_slots(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs that no longer run; jobs without a slot are ignored."""

    def back_off(self, name: str, delay_ms: int) -> None:
        """Permit no request under the limit `name` for `delay_ms`: the server is at capacity."""

    def bring_forward(self, lease_ms: int) -> None:
        """Correct times that are too late because the clock was set back.

        What was to be due later is due now, leases end within `lease_ms`, pauses within a minute.
        """

    def leases(self) -> list[Lease]:
        """Return the live leases, the first to expire first."""

    def paces(self) -> list[Pace]:
        """Return the limits under which jobs hold a slot, or that once delayed a request, by name."""

    def depth(self) -> Depth:
        """Return how many jobs wait and are worked on; it reads nothing else."""


class AppendCall(NamedTuple):
    """The arguments of one append."""

    batches: Sequence[Batch]
    fence: Fence | None = None
    documents: Sequence[Document] = ()


class EventStore(Protocol):
    """What a ledger needs of a database."""

    @property
    def queue(self) -> WorkQueue:
        """The work queue in the same database."""

    @property
    def outbox(self) -> Outbox:
        """The outbox in the same database."""

    def append(
        self,
        batches: Sequence[Batch],
        *,
        fence: Fence | None = None,
        documents: Sequence[Document] = (),
    ) -> list[Record]:
        """Record `batches` in one transaction; see the docstring of this module."""

    def append_each(self, calls: Sequence[AppendCall]) -> list[list[Record] | Exception]:
        """Make several appends, decided one after the other; return the records of each, or its error.

        They share a transaction, and each may be refused without the others.
        """

    def import_rows(self, rows: Iterable[tuple[StoredRow, Sequence[PrivateBody]]]) -> int:
        """Add rows of another ledger verbatim after this ledger's head; return how many were new.

        Rows that are already recorded must be identical, and every row must match its hashes. Leaves, tiles,
        job rows and holds follow from the rows; documents and leases are not imported.
        """

    def head(self) -> Frontier:
        """Return the tree's right edge; its size is the last position."""

    def rows(self, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
        """Return up to `limit` rows at positions greater than `after`, in the order of the filter."""

    def histories(self, prefix: str, up_to: int, *, backwards: bool = False) -> Iterator[StoredRow]:
        """Yield the rows up to a position of all streams whose names begin with `prefix`, stream by stream.

        Streams are in the order of their names' bytes, rows in the order of their versions, or both
        `backwards`; it is one snapshot.
        """

    def event(self, event_id: str) -> StoredRow | None:
        """Return the row with this event id."""

    def bodies(self, positions: Sequence[int]) -> Mapping[str, PrivateBody]:
        """Return the private bodies of these positions by commitment; erased ones are absent."""

    def document(self, sha256: str) -> bytes | None:
        """Return a document by digest."""

    def job(self, job_id: str) -> Job | None:
        """Return one job row."""

    def jobs(self, where: JobFilter, limit: int | None = None) -> list[Job]:
        """Return job rows, newest first unless the filter is `oldest_first`."""

    def is_searchable(self) -> bool:
        """Return False for a ledger of an older version: `search`, `counts` and `spent` need an upgrade.

        Opening it for writing upgrades it.
        """

    def search(
        self,
        words: str,
        where: JobFilter,
        limit: int,
        *,
        sees: Sequence[JobFilter] = ALL_JOBS,
        beyond: int | None = None,
    ) -> list[FoundJob]:
        """Return the jobs that match `where` and whose prompts have all `words`; any job if there are none.

        Any text is valid; what it means is said in `ledger.store.search`. A job must also match one of
        `sees`, which restrict only whose jobs they are (`of_team`, `of_actor`, `teamless`). The jobs are in
        the order in which they began, newest first unless the filter is `oldest_first`. `beyond` is the
        position of the last one that was returned before, to read a long list in parts.
        """

    def matches(self, words: str, limit: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> list[Match]:
        """Return the newest jobs whose prompts have all `words`, with the properties to count them by."""

    def listed(self, positions: Sequence[int]) -> list[FoundJob]:
        """Return the jobs that began at `positions`, in their order."""

    def counts(
        self, by: Facet, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, int]:
        """Return the numbers of jobs by the values of one property, of those that match `where` and `sees`.

        It reads no job: each append writes the numbers. So `where` may restrict only the properties in
        `Facets`; its times count whole months. A job counts under its requested and its decided model, as in
        lists.
        """

    def list_drift(self) -> list[ListDrift]:
        """Compare the tables of lists, counts and money with the job rows, all of them in one snapshot.

        A job row that cannot be read is left out, and so is a ledger of an older schema.
        """

    def spent(
        self, by: SpentBy, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, Money]:
        """Return what jobs reserve and spent by the values of one property, of those that match.

        Adopted jobs were paid for elsewhere and do not count. The day is that of the request, the model the
        decided one, or an empty text. It reads sums of days, or the narrow rows of lists if
        `where` has other times, a state or a model.
        """

    def standing(self, position: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> Standing:
        """Return the jobs that had begun at `position`, of those that match `sees`; it is one snapshot.

        It reads what changed after the position, or what did not, from the narrow rows of lists.
        """

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row in the order of the ids' bytes: one snapshot, in little memory."""

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Replace all job rows with `jobs`; refused if the head is no longer at `at_position`.

        Lists, counts and the index of words are made again from them and from the texts that are left.
        """

    def holds(self, budget: str) -> list[Hold]:
        """Return the holds of `budget`, by job."""

    def held(self, budget: str) -> int:
        """Return the sum of all holds of `budget`, reserved and settled, in micro-dollars."""

    def now(self) -> datetime:
        """Return the time (UTC) of the store's clock, which all its users share, to the millisecond."""

    def tally(self) -> Tally:
        """Return the numbers of `Tally`, from indexes: cheap enough to call every few seconds."""

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes: leaves at level 0, at multiples of 8 the roots of complete subtrees."""

    def scrub(self) -> list[str]:
        """Remove what erased bodies left behind in the database's own files, as far as this is possible.

        Return messages that say what is left and what to do about it. Safe to repeat.
        """

    def wait_for_append(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`.

        This is only a hint to read again: followers read by position, so a lost hint costs one wait.
        """

    def close(self) -> None:
        """Close the connections to the database."""
