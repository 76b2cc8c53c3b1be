"""What an append is decided on, read in one round trip under the head's lock.

`begin` opens the transaction and takes the head row FOR UPDATE before anything else. Whoever holds it is
the only one appending, so positions are dense and in commit order. At READ COMMITTED each statement after
the lock sees all that was committed before the lock was given; under REPEATABLE READ the snapshot would be
as old as the wait.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg

from ledger.errors import LedgerUnusable
from ledger.job import JOB_PREFIX, Job
from ledger.record import StoredRow
from ledger.store.interface import Batch, Document, Fence, Hold
from ledger.store.postgres.connection import Connection, begin_transaction
from ledger.store.postgres.queue import LIVE_TOKENS
from ledger.tree.merkle import Frontier

_HEAD = "SELECT size, frontier FROM head WHERE id = 1"
_NAMED = """
SELECT 'event', event_id, NULL::bigint, record, payload, leaf FROM events WHERE event_id = ANY(%s::text[])
UNION ALL
SELECT 'stream', name, (SELECT version FROM events WHERE stream = name ORDER BY version DESC LIMIT 1),
    NULL, NULL, NULL FROM unnest(%s::text[]) AS name
UNION ALL
SELECT 'job', job_id, NULL, body, NULL, NULL FROM jobs WHERE job_id = ANY(%s::text[])
UNION ALL
SELECT 'body', commitment, NULL, NULL, NULL, NULL FROM private_bodies WHERE commitment = ANY(%s::text[])
"""
_HELD = """
SELECT name,
    (SELECT SUM(reserved_usd_micros + settled_usd_micros) FROM holds WHERE budget = name),
    (SELECT payload FROM events WHERE stream = 'budget_' || name AND type = 'budget.set'
     ORDER BY version DESC LIMIT 1)
FROM unnest(%s::text[]) AS name
"""
_HOLDS = """
SELECT budget, job_id, reserved_usd_micros + settled_usd_micros FROM holds
JOIN unnest(%s::text[], %s::text[]) AS asked (budget, job_id) USING (budget, job_id)
"""


class Append(NamedTuple):
    """The arguments of one `Store.append`."""

    batches: Sequence[Batch]
    holds: Sequence[Hold]
    fence: Fence | None
    documents: Sequence[Document]


@dataclass
class Keys:
    """What some appends touch: the rows to read before they can be decided."""

    event_ids: list[str] = field(default_factory=list)
    streams: set[str] = field(default_factory=set)
    commitments: list[str] = field(default_factory=list)
    holds: set[tuple[str, str]] = field(default_factory=set)
    fenced: set[str] = field(default_factory=set)

    @property
    def jobs(self) -> list[str]:
        """The streams that are jobs."""
        return [stream for stream in self.streams if stream.startswith(JOB_PREFIX)]

    def take_in(self, append: Append) -> None:
        """Add what `append` touches; raises what a caller's own mistake raises, and then adds nothing."""
        drafts = [draft for batch in append.batches for draft in batch.drafts]
        event_ids = [draft.event_id for draft in drafts]
        commitments = [body.commitment for draft in drafts for body in draft.bodies]
        streams = {batch.stream for batch in append.batches}
        holds = {(hold.budget, hold.job_id) for hold in append.holds}
        self.fenced |= {append.fence.job_id} if append.fence else set()
        self.event_ids += event_ids
        self.commitments += commitments
        self.streams |= streams
        self.holds |= holds


@dataclass
class Present:
    """What is there: as read, and then with what the appends before in the same group add."""

    tree: Frontier
    events: dict[str, StoredRow] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    commitments: set[str] = field(default_factory=set)
    tokens: dict[str, int] = field(default_factory=dict)
    holds: dict[tuple[str, str], int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    limits: dict[str, bytes] = field(default_factory=dict)


def begin(db: Connection, keys: Keys) -> Present:
    """Begin the transaction of an append, lock the head and read what `keys` name."""
    with db.pipeline():
        begin_transaction(db)
        head = db.execute(f"{_HEAD} FOR UPDATE", binary=True)
        named = _ask(db, _NAMED, keys.event_ids, keys.streams, keys.jobs, keys.commitments)
        tokens = _ask(db, LIVE_TOKENS, keys.fenced)
        held = _ask(db, _HELD, {budget for budget, _ in keys.holds})
        holds = _ask(db, _HOLDS, *zip(*keys.holds, strict=True))
    present = Present(_frontier(head.fetchone()))
    for what, name, version, *stored in _rows(named):
        match what:
            case "event":
                present.events[name] = StoredRow(*stored)
            case "stream":
                present.versions[name] = version or 0
            case "job":
                present.jobs[name] = Job.from_canonical(stored[0])
            case _:
                present.commitments.add(name)
    present.tokens = dict(_rows(tokens))
    present.holds = {(budget, job_id): amount for budget, job_id, amount in _rows(holds)}
    for budget, amount, limit in _rows(held):
        present.held[budget] = int(amount or 0)
        if limit is not None:
            present.limits[budget] = limit
    return present


def read_head(db: Connection) -> Frontier:
    """Return the tree's right edge; `LedgerUnusable` if it cannot be one."""
    return _frontier(db.execute(_HEAD, binary=True).fetchone())


def lock_head(db: Connection) -> Frontier:
    """Return the tree's right edge, which stays where it is until the transaction that is open ends."""
    return _frontier(db.execute(f"{_HEAD} FOR UPDATE", binary=True).fetchone())


def _frontier(row: tuple[Any, ...] | None) -> Frontier:
    try:
        return Frontier.from_bytes(*row or ())
    except (TypeError, ValueError) as error:
        raise LedgerUnusable(
            f"the ledger's head is damaged ({error if row else 'it is gone'}): "
            "run `sora-ledger verify`, then restore a backup"
        ) from error


def _ask(db: Connection, query: str, *names: Collection[str]) -> psycopg.Cursor[tuple[Any, ...]] | None:
    """Send `query` about `names`; nothing to ask is no question."""
    if not any(names):
        return None
    return db.execute(query, [list(each) for each in names], binary=True)


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]] | None) -> Iterable[tuple[Any, ...]]:
    return cursor.fetchall() if cursor else []
