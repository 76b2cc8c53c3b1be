"""Reading the rows an append is decided on; runs after BEGIN IMMEDIATE, so nobody else appends meanwhile.

Most appends are of one event, so every query exists for one name and for many names at once.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.record import StoredRow
from ledger.store.append import BudgetRow, Keys, Present
from ledger.store.sqlite.queue import current_token
from ledger.tree.merkle import Frontier

_EVENTS = (
    "SELECT event_id, record, payload, leaf FROM events WHERE event_id = ?",
    "SELECT event_id, record, payload, leaf FROM json_each(?) CROSS JOIN events ON event_id = value",
)
_VERSIONS = (
    "SELECT ?1, COALESCE(MAX(version), 0) FROM events WHERE stream = ?1",
    "SELECT value, (SELECT COALESCE(MAX(version), 0) FROM events WHERE stream = value) FROM json_each(?)",
)
_JOBS = (
    "SELECT job_id, body FROM jobs WHERE job_id = ?",
    "SELECT job_id, body FROM json_each(?) CROSS JOIN jobs ON job_id = value",
)
_BODIES = (
    "SELECT commitment FROM private_bodies WHERE commitment = ?",
    "SELECT commitment FROM json_each(?) CROSS JOIN private_bodies ON commitment = value",
)
_HELD = "SELECT COALESCE(SUM(reserved_usd_micros + settled_usd_micros), 0) FROM holds WHERE budget = ?"
_LIMIT = "SELECT payload FROM events WHERE stream = ? AND type = 'budget.set' ORDER BY version DESC LIMIT 1"


def read(db: sqlite3.Connection, keys: Keys) -> Present:
    """Return the rows that `keys` name, and the tree's right edge."""
    present = Present(read_head(db), partial(_budget, db))
    present.events = {name: StoredRow(*row) for name, *row in _select(db, _EVENTS, keys.event_ids)}
    present.versions = dict(_select(db, _VERSIONS, keys.streams))
    begun = [job_id for job_id in keys.jobs if present.versions[job_id]]  # a new stream has no job row
    present.jobs = {job_id: Job.from_canonical(body) for job_id, body in _select(db, _JOBS, begun)}
    present.commitments = {name for (name,) in _select(db, _BODIES, keys.commitments)}
    for job_id in keys.fenced:
        token = current_token(db, job_id)
        if token is not None:
            present.tokens[job_id] = token
    return present


def _select(
    db: sqlite3.Connection, queries: tuple[str, str], names: Collection[str]
) -> Iterable[tuple[Any, ...]]:
    if not names:
        return ()
    of_one, of_many = queries
    if len(names) == 1:
        return db.execute(of_one, tuple(names))
    return db.execute(of_many, (json.dumps(list(names)),))


def _budget(db: sqlite3.Connection, name: str) -> BudgetRow:
    (held,) = db.execute(_HELD, (name,)).fetchone()
    limit = db.execute(_LIMIT, (f"budget_{name}",)).fetchone()
    return BudgetRow(held, limit[0] if limit else None)


def read_head(db: sqlite3.Connection) -> Frontier:
    """Return the tree's right edge; `LedgerUnusable` if it is damaged."""
    row = db.execute("SELECT size, frontier FROM head WHERE id = 1").fetchone()
    try:
        return Frontier.from_bytes(*row)
    except (TypeError, ValueError, AttributeError) as error:
        raise LedgerUnusable(
            f"the ledger's head is damaged ({error if row else 'it is missing'}): "
            "run `sora-ledger verify`, then restore a backup"
        ) from error
