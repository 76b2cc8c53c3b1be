"""One append inside a transaction, in the order the contract gives (`ledger.store.interface`).

It is placed first, which is where it may be refused, and then written: a refusal leaves nothing to undo.
Everything here runs between BEGIN IMMEDIATE and COMMIT on the writing connection. A crash at any line
leaves the transaction uncommitted, which SQLite undoes on the next open: nothing of it was recorded.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from ledger.canonical import MAX_SAFE_INTEGER
from ledger.errors import (
    BudgetExceeded,
    EventIdConflict,
    LedgerUnusable,
    StaleFence,
    WrongExpectedVersion,
)
from ledger.events import PrivateErased
from ledger.job import JOB_PREFIX, Job, fold
from ledger.private import PrivateBody
from ledger.record import Draft, Record, StoredRow
from ledger.store.interface import AnyVersion, Batch, Document, Fence, Hold
from ledger.store.sqlite.queue import current_token
from ledger.tree.merkle import Frontier, TileNode

_PLACE = ("position", "version")
_BUDGET_PREFIX = "budget_"
_EVENT_THERE = (
    "SELECT 1 FROM events WHERE event_id = ?",
    "SELECT 1 FROM json_each(?) CROSS JOIN events ON event_id = value LIMIT 1",
)
_BODY_THERE = (
    "SELECT 1 FROM private_bodies WHERE commitment = ?",
    "SELECT 1 FROM json_each(?) CROSS JOIN private_bodies ON commitment = value LIMIT 1",
)


class Append(NamedTuple):
    """The arguments of one `Store.append`, or of several that are made as one.

    `touched` are the streams it appends to, and the budgets it holds money of or sets the limit of;
    `expected` are streams that it appends nothing to, on the condition that they are at some version.
    """

    batches: Sequence[Batch]
    holds: Sequence[Hold]
    fences: Sequence[Fence]
    documents: Sequence[Document]
    touched: frozenset[tuple[str, str]]
    expected: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(
        cls,
        batches: Sequence[Batch],
        holds: Sequence[Hold],
        fence: Fence | None,
        documents: Sequence[Document],
    ) -> "Append":
        """Return one append; what is no batch raises here, where its caller is."""
        touched = {("stream", batch.stream) for batch in batches if batch.drafts}
        expected = {("stream", batch.stream) for batch in batches if not batch.drafts}
        touched |= {("budget", hold.budget) for hold in holds}
        touched |= {  # a hold is judged by the limit that such a stream sets
            ("budget", batch.stream.removeprefix(_BUDGET_PREFIX))
            for batch in batches
            if batch.stream.startswith(_BUDGET_PREFIX)
        }
        fences = [fence] if fence else []
        return cls(batches, holds, fences, documents, frozenset(touched), frozenset(expected - touched))

    @property
    def size(self) -> int:
        """How many records it makes."""
        return sum(len(batch.drafts) for batch in self.batches)


def as_one(appends: Sequence[Append]) -> Append:
    """Return `appends`, no two of which touch the same, as one: it is refused if one of them is."""
    batches, holds, fences, documents, touched, expected = (
        list(chain.from_iterable(part)) for part in zip(*appends, strict=True)
    )
    return Append(batches, holds, fences, documents, frozenset(touched), frozenset(expected))


@dataclass(frozen=True)
class Placed:
    """An append that nothing speaks against: what it writes. Where it was recorded before, nothing."""

    records: list[Record]
    jobs: Collection[Job] = ()
    bodies: Sequence[tuple[int, PrivateBody]] = ()
    holds: Sequence[Hold] = ()
    documents: Sequence[Document] = ()
    is_new: bool = True


def place(db: sqlite3.Connection, append: Append, size: int) -> Placed:
    """Give `append` its place behind `size` records, or raise what speaks against it; writes nothing."""
    recorded = _already_recorded(db, append.batches)
    if recorded is not None:
        return Placed(recorded, is_new=False)
    for fence in append.fences:
        _check_fence(db, fence)
    versions = _check_versions(db, append.batches)
    _check_budgets(db, append.holds)
    records = _place(append.batches, versions, size)
    bodies = [
        (record.position, body)
        for record, draft in zip(records, _drafts(append.batches), strict=True)
        for body in draft.bodies
    ]
    _check_bodies(db, bodies)
    return Placed(records, fold_jobs(db, records), bodies, append.holds, append.documents)


def write(db: sqlite3.Connection, placed: Placed, tree: Frontier) -> None:
    """Write what was placed right behind `tree`, which grows with it: all that follows from its records."""
    if not placed.is_new:
        return
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, placed.records))
    nodes: list[TileNode] = []
    for record in placed.records:
        nodes += tree.append(record.leaf)
    _many(db, "INSERT INTO tiles VALUES (?, ?, ?)", nodes)
    texts = [
        (body.commitment, position, body.field, body.salt, body.text) for position, body in placed.bodies
    ]
    _many(db, "INSERT INTO private_bodies VALUES (?, ?, ?, ?, ?)", texts)
    write_jobs(db, placed.jobs)
    for record in placed.records:
        if isinstance(record.event, PrivateErased):
            gone = [(commitment,) for commitment in record.event.commitments]
            db.executemany("DELETE FROM private_bodies WHERE commitment = ?", gone)
    _many(db, "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?)", placed.holds)
    documents = [(document.sha256, document.body) for document in placed.documents]
    _many(db, "INSERT OR IGNORE INTO documents VALUES (?, ?)", documents)


def _many(db: sqlite3.Connection, query: str, rows: Sequence[Sequence[object]]) -> None:
    if rows:  # a statement that is run over nothing costs what a short one costs
        db.executemany(query, rows)


def write_jobs(db: sqlite3.Connection, jobs: Iterable[Job]) -> None:
    """Put job rows in place of the ones that are there."""
    db.executemany(
        "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (
                job.job_id,
                job.version,
                job.position,
                job.state.value,
                job.profile,
                job.video_id,
                job.canonical(),
            )
            for job in jobs
        ),
    )


def write_head(db: sqlite3.Connection, tree: Frontier) -> None:
    """Store the tree's right edge."""
    db.execute("UPDATE head SET size = ?, frontier = ? WHERE id = 1", (tree.size, tree.to_bytes()))


def read_head(db: sqlite3.Connection) -> Frontier:
    """Read the tree's right edge; `LedgerUnusable` if it cannot be one."""
    row = db.execute("SELECT size, frontier FROM head WHERE id = 1").fetchone()
    try:
        return Frontier.from_bytes(*row)
    except (TypeError, ValueError, AttributeError) as error:
        raise LedgerUnusable(
            f"the ledger's head is damaged ({error if row else 'it is gone'}): "
            "run `sora-ledger verify`, then restore a backup"
        ) from error


def _drafts(batches: Sequence[Batch]) -> Iterable[Draft]:
    return (draft for batch in batches for draft in batch.drafts)


def _row(record: Record) -> tuple[object, ...]:
    searched = record.envelope
    return (
        searched["position"],
        searched["event_id"],
        searched["stream"],
        searched["version"],
        searched["type"],
        searched["actor"],
        searched["trace_id"],
        searched["recorded_at"],
        record.record,
        record.payload,
        record.leaf,
    )


def _already_recorded(db: sqlite3.Connection, batches: Sequence[Batch]) -> list[Record] | None:
    """Return the old records if this very append was recorded before; conflict if only part of it was."""
    drafts = [(batch.stream, draft) for batch in batches for draft in batch.drafts]
    if len({draft.event_id for _, draft in drafts}) < len(drafts):
        raise EventIdConflict("the append uses an event id twice; every event needs its own")
    if not _any_there(db, _EVENT_THERE, [draft.event_id for _, draft in drafts]):
        return None
    found = [(_find_event(db, draft.event_id), stream, draft) for stream, draft in drafts]
    records = []
    for row, stream, draft in found:
        if row is None:
            taken = next(draft.event_id for row, _, draft in found if row)
            raise EventIdConflict(
                f"event {taken} is recorded, but {draft.event_id} of the same append is not"
            )
        envelope = json.loads(row.record)
        old = {key: value for key, value in envelope.items() if key not in _PLACE}
        if old != draft.envelope(stream):
            raise EventIdConflict(
                f"event id {draft.event_id} stands for {old['type']} at position {envelope['position']} "
                f"with other content than this {draft.event.type}"
            )
        records.append(Record.from_row(row, {body.commitment: body for body in draft.bodies}))
    return records


def _any_there(db: sqlite3.Connection, queries: tuple[str, str], names: Sequence[str]) -> bool:
    """Say whether one of `names` is there: one question for all of them, as most often none is."""
    of_one, of_many = queries
    found = db.execute(of_one, names) if len(names) == 1 else db.execute(of_many, (json.dumps(names),))
    return found.fetchone() is not None


def _find_event(db: sqlite3.Connection, event_id: str) -> StoredRow | None:
    row = db.execute("SELECT record, payload, leaf FROM events WHERE event_id = ?", (event_id,)).fetchone()
    return StoredRow(*row) if row else None


def _check_fence(db: sqlite3.Connection, fence: Fence) -> None:
    current = current_token(db, fence.job_id)
    if current != fence.token:
        raise StaleFence(
            f"{fence.job_id}: fence {fence.token} is no longer current (now {current or 'none'}): "
            "claim the job again before writing to it"
        )


def _check_versions(db: sqlite3.Connection, batches: Sequence[Batch]) -> dict[str, int]:
    versions: dict[str, int] = {}
    for batch in batches:
        if batch.stream not in versions:
            query = "SELECT COALESCE(MAX(version), 0) FROM events WHERE stream = ?"
            versions[batch.stream] = db.execute(query, (batch.stream,)).fetchone()[0]
        expected, current = batch.expected_version, versions[batch.stream]
        if not isinstance(expected, AnyVersion) and expected != current:
            raise WrongExpectedVersion(
                f"stream {batch.stream} is at version {current}, expected {expected}: "
                "somebody appended in between; read it again and decide again"
            )
    return versions


def _check_budgets(db: sqlite3.Connection, holds: Sequence[Hold]) -> None:
    held: dict[str, int] = {}
    grown: set[str] = set()
    query = "SELECT COALESCE(SUM(reserved_usd_micros + settled_usd_micros), 0) FROM holds WHERE budget = ?"
    for hold in holds:
        if not all(0 <= amount <= MAX_SAFE_INTEGER for amount in hold[2:]):
            raise ValueError(f"a hold is 0 to 2**53 - 1 micro-dollars, found {hold}")
        if hold.budget not in held:
            held[hold.budget] = db.execute(query, (hold.budget,)).fetchone()[0]
        before = db.execute(f"{query} AND job_id = ?", (hold.budget, hold.job_id)).fetchone()[0]
        growth = hold.reserved_usd_micros + hold.settled_usd_micros - before
        held[hold.budget] += growth
        if growth > 0 and hold.reserved_usd_micros:
            grown.add(hold.budget)
    for budget in grown:
        limit = _limit(db, budget)
        if limit is not None and held[budget] > limit:
            raise BudgetExceeded(
                f"budget {budget}: {held[budget]} micro-dollars would be held, the limit is {limit}"
            )


def _check_bodies(db: sqlite3.Connection, bodies: Sequence[tuple[int, PrivateBody]]) -> None:
    fresh = {body.commitment: body for _, body in bodies}
    if len(fresh) == len(bodies) and not (fresh and _any_there(db, _BODY_THERE, list(fresh))):
        return
    seen: set[str] = set()
    for _, body in bodies:
        if body.commitment in seen or _any_there(db, _BODY_THERE, [body.commitment]):
            raise ValueError(f"the text at {body.field} was sealed for another event: seal it again")
        seen.add(body.commitment)


def _limit(db: sqlite3.Connection, budget: str) -> int | None:
    query = (
        "SELECT payload FROM events WHERE stream = ? AND type = 'budget.set' ORDER BY version DESC LIMIT 1"
    )
    row = db.execute(query, (_BUDGET_PREFIX + budget,)).fetchone()
    return json.loads(row[0])["limit_usd_micros"] if row else None


def _place(batches: Sequence[Batch], versions: Mapping[str, int], size: int) -> list[Record]:
    next_version = dict(versions)
    records = []
    for batch in batches:
        for draft in batch.drafts:
            next_version[batch.stream] += 1
            size += 1
            records.append(draft.placed(batch.stream, size, next_version[batch.stream]))
    return records


def fold_jobs(db: sqlite3.Connection, records: Sequence[Record]) -> Collection[Job]:
    """Return the jobs that `records` change, after them; `IllegalTransition` if one may not follow."""
    jobs: dict[str, Job] = {}
    for record in records:
        if record.stream.startswith(JOB_PREFIX):
            before = jobs.get(record.stream)
            if before is None and record.version > 1:  # a stream that only begins has no row
                before = read_job(db, record.stream)
            jobs[record.stream] = fold(before, record)
    return jobs.values()


def read_job(db: sqlite3.Connection, job_id: str) -> Job | None:
    """Return one job row."""
    row = db.execute("SELECT body FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    return Job.from_canonical(row[0]) if row else None
