"""Deciding appends in the order the contract gives, on what `Present` holds; no SQL here.

`decide` refuses before it changes anything, so an append that is refused leaves the others of its group
alone. What goes through is added to `Present`, where the next one sees it, and to `Changes`, which
`ledger.store.postgres.write` sends in one round trip with the COMMIT.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.canonical import MAX_SAFE_INTEGER
from ledger.errors import BudgetExceeded, EventIdConflict, StaleFence, WrongExpectedVersion
from ledger.events import PrivateErased
from ledger.job import JOB_PREFIX, Job, fold
from ledger.private import PrivateBody
from ledger.record import Draft, Record, StoredRow
from ledger.store.interface import AnyVersion, Batch, Document, Fence, Hold
from ledger.store.postgres.read_for_append import Append, Present
from ledger.tree.merkle import TileNode

_PLACE = ("position", "version")
_BUDGET_PREFIX = "budget_"


@dataclass
class Changes:
    """What one transaction writes."""

    records: list[Record] = field(default_factory=list)
    nodes: list[TileNode] = field(default_factory=list)
    bodies: list[tuple[int, PrivateBody]] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.records or self.holds or self.documents)


def decide(append: Append, present: Present, changes: Changes) -> list[Record]:
    """Carry out `append` on `present` and `changes`, or raise and leave both as they were."""
    recorded = already_recorded(append.batches, present)
    if recorded is not None:
        return recorded
    _check_fence(append.fence, present)
    _check_versions(append.batches, present)
    held = _check_budgets(append.holds, present)
    records = _place(append.batches, present)
    drafts = _drafts(append.batches)
    bodies = [(r.position, body) for r, d in zip(records, drafts, strict=True) for body in d.bodies]
    _check_bodies(bodies, present)
    documents = {document.sha256: document for document in append.documents}
    add_records(records, bodies, present, changes)
    present.held.update(held)
    present.holds.update({hold[:2]: _amount(hold) for hold in append.holds})
    changes.holds.update({hold[:2]: hold for hold in append.holds})
    changes.documents.update(documents)
    return records


def already_recorded(batches: Sequence[Batch], present: Present) -> list[Record] | None:
    """Return the old records if this very append was recorded before; conflict if only part of it was."""
    drafts = [(batch.stream, draft) for batch in batches for draft in batch.drafts]
    if len({draft.event_id for _, draft in drafts}) < len(drafts):
        raise EventIdConflict("the append uses an event id twice; every event needs its own")
    found = [(present.events.get(draft.event_id), stream, draft) for stream, draft in drafts]
    taken = next((draft.event_id for row, _, draft in found if row), None)
    if taken is None:
        return None
    return [_same(row, stream, draft, taken) for row, stream, draft in found]


def add_records(
    records: Sequence[Record],
    bodies: Iterable[tuple[int, PrivateBody]],
    present: Present,
    changes: Changes,
) -> Iterable[Job]:
    """Add placed records with all that follows from them: leaves, tiles, bodies, job rows, erasure.

    Returns the jobs they changed. Folding, which may refuse, comes before anything is changed.
    """
    jobs: dict[str, Job] = {}
    for record in records:
        if record.stream.startswith(JOB_PREFIX):
            jobs[record.stream] = fold(jobs.get(record.stream) or present.jobs.get(record.stream), record)
    for record in records:
        changes.nodes += present.tree.append(record.leaf)
        present.events[record.event_id] = StoredRow(record.record, record.payload, record.leaf)
        present.versions[record.stream] = record.version
        if record.type == "budget.set":
            present.limits[record.stream.removeprefix(_BUDGET_PREFIX)] = record.payload
        if isinstance(record.event, PrivateErased):
            changes.erased += record.event.commitments
    changes.records += records
    for position, body in bodies:
        present.commitments.add(body.commitment)
        changes.bodies.append((position, body))
    present.jobs |= jobs
    changes.jobs |= jobs
    return jobs.values()


def _same(row: StoredRow | None, stream: str, draft: Draft, taken: str) -> Record:
    if row is None:
        raise EventIdConflict(f"event {taken} is recorded, but {draft.event_id} of the same append is not")
    envelope = json.loads(row.record)
    old = {key: value for key, value in envelope.items() if key not in _PLACE}
    if old != draft.envelope(stream):
        raise EventIdConflict(
            f"event id {draft.event_id} stands for {old['type']} at position {envelope['position']} "
            f"with other content than this {draft.event.type}"
        )
    return Record.from_row(row, {body.commitment: body for body in draft.bodies})


def _check_fence(fence: Fence | None, present: Present) -> None:
    if fence is None:
        return
    current = present.tokens.get(fence.job_id)
    if current != fence.token:
        raise StaleFence(
            f"{fence.job_id}: fence {fence.token} is no longer current (now {current or 'none'}): "
            "claim the job again before writing to it"
        )


def _check_versions(batches: Sequence[Batch], present: Present) -> None:
    for batch in batches:
        expected, current = batch.expected_version, present.versions[batch.stream]
        if not isinstance(expected, AnyVersion) and expected != current:
            raise WrongExpectedVersion(
                f"stream {batch.stream} is at version {current}, expected {expected}: "
                "somebody appended in between; read it again and decide again"
            )


def _check_budgets(holds: Sequence[Hold], present: Present) -> Mapping[str, int]:
    """Return what is held of each budget once `holds` are in place."""
    held = {hold.budget: present.held[hold.budget] for hold in holds}
    grown: set[str] = set()
    for hold in holds:
        if not all(0 <= amount <= MAX_SAFE_INTEGER for amount in hold[2:]):
            raise ValueError(f"a hold is 0 to 2**53 - 1 micro-dollars, found {hold}")
        growth = _amount(hold) - present.holds.get((hold.budget, hold.job_id), 0)
        held[hold.budget] += growth
        if growth > 0 and hold.reserved_usd_micros:
            grown.add(hold.budget)
    for budget in grown & present.limits.keys():
        limit = json.loads(present.limits[budget])["limit_usd_micros"]
        if held[budget] > limit:
            raise BudgetExceeded(
                f"budget {budget}: {held[budget]} micro-dollars would be held, the limit is {limit}"
            )
    return held


def _amount(hold: Hold) -> int:
    return hold.reserved_usd_micros + hold.settled_usd_micros


def _check_bodies(bodies: Iterable[tuple[int, PrivateBody]], present: Present) -> None:
    fresh: set[str] = set()
    for _, body in bodies:
        if body.commitment in fresh or body.commitment in present.commitments:
            raise ValueError(f"the text at {body.field} was sealed for another event: seal it again")
        fresh.add(body.commitment)


def _drafts(batches: Sequence[Batch]) -> Iterable[Draft]:
    return (draft for batch in batches for draft in batch.drafts)


def _place(batches: Sequence[Batch], present: Present) -> list[Record]:
    versions: dict[str, int] = {}
    size = present.tree.size
    records = []
    for batch in batches:
        for draft in batch.drafts:
            size += 1
            version = versions.get(batch.stream, present.versions[batch.stream]) + 1
            versions[batch.stream] = version
            records.append(draft.placed(batch.stream, size, version))
    return records
