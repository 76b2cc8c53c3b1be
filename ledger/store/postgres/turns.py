"""Turns: what all workers together may ask of one model of a server, kept in the store they share.

Times are Unix milliseconds of the database's clock. `take_turn` runs in a transaction and locks the row of
its limit first, so of two that want the last slot one gets it.
"""

from collections.abc import Collection

from ledger.store.interface import SLOT_WAIT_MS, Limit
from ledger.store.postgres.connection import Connection
from ledger.store.postgres.work import NOW_MS

_LOCK = f"""
INSERT INTO turns (name, next_ms) VALUES (%s, 0)
ON CONFLICT (name) DO UPDATE SET next_ms = turns.next_ms RETURNING next_ms - {NOW_MS}
"""
_TAKEN = "SELECT COUNT(*) FROM slots WHERE name = %s AND job_id <> %s"
_SLOT = """
INSERT INTO slots (job_id, name) VALUES (%s, %s) ON CONFLICT (job_id) DO UPDATE SET name = EXCLUDED.name
"""
_NEXT = f"""
INSERT INTO turns (name, next_ms) VALUES (%s, {NOW_MS} + %s)
ON CONFLICT (name) DO UPDATE SET next_ms = GREATEST(turns.next_ms, EXCLUDED.next_ms)
"""


def take_turn(db: Connection, job_id: str, limit: Limit) -> int:
    """Take a turn and a slot for a job: 0, or the milliseconds after which to ask again."""
    (wait_ms,) = db.execute(_LOCK, (limit.name,)).fetchone() or (0,)
    if wait_ms > 0:
        return int(wait_ms)
    if limit.running is not None:
        (taken,) = db.execute(_TAKEN, (limit.name, job_id)).fetchone() or (0,)
        if taken >= limit.running:
            return SLOT_WAIT_MS
        db.execute(_SLOT, (job_id, limit.name))
    if limit.interval_ms:
        hold_back(db, limit.name, limit.interval_ms)
    return 0


def take_turn_alone(db: Connection, job_id: str, limit: Limit) -> int:
    """Take a turn in a transaction of its own."""
    with db.transaction():
        return take_turn(db, job_id, limit)


def give_back(db: Connection, job_ids: Collection[str]) -> None:
    """Free the slots of jobs that no longer run."""
    db.execute("DELETE FROM slots WHERE job_id = ANY(%s)", (sorted(job_ids),))


def hold_back(db: Connection, name: str, delay_ms: int) -> None:
    """Let nobody take a turn of `name` for a while; a longer while that was set before stays."""
    db.execute(_NEXT, (name, delay_ms))
