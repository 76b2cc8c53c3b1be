"""Turns: what all workers together may ask of one model of a server, kept in the store they share.

Times are Unix milliseconds of the database's clock. Each function runs in a transaction that is already
writing, so of two that want the last slot one gets it.
"""

import sqlite3
from collections.abc import Iterable

from ledger.store.interface import SLOT_WAIT_MS, Limit
from ledger.store.sqlite.work import NOW_MS

_WAIT_MS = f"SELECT next_ms - {NOW_MS} FROM turns WHERE name = ?"
_TAKEN = "SELECT COUNT(*) FROM slots WHERE name = ? AND job_id <> ?"
_NEXT = f"""
INSERT INTO turns (name, next_ms) VALUES (?, {NOW_MS} + ?)
ON CONFLICT (name) DO UPDATE SET next_ms = MAX(next_ms, excluded.next_ms)
"""


def take_turn(db: sqlite3.Connection, job_id: str, limit: Limit) -> int:
    """Take a turn and a slot for a job: 0, or the milliseconds after which to ask again."""
    row = db.execute(_WAIT_MS, (limit.name,)).fetchone()
    if row is not None and row[0] > 0:
        return int(row[0])
    if limit.running is not None:
        (taken,) = db.execute(_TAKEN, (limit.name, job_id)).fetchone()
        if taken >= limit.running:
            return SLOT_WAIT_MS
        db.execute("INSERT OR REPLACE INTO slots (job_id, name) VALUES (?, ?)", (job_id, limit.name))
    if limit.interval_ms:
        hold_back(db, limit.name, limit.interval_ms)
    return 0


def give_back(db: sqlite3.Connection, job_ids: Iterable[str]) -> None:
    """Free the slots of jobs that no longer run."""
    db.executemany("DELETE FROM slots WHERE job_id = ?", [(job_id,) for job_id in job_ids])


def hold_back(db: sqlite3.Connection, name: str, delay_ms: int) -> None:
    """Let nobody take a turn of `name` for a while; a longer while that was set before stays."""
    db.execute(_NEXT, (name, delay_ms))
