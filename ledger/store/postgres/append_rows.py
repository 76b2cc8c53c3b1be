"""The rows of an append: those it is decided on, those it writes, and those it removes permanently.

They are read in one round trip. `begin` opens the transaction and locks the head row FOR UPDATE before
anything else. The transaction that holds the lock is the only one appending, so positions are dense and in
commit order. At READ COMMITTED each statement after the lock sees everything committed before the lock was
granted; under REPEATABLE READ the snapshot would be as old as the wait.

Appends and imports write their changes in another: every row, the head and the COMMIT. A crash or a broken
connection at any line leaves the transaction uncommitted or committed as a whole: the server rolls back an
uncommitted one.

The remains of a deleted row in PostgreSQL's files are removed afterwards, as far as possible. The erasure is
already recorded by then. A crash in between leaves deleted rows in the server's files; repeating the command
that erased them, or VACUUM FULL, removes them.
"""

import re
import time
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import psycopg

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.record import StoredRow
from ledger.store.append import BudgetRow, Keys, Present
from ledger.store.postgres.connection import SCHEMA_VERSION, Connection, begin_transaction, refuse_newer
from ledger.store.postgres.queue import LIVE_TOKENS
from ledger.tree.merkle import Frontier

DEAD_ROWS = (
    "the server keeps deleted rows in its files until the tables are rewritten, which their owner does with: "
    "VACUUM FULL private_bodies, search"
)
STILL_VISIBLE = (
    "an older transaction still keeps the deleted rows in the server's files: end it and repeat the command"
)
BEHIND_POOLER = (
    "the server keeps deleted rows in its files until the table is rewritten, which needs a connection "
    "without a pooler: repeat the command with the URL of the PostgreSQL server itself (--ledger)"
)
LOCK_TIMEOUT = "3s"
"""While this waits for the table lock, every other user of the table waits as well."""

_WITH_TEXT = ("private_bodies", "search")
TRIES = 5
PAUSE_S = 0.2
ELSEWHERE = (
    "the server's write-ahead log, WAL archives, replicas' logs and dumps contain the text until they are "
    "recycled or expire"
)
_FILE = "SELECT pg_relation_filenode(%s)"


def rewrite_bodies(db: Connection) -> list[str]:
    """Rewrite the tables of bodies and their words, outside a transaction; say where text may remain."""
    if db.pooled:
        return [BEHIND_POOLER, ELSEWHERE]
    usual = db.execute("SELECT current_setting('lock_timeout')").fetchone()
    db.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
    try:
        left = [message for table in _WITH_TEXT for message in _rewrite(db, table)]
    finally:
        db.execute("SELECT set_config('lock_timeout', %s, false)", usual)
    return [*dict.fromkeys(left), ELSEWHERE]


def _rewrite(db: Connection, table: str) -> list[str]:
    for _ in range(TRIES):  # other transactions are usually short
        left = _try_to_rewrite(db, table)
        if left != [STILL_VISIBLE]:
            break
        time.sleep(PAUSE_S)
    return left


def _try_to_rewrite(db: Connection, table: str) -> list[str]:
    details: list[str] = []

    def collect(diagnostic: psycopg.errors.Diagnostic) -> None:
        details.append(diagnostic.message_detail or "")

    before = db.execute(_FILE, (table,)).fetchone()
    db.add_notice_handler(collect)
    try:
        db.execute(f"VACUUM (FULL, VERBOSE) {table}".encode())
    except psycopg.errors.InsufficientPrivilege:
        return [DEAD_ROWS]
    except psycopg.errors.LockNotAvailable:
        return [STILL_VISIBLE]
    finally:
        db.remove_notice_handler(collect)
    if db.execute(_FILE, (table,)).fetchone() == before:  # without the right, the server only warns
        return [DEAD_ROWS]
    return [STILL_VISIBLE] if _rows_remain(details) else []


def _rows_remain(details: list[str]) -> bool:
    """Return True if VACUUM reports dead rows it could not remove: their number comes first."""
    counts = [re.match(r"\d+", detail) for detail in details]
    return any(count and int(count[0]) for count in counts)


_HEAD = "SELECT size, frontier FROM head WHERE id = 1"
_LOCK = """
    SELECT size, frontier, xmin::text::bigint, (SELECT max(version) FROM sora_ledger_schema)
    FROM head WHERE id = 1 FOR UPDATE
"""
_REWRITE = "UPDATE head SET size = size WHERE id = 1 RETURNING size, frontier"
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


class Head(NamedTuple):
    """The head row: the tree's right edge, and the transaction that wrote the row.

    A transaction that rebuilds the job rows keeps the edge but rewrites the row, so a process's memory is
    valid only while both are the same.
    """

    edge: Frontier
    xid: int


def begin(db: Connection, keys: Keys, place: str) -> tuple[Present, Head]:
    """Begin the transaction of an append, lock the head and read the rows in `keys`.

    `LedgerUnusable` if a newer program has upgraded the ledger at `place` in the meantime.
    """
    with db.pipeline():
        begin_transaction(db)
        locked = db.execute(_LOCK, binary=True)
        named = _ask(db, _NAMED, keys.event_ids, keys.streams, keys.jobs, keys.commitments)
        tokens = _ask(db, LIVE_TOKENS, keys.fenced)
        budgets = _ask(db, _BUDGETS, keys.budgets)
    *edge, xid, schema = locked.fetchone() or (0, SCHEMA_VERSION)
    refuse_newer(schema, place)
    head = Head(_frontier(edge), xid)
    present = Present(head.edge.copy(), partial(_budget, db))
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
    return present, head


def _budget(db: Connection, name: str) -> BudgetRow:
    """Read a budget known only from a job row, for example when a rejected job is resubmitted."""
    ((_, held, limit),) = _rows(_ask(db, _BUDGETS, [name]))
    return BudgetRow(int(held or 0), limit)


def read_head(db: Connection) -> Frontier:
    """Return the tree's right edge; `LedgerUnusable` if it is damaged."""
    return _frontier(db.execute(_HEAD, binary=True).fetchone())


def lock_head(db: Connection) -> Frontier:
    """Return the tree's right edge, which does not move until the open transaction ends.

    The row is rewritten unchanged, so that no process decides from its earlier memory.

    The table is locked, not only its row: an append waits before its statement takes a snapshot, and so sees
    the rows that this transaction leaves. If it waited for the row, it would update rows that no longer
    exist.
    """
    db.execute("LOCK TABLE head IN EXCLUSIVE MODE")
    return _frontier(db.execute(_REWRITE, binary=True).fetchone())


def _frontier(row: Sequence[Any] | None) -> Frontier:
    try:
        return Frontier.from_bytes(*row or ())
    except (TypeError, ValueError) as error:
        raise LedgerUnusable(
            f"the ledger's head is damaged ({error if row else 'it is missing'}): "
            "run `sora-ledger verify`, then restore a backup",
            expected="an intact head of the ledger",
            found="a damaged one",
        ) from error


def _ask(db: Connection, query: str, *names: Collection[str]) -> psycopg.Cursor[tuple[Any, ...]] | None:
    """Send `query` with `names`, unless there are none."""
    if not any(names):
        return None
    return db.execute(query, [list(part) for part in names], binary=True)


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]] | None) -> Iterable[tuple[Any, ...]]:
    return cursor.fetchall() if cursor else []
