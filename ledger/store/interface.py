"""The contract of a store, in prose and as protocols. Stores share no SQL and no base class.

*Append.* One call is one transaction over any number of streams: all of it or nothing, durable when the call
returns. In this order: event ids (all present with the same content: the old records are returned and nothing
else happens; some present, or different: `EventIdConflict`), fence (`StaleFence`), versions
(`WrongExpectedVersion`), transitions (`IllegalTransition`), budgets (`BudgetExceeded`); then positions from
the head row, records, leaves, frontier, tile nodes, private bodies, job rows with the holds and lists that
follow from them, documents. A ``private.erased`` event deletes the bodies it names, and their words from the
index, in the same transaction. Concurrent appends of one process are committed together; a refusal does not
affect the others. Input that no store could record (an id of another shape, text sealed for another event) is
a `ValueError`.

*Order.* Positions are dense and in commit order, so a reader that has read position N has missed nothing.

*Retries* are up to the caller, with the same drafts: ids, salts and times were fixed before the first
attempt, so it is recorded once, whichever attempt succeeded. A store retries by itself only if its connection
broke: it looks up the event ids, and returns the records or decides the append again.

*Lists.* Both stores keep these tables, derived from the log and written in the transaction of an append:
``listing``, one narrow row per job under the position of its first record, with its money and the properties
that lists filter by; ``counts``, the number of jobs per combination of `Facets`, so that a count never reads
the jobs; ``spending``, the money per combination of `Spender`, so that a sum never reads the jobs;
``search``, the words of each job's prompt (`ledger.store.search`), which an erasure removes together with the
text.

*Absent* is None or an empty list. A failure of the store itself is `LedgerUnusable`, with the next step.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol

from ledger.canonical import sha256_hex
from ledger.job import Job
from ledger.private import PrivateBody
from ledger.record import Draft, Record, StoredRow
from ledger.store.filters import ALL_JOBS, EVERY_JOB, JobFilter, RecordFilter
from ledger.store.outbox import Outbox
from ledger.store.queue import WorkQueue
from ledger.store.search import is_searched
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
    before. The append is refused if a hold that reserves money grows and the budget's holds would exceed its
    limit (the last ``budget.set`` in the stream ``budget_<name>``; a budget without one has no limit). A hold
    that reserves nothing is money already spent, which no limit can undo: it is always recorded.
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


Facet = Literal["month", "state", "model", "purpose", "actor", "team"]
"""A property by which jobs are counted."""


class Facets(NamedTuple):
    """The properties of a job that are counted; an empty string where it has none."""

    month: str
    state: str
    model: str
    requested_model: str
    purpose: str
    actor: str
    team: str


def facets_of(job: Job) -> Facets:
    """Return the combination under which `job` is counted."""
    return Facets(
        job.created_at[:7],
        job.state.value,
        job.model or "",
        job.requested_model or "",
        job.purpose or "",
        job.actor,
        job.team or "",
    )


SpentBy = Literal["day", "model", "purpose", "actor", "team"]
"""A property by which money is summed."""


class Money(NamedTuple):
    """The money of some jobs, in micro-dollars; `estimated` is the settled part not reported by a server."""

    jobs: int
    reserved: int
    settled: int
    estimated: int


class Spender(NamedTuple):
    """The properties that a job's money is summed by; an empty string if absent."""

    day: str
    model: str
    purpose: str
    actor: str
    team: str


def spender_of(job: Job) -> Spender | None:
    """Return the combination under which the money of `job` is summed; None if it was paid for elsewhere."""
    if not job.requested_model:
        return None
    return Spender(job.created_at[:10], job.model or "", job.purpose or "", job.actor, job.team or "")


def money_of(job: Job) -> tuple[int, int, int]:
    """Return the reserved and settled money of `job`, and the estimated part of it, in micro-dollars."""
    settled = job.settled_usd_micros or 0
    return job.reserved_usd_micros, settled, settled if job.cost_basis == "estimated" else 0


def by_model(rows: Iterable[tuple[str, str, int]]) -> Mapping[str, int]:
    """Return the numbers of jobs by model: a job counts under its decided and its requested one."""
    numbers = Counter[str]()
    for model, requested_model, jobs in rows:
        for name in {model, requested_model}:
            numbers[name] += jobs
    return numbers


class Match(NamedTuple):
    """A job that a search found: the position of its first record, and its properties."""

    position: int
    facets: Facets


class FoundJob(NamedTuple):
    """A job in a list: the position of its first record, its row, and its prompt texts by field.

    Texts that were erased are absent.
    """

    position: int
    job: Job
    texts: Mapping[str, str]

    @property
    def prompt(self) -> str | None:
        """The prompt; None if erased or absent."""
        return self.texts.get("prompt")


def found(rows: Iterable[tuple[int, bytes]], texts: Iterable[tuple[int, str, str]]) -> list[FoundJob]:
    """Return a store's result: positions with job rows, and positions with their fields and texts."""
    by_position: dict[int, dict[str, str]] = {}
    for position, field, text in texts:
        if is_searched(field):
            by_position.setdefault(position, {})[field] = text
    return [FoundJob(at, Job.from_canonical(body), by_position.get(at, {})) for at, body in rows]


class Fence(NamedTuple):
    """Proof of a lease: the append is refused unless `token` is that of a live lease on the job.

    A lease that was released, expired or went to another holder can no longer write.
    """

    job_id: str
    token: int


class Standing(NamedTuple):
    """Jobs as of a position: the unchanged ones by state, and the ids of those with a later record."""

    unchanged: Mapping[str, int]
    changed: Sequence[str]


class ListDrift(NamedTuple):
    """A row in the tables behind lists that differs from the job rows; None means no row."""

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
        """Append rows of another ledger verbatim after this ledger's head; return how many were new.

        Rows that are already recorded must be identical, and every row must match its hashes. Leaves, tiles,
        job rows and holds are derived from the rows; documents and leases are not imported.
        """

    def head(self) -> Frontier:
        """Return the tree's right edge; its size is the last position."""

    def rows(self, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
        """Return up to `limit` rows at positions greater than `after`, in the order of the filter."""

    def histories(self, prefix: str, up_to: int, *, backwards: bool = False) -> Iterator[StoredRow]:
        """Yield the rows up to a position of all streams whose names begin with `prefix`, stream by stream.

        Streams are ordered by the bytes of their names, rows by version; `backwards` reverses both. All rows
        come from one snapshot.
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

        Any text is valid; `ledger.store.search` defines its meaning. A job must also match one of `sees`,
        which restrict only whose jobs they are (`of_team`, `of_actor`, `teamless`). Jobs are in the order
        they began, newest first unless the filter is `oldest_first`. `beyond` is the position of the last job
        returned before, to read a long list in pages.
        """

    def matches(self, words: str, limit: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> list[Match]:
        """Return the newest jobs whose prompts have all `words`, with the properties they are counted by."""

    def listed(self, positions: Sequence[int]) -> list[FoundJob]:
        """Return the jobs that began at `positions`, in their order."""

    def counts(
        self, by: Facet, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, int]:
        """Return the numbers of jobs per value of one property, among those that match `where` and `sees`.

        No job is read: each append updates the numbers. So `where` may restrict only the properties in
        `Facets`; its times count whole months. A job counts under both its requested and its decided model,
        as in lists.
        """

    def list_drift(self) -> list[ListDrift]:
        """Compare the tables of lists, counts and money with the job rows, all of them in one snapshot.

        A job row that cannot be read is left out, and so is a ledger of an older schema.
        """

    def spent(
        self, by: SpentBy, where: JobFilter = EVERY_JOB, *, sees: Sequence[JobFilter] = ALL_JOBS
    ) -> Mapping[str, Money]:
        """Return the reserved and spent money per value of one property, among the jobs that match.

        Adopted jobs were paid for elsewhere and do not count. The day is the day of the request, the model
        the decided one or an empty text. It reads daily sums, or the narrow rows of lists if `where` has
        other times, a state or a model.
        """

    def standing(self, position: int, *, sees: Sequence[JobFilter] = ALL_JOBS) -> Standing:
        """Return the jobs that had begun at `position`, among those that match `sees`, from one snapshot.

        It reads the jobs that changed after the position, or those that did not, from the narrow rows of
        lists.
        """

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job row in the order of the ids' bytes: one snapshot, in little memory."""

    def replace_jobs(self, jobs: Iterable[Job], at_position: int) -> None:
        """Replace all job rows with `jobs`; refused if the head is no longer at `at_position`.

        Lists, counts and the word index are rebuilt from them and from the remaining texts.
        """

    def holds(self, budget: str) -> list[Hold]:
        """Return the holds of `budget`, by job."""

    def held(self, budget: str) -> int:
        """Return the sum of all holds of `budget`, reserved and settled, in micro-dollars."""

    def now(self) -> datetime:
        """Return the time (UTC) of the store's clock, shared by all its users, to the millisecond."""

    def tally(self) -> Tally:
        """Return the numbers of `Tally`, from indexes: cheap enough to call every few seconds."""

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return tree nodes: leaves at level 0, at multiples of 8 the roots of complete subtrees."""

    def scrub(self) -> list[str]:
        """Remove what erased bodies left in the database's own files, as far as possible.

        Return messages that say what remains and what to do about it. Safe to repeat.
        """

    def wait_for_append(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`.

        This is only a hint to reread: followers read by position, so a lost hint costs one wait.
        """

    def close(self) -> None:
        """Close the connections to the database."""
