"""The append rule, the same for every store: the checks of an append, and its changes. No SQL here.

A store appends a group of requests in one transaction, while it holds the lock of the head row:

1. `Keys.joined` lists the rows the group depends on; the store reads them into `Present`.
2. `decide_all` checks the appends one by one, in the order that `ledger.store.interface` defines. An append
   is refused before it changes anything, so a refusal needs no savepoint and leaves the rest of the group
   alone.
3. An append's changes go into `Present`, where the next append of the group sees them, and into `Changes`.
4. The store writes `Changes` and commits.

A crash before the commit leaves nothing behind, a crash after it leaves the whole group.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from ledger.errors import BudgetExceeded, EventIdConflict, StaleFence, WrongExpectedVersion
from ledger.events import PrivateErased, RenderDecided
from ledger.fold import fold
from ledger.job import JOB_PREFIX, Job
from ledger.private import PrivateBody
from ledger.record import Draft, Record, StoredRow
from ledger.store.group_commit import GroupCommit, Request
from ledger.store.interface import (
    ANY,
    AppendCall,
    Batch,
    Document,
    Facets,
    Fence,
    Hold,
    Money,
    Spender,
    facets_of,
    holds_of,
    money_of,
    spender_of,
)
from ledger.store.search import is_searched, words_of
from ledger.tree.merkle import Frontier, TileNode

_BUDGET_PREFIX = "budget_"
_NOTHING = frozenset[str]()
_NO_MONEY = Money(0, 0, 0, 0)


class Keys(NamedTuple):
    """The rows that an append, or a group of appends, is decided on."""

    event_ids: Sequence[str] = ()
    streams: AbstractSet[str] = frozenset()
    jobs: AbstractSet[str] = frozenset()
    commitments: Sequence[str] = ()
    fenced: AbstractSet[str] = frozenset()
    budgets: AbstractSet[str] = frozenset()
    """Budgets in which the drafts reserve money. A job may reserve again in a budget that only its row names;
    `Present.read_budget` reads that one on demand.
    """

    @classmethod
    def joined(cls, keys: Sequence["Keys"]) -> "Keys":
        """Return the keys of a whole group."""
        if len(keys) == 1:
            return keys[0]
        event_ids, streams, jobs, commitments, fenced, budgets = zip(*keys, strict=True)
        return cls(
            list(chain.from_iterable(event_ids)),
            frozenset().union(*streams),
            frozenset().union(*jobs),
            list(chain.from_iterable(commitments)),
            frozenset().union(*fenced),
            frozenset().union(*budgets),
        )


class Append(Struct, frozen=True):
    """The arguments of one `EventStore.append`, and the rows they refer to."""

    batches: Sequence[Batch]
    fence: Fence | None
    documents: Sequence[Document]
    event_ids: list[str]
    streams: set[str]
    jobs: set[str]
    commitments: list[str]
    fenced: AbstractSet[str]

    @classmethod
    def of(cls, batches: Sequence[Batch], fence: Fence | None, documents: Sequence[Document]) -> "Append":
        """Return one append. An argument of the wrong type raises here, in the thread of the caller."""
        event_ids: list[str] = []  # `list[str]()` takes ten times as long
        streams: set[str] = set()
        jobs: set[str] = set()
        commitments: list[str] = []
        for batch in batches:
            stream, drafts = batch.stream, batch.drafts
            streams.add(stream)
            if drafts and stream.startswith(JOB_PREFIX):
                jobs.add(stream)
            for draft in drafts:
                event_ids.append(draft.event_id)
                if draft.bodies:
                    commitments += [body.commitment for body in draft.bodies]
        fenced = {fence.job_id} if fence else _NOTHING
        return cls(batches, fence, documents, event_ids, streams, jobs, commitments, fenced)

    @property
    def keys(self) -> Keys:
        """The rows to read if the append is not decided ahead."""
        events = (draft.event for batch in self.batches for draft in batch.drafts)
        budgets = {
            hold.budget for event in events if isinstance(event, RenderDecided) for hold in event.holds
        }
        return Keys(self.event_ids, self.streams, self.jobs, self.commitments, self.fenced, budgets)


AppendRequest = Request[Append, list[Record]]


def append_each(
    commits: GroupCommit[Append, list[Record]], calls: Sequence[AppendCall]
) -> list[list[Record] | Exception]:
    """Make several appends in one group; return the records of each, or its error."""
    outcomes: dict[int, list[Record] | Exception] = {}
    works: dict[int, Append] = {}
    for number, call in enumerate(calls):
        try:
            works[number] = Append.of(*call)
        except Exception as error:  # noqa: BLE001  # a mistake of this caller is not one of the others
            outcomes[number] = error
    for number, request in zip(works, commits.run(*works.values()), strict=True):
        try:
            outcomes[number] = request.outcome()
        except Exception as error:  # noqa: BLE001  # raised for its caller
            outcomes[number] = error
    return [outcomes[number] for number in range(len(calls))]


class BudgetRow(NamedTuple):
    """One budget in the database: the sum of its holds, and the payload of its last ``budget.set``."""

    held: int
    limit: bytes | None


class HoldChange(NamedTuple):
    """A hold as an append leaves it, and its growth in micro-dollars."""

    hold: Hold
    growth: int


@dataclass(slots=True)
class Present:
    """The state an append is decided on: rows as read, plus what earlier appends of the group add."""

    tree: Frontier
    read_budget: Callable[[str], BudgetRow]
    events: dict[str, StoredRow | Record] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    commitments: set[str] = field(default_factory=set)
    tokens: dict[str, int] = field(default_factory=dict)
    budgets: dict[str, BudgetRow] = field(default_factory=dict)
    growth: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Per budget, the change in the sum of its holds by earlier appends of the group."""
    limits: dict[str, bytes] = field(default_factory=dict)
    """Per budget, the payload of the ``budget.set`` recorded by an earlier append of the group."""

    def held(self, budget: str) -> int:
        """Return what all jobs hold of `budget`, in micro-dollars."""
        return self._row(budget).held + self.growth[budget]

    def limit(self, budget: str) -> int | None:
        """Return the limit of `budget` in micro-dollars; None if it has none."""
        payload = self.limits.get(budget) or self._row(budget).limit
        return json.loads(payload)["limit_usd_micros"] if payload else None

    def _row(self, budget: str) -> BudgetRow:
        if budget not in self.budgets:
            self.budgets[budget] = self.read_budget(budget)
        return self.budgets[budget]


@dataclass(slots=True)
class Changes:
    """Rows that one transaction writes."""

    records: list[Record] = field(default_factory=list)
    nodes: list[TileNode] = field(default_factory=list)
    bodies: list[tuple[int, PrivateBody]] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    """New jobs, with the positions of their first records."""
    relisted: set[str] = field(default_factory=set)
    """Existing jobs whose `Facets`, money or verdict change."""
    moved: set[str] = field(default_factory=set)
    """Jobs that are new, or change their state or video."""
    counts: dict[Facets, int] = field(default_factory=lambda: defaultdict(int))
    """Change in the number of jobs per combination."""
    spending: dict[Spender, Money] = field(default_factory=dict)
    """Change in the money per combination."""

    def __bool__(self) -> bool:
        return bool(self.records or self.documents)

    def words(self) -> dict[int, set[str]]:
        """Return the search words of the new jobs, by the position of their first record."""
        words: dict[int, set[str]] = {}
        first = set(self.begun.values())
        for position, body in self.bodies:
            if position in first and is_searched(body.field):
                words.setdefault(position, set()).update(words_of(body.text))
        return words


def decide_all(group: Sequence[AppendRequest], present: Present, database_error: type[Exception]) -> Changes:
    """Give each request of `group` its records or its error, and return what the group changes.

    A `database_error` ends the transaction, and with it the whole group.
    """
    changes = Changes()
    for request in group:
        if request.error is None:
            try:
                request.result = decide(request.work, present, changes)
            except database_error:
                raise
            except Exception as error:  # noqa: BLE001  # `Request.outcome` raises it in the caller's thread
                request.error = error
    return changes


def decide(append: Append, present: Present, changes: Changes) -> list[Record]:
    """Add `append` to `present` and `changes`, or raise and leave both unchanged."""
    recorded = _already_recorded(append, present)
    if recorded is not None:
        return recorded
    if append.fence is not None:
        _check_fence(append.fence, present)
    _check_versions(append.batches, present)
    records = _place(append.batches, present)
    jobs = fold_jobs(records, present)
    holds = changed_holds(jobs, present)
    if holds:
        _check_budgets(holds, present)
    bodies = _bodies(append, records, present) if append.commitments else []
    add_records(records, present, changes)
    add_jobs(jobs, holds, present, changes)
    add_bodies(bodies, present, changes)
    for document in append.documents:
        changes.documents[document.sha256] = document
    return records


def fold_jobs(records: Iterable[Record], present: Present) -> dict[str, Job]:
    """Return the jobs that `records` change, as changed; `IllegalTransition` if a step is not allowed."""
    jobs: dict[str, Job] = {}
    for record in records:
        stream = record.stream
        if stream.startswith(JOB_PREFIX):
            jobs[stream] = fold(jobs.get(stream) or present.jobs.get(stream), record)
    return jobs


def changed_holds(jobs: Mapping[str, Job], present: Present) -> list[HoldChange]:
    """Return the holds that `jobs` change."""
    changed = []
    for job_id, job in jobs.items():
        if not job.budgets:
            continue
        before = present.jobs.get(job_id)
        old = {hold.budget: hold for hold in holds_of(before)} if before else {}
        for hold in holds_of(job):
            previous = old.get(hold.budget)
            if previous != hold:
                growth = hold.usd_micros - (previous.usd_micros if previous else 0)
                changed.append(HoldChange(hold, growth))
    return changed


def add_records(records: Sequence[Record], present: Present, changes: Changes) -> None:
    """Add `records` with their tree nodes, the limits they set and the bodies they erase."""
    changes.nodes += present.tree.extend([record.leaf for record in records])
    events, versions = present.events, present.versions
    for record in records:
        envelope = record.envelope
        stream, type_, version = envelope.stream, envelope.type, envelope.version
        events[envelope.event_id] = record
        versions[stream] = version
        if type_ == "budget.set":
            present.limits[stream.removeprefix(_BUDGET_PREFIX)] = record.payload
        elif type_ == "private.erased" and isinstance(record.event, PrivateErased):
            changes.erased += record.event.commitments
        if version == 1 and stream.startswith(JOB_PREFIX):
            changes.begun[stream] = envelope.position
    changes.records += records


def add_jobs(
    jobs: Mapping[str, Job], holds: Iterable[HoldChange], present: Present, changes: Changes
) -> None:
    """Add folded jobs, the changes to holds, and the changes to lists."""
    for job_id, job in jobs.items():
        before = present.jobs.get(job_id)
        if before is None or before.state is not job.state or before.model != job.model:
            changes.counts[facets_of(job)] += 1
            if before is not None:
                changes.counts[facets_of(before)] -= 1
                changes.relisted.add(job_id)
        if before is None or before.model != job.model or money_of(before) != money_of(job):
            _spend(changes, job, 1)
            if before is not None:
                _spend(changes, before, -1)
                changes.relisted.add(job_id)
        elif before.verdict != job.verdict:
            changes.relisted.add(job_id)
        if before is None or before.state is not job.state or before.video_id != job.video_id:
            changes.moved.add(job_id)
    present.jobs.update(jobs)
    changes.jobs.update(jobs)
    for hold, growth in holds:
        changes.holds[hold.budget, hold.job_id] = hold
        present.growth[hold.budget] += growth


def _spend(changes: Changes, job: Job, sign: int) -> None:
    spender = spender_of(job)
    if spender is not None:
        before = changes.spending.get(spender, _NO_MONEY)
        more = (1, *money_of(job))
        changes.spending[spender] = Money(*(old + sign * new for old, new in zip(before, more, strict=True)))


def add_bodies(bodies: Iterable[tuple[int, PrivateBody]], present: Present, changes: Changes) -> None:
    """Add private bodies, each with the position of its record."""
    for position, body in bodies:
        present.commitments.add(body.commitment)
        changes.bodies.append((position, body))


def _already_recorded(append: Append, present: Present) -> list[Record] | None:
    """Return the old records if this append was already recorded; refuse it if only part of it was."""
    event_ids = append.event_ids
    if len(event_ids) > 1 and len(set(event_ids)) < len(event_ids):
        raise EventIdConflict("the append uses an event id twice; every event needs an id of its own")
    if present.events.keys().isdisjoint(event_ids):
        return None
    taken = next(event_id for event_id in event_ids if event_id in present.events)
    drafts = ((batch.stream, draft) for batch in append.batches for draft in batch.drafts)
    return [_same(present.events.get(draft.event_id), stream, draft, taken) for stream, draft in drafts]


def _same(row: StoredRow | Record | None, stream: str, draft: Draft, taken: str) -> Record:
    if row is None:
        raise EventIdConflict(f"event {taken} is recorded, but {draft.event_id} of the same append is not")
    stored = StoredRow(row.record, row.payload, row.leaf)
    old = Record.from_row(stored, {body.commitment: body for body in draft.bodies})
    if old.record != draft.placed(stream, old.position, old.version).record:
        raise EventIdConflict(
            f"event id {draft.event_id} belongs to {old.type} at position {old.position}, "
            f"whose content is not that of this {draft.event.type}"
        )
    return old


def _check_fence(fence: Fence, present: Present) -> None:
    current = present.tokens.get(fence.job_id)
    if current != fence.token:
        raise StaleFence(
            f"{fence.job_id}: fence {fence.token} is no longer current (now {current or 'none'}): "
            "claim the job again before writing to it"
        )


def _check_versions(batches: Sequence[Batch], present: Present) -> None:
    for batch in batches:
        expected, current = batch.expected_version, present.versions[batch.stream]
        if expected is not ANY and expected != current:
            raise WrongExpectedVersion(
                f"stream {batch.stream} is at version {current}, expected {expected}: "
                "another process appended to it in between; read it again and decide again"
            )


def _place(batches: Sequence[Batch], present: Present) -> list[Record]:
    versions: dict[str, int] = {}
    position = present.tree.size
    records = []
    for batch in batches:
        for draft in batch.drafts:
            position += 1
            version = versions.get(batch.stream, present.versions[batch.stream]) + 1
            versions[batch.stream] = version
            records.append(draft.placed(batch.stream, position, version))
    return records


def _check_budgets(holds: Iterable[HoldChange], present: Present) -> None:
    """Refuse holds that reserve more than a budget's limit allows; holds in one budget add up."""
    growth = Counter[str]()
    reserving: set[str] = set()
    for hold, grows_by in holds:
        growth[hold.budget] += grows_by
        if grows_by > 0 and hold.reserved_usd_micros:
            reserving.add(hold.budget)
    for budget in reserving:
        limit = present.limit(budget)
        if limit is None:
            continue
        held = present.held(budget) + growth[budget]
        if held > limit:
            raise BudgetExceeded(
                f"budget {budget}: {held} micro-dollars would be held, the limit is {limit}",
                param="max_cost_usd",
                expected=f"at most {limit} micro-dollars in the budget {budget}",
                found=f"{held} micro-dollars",
            )


def _bodies(append: Append, records: Sequence[Record], present: Present) -> list[tuple[int, PrivateBody]]:
    """Return the private bodies of `records` by position; each text belongs to exactly one event."""
    drafts = (draft for batch in append.batches for draft in batch.drafts)
    bodies = [(r.position, body) for r, d in zip(records, drafts, strict=True) for body in d.bodies]
    fresh: set[str] = set()
    for _, body in bodies:
        if body.commitment in fresh or body.commitment in present.commitments:
            raise ValueError(f"the text at {body.field} was sealed for another event: seal it again")
        fresh.add(body.commitment)
    return bodies
