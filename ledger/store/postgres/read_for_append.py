"""Reading the rows an append is decided on, in one round trip under the lock of the head row.

`begin` opens the transaction and locks the head row FOR UPDATE before anything else. The transaction that
holds the lock is the only one appending, so positions are dense and in commit order. At READ COMMITTED each
statement after the lock sees everything committed before the lock was granted; under REPEATABLE READ the
snapshot would be as old as the wait.
"""

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import psycopg

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.record import StoredRow
from ledger.store.append import BudgetRow, Keys, Present
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
_BUDGETS = """
SELECT name,
    (SELECT SUM(reserved_usd_micros + settled_usd_micros) FROM holds WHERE budget = name),
    (SELECT payload FROM events WHERE stream = 'budget_' || name AND type = 'budget.set'
     ORDER BY version DESC LIMIT 1)
FROM unnest(%s::text[]) AS name
"""


def begin(db: Connection, keys: Keys) -> Present:
    """Begin the transaction of an append, lock the head and read the rows that `keys` name."""
    with db.pipeline():
        begin_transaction(db)
        head = db.execute(f"{_HEAD} FOR UPDATE", binary=True)
        named = _ask(db, _NAMED, keys.event_ids, keys.streams, keys.jobs, keys.commitments)
        tokens = _ask(db, LIVE_TOKENS, keys.fenced)
        budgets = _ask(db, _BUDGETS, keys.budgets)
    present = Present(_frontier(head.fetchone()), partial(_budget, db))
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
    present.budgets = {name: BudgetRow(int(held or 0), limit) for name, held, limit in _rows(budgets)}
    return present


def _budget(db: Connection, name: str) -> BudgetRow:
    """Read a budget that only a job row names, such as when a rejected job is submitted again."""
    ((_, held, limit),) = _rows(_ask(db, _BUDGETS, [name]))
    return BudgetRow(int(held or 0), limit)


def read_head(db: Connection) -> Frontier:
    """Return the tree's right edge; `LedgerUnusable` if it is damaged."""
    return _frontier(db.execute(_HEAD, binary=True).fetchone())


def lock_head(db: Connection) -> Frontier:
    """Return the tree's right edge, which stays where it is until the transaction that is open ends."""
    return _frontier(db.execute(f"{_HEAD} FOR UPDATE", binary=True).fetchone())


def _frontier(row: tuple[Any, ...] | None) -> Frontier:
    try:
        return Frontier.from_bytes(*row or ())
    except (TypeError, ValueError) as error:
        raise LedgerUnusable(
            f"the ledger's head is damaged ({error if row else 'it is missing'}): "
            "run `sora-ledger verify`, then restore a backup"
        ) from error


def _ask(db: Connection, query: str, *names: Collection[str]) -> psycopg.Cursor[tuple[Any, ...]] | None:
    """Send `query` with `names`, unless there are none."""
    if not any(names):
        return None
    return db.execute(query, [list(part) for part in names], binary=True)


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]] | None) -> Iterable[tuple[Any, ...]]:
    return cursor.fetchall() if cursor else []
