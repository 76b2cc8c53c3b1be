"""Leases on due jobs: who works on what until when, with a fencing token that only ever grows.

Times are Unix milliseconds of the database's clock, so machines need not agree on theirs.

A claim sets ``due_at_ms`` to 0: nobody has asked for the job since. What is asked for while the lease is
held is kept there, the earliest, until the holder releases; so a webhook that came meanwhile is not lost.
"""

import sqlite3
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from ledger.errors import StaleFence
from ledger.job import OVER
from ledger.store.interface import SLOT_WAIT_MS, Lease, Limit

NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

_SCHEDULE = f"""
INSERT INTO work (job_id, due_at_ms) VALUES (?, {NOW_MS} + ?)
ON CONFLICT (job_id) DO UPDATE SET due_at_ms =
    CASE WHEN holder IS NOT NULL AND due_at_ms > 0 THEN MIN(due_at_ms, excluded.due_at_ms)
         ELSE excluded.due_at_ms END
"""
_WAKE = f"""
INSERT INTO work (job_id, due_at_ms) VALUES (?, {NOW_MS})
ON CONFLICT (job_id) DO UPDATE SET due_at_ms =
    MIN(excluded.due_at_ms, COALESCE(NULLIF(due_at_ms, 0), excluded.due_at_ms))
"""
_CLAIM = f"""
UPDATE work SET holder = ?, fence = fence + 1, until_ms = {NOW_MS} + ?, due_at_ms = 0
WHERE job_id = ? RETURNING fence, until_ms
"""
_KEEP = f"""
UPDATE work SET until_ms = {NOW_MS} + ? WHERE holder = ? AND until_ms >= {NOW_MS}
RETURNING job_id, holder, fence, until_ms
"""
_LEASES = f"""
SELECT job_id, holder, fence, until_ms FROM work WHERE holder IS NOT NULL AND until_ms >= {NOW_MS}
ORDER BY until_ms, job_id
"""
_RELEASE = f"""
UPDATE work SET holder = NULL, until_ms = NULL,
    due_at_ms = (SELECT MIN(time) FROM (SELECT {NOW_MS} + ? AS time UNION ALL SELECT NULLIF(due_at_ms, 0)))
WHERE job_id = ? AND fence = ? AND holder = ?
"""
_QUEUE = f"""
SELECT COALESCE(SUM(NOT held AND due_at_ms <= now), 0), COALESCE(SUM(NOT held AND due_at_ms > now), 0),
    COALESCE(SUM(held), 0), COALESCE(MAX(CASE WHEN NOT held THEN MAX(now - since_ms, 0) END), 0)
FROM (SELECT due_at_ms, now, holder IS NOT NULL AND until_ms >= now AS held,
          COALESCE(NULLIF(due_at_ms, 0), until_ms) AS since_ms
      FROM work, (SELECT {NOW_MS} AS now) WHERE (due_at_ms IS NOT NULL OR holder IS NOT NULL) AND NOT EXISTS
          (SELECT 1 FROM jobs WHERE jobs.job_id = work.job_id AND state IN {OVER}))
"""


def now(db: sqlite3.Connection) -> datetime:
    """Return the time."""
    row: tuple[int] = db.execute(f"SELECT {NOW_MS}").fetchone()
    return datetime.fromtimestamp(row[0] / 1000, UTC)


def schedule(db: sqlite3.Connection, job_id: str, delay_ms: int) -> None:
    """Make a job due; a lease that is held stays held, and its holder's release does not undo this."""
    db.execute(_SCHEDULE, (job_id, delay_ms))


def wake(db: sqlite3.Connection, job_ids: Iterable[str]) -> None:
    """Make jobs due now; what was due before stays so."""
    db.executemany(_WAKE, [(job_id,) for job_id in job_ids])


def claim(db: sqlite3.Connection, holder: str, lease_ms: int, limit: int) -> list[Lease]:
    """Take due jobs without a live lease, oldest first; runs in a transaction that is already writing."""
    due = db.execute(
        f"SELECT job_id FROM work WHERE due_at_ms <= {NOW_MS} "
        f"AND (until_ms IS NULL OR until_ms < {NOW_MS}) ORDER BY due_at_ms, job_id LIMIT ?",
        (limit,),
    ).fetchall()
    leases = []
    for (job_id,) in due:
        token, until_ms = db.execute(_CLAIM, (holder, lease_ms, job_id)).fetchone()
        leases.append(Lease(job_id, holder, token, until_ms))
    return leases


def enqueue_stale(db: sqlite3.Connection, states: Collection[str], before: str) -> int:
    """Make due what is in one of `states`, older than `before` and in nobody's schedule."""
    marks = ",".join("?" * len(states))
    return db.execute(
        f"INSERT INTO work (job_id, due_at_ms) SELECT job_id, {NOW_MS} FROM jobs "
        f"WHERE state IN ({marks}) AND job_id < ? ON CONFLICT (job_id) DO UPDATE "
        "SET due_at_ms = excluded.due_at_ms WHERE due_at_ms IS NULL AND holder IS NULL",
        (*states, before),
    ).rowcount


def keep(db: sqlite3.Connection, holder: str, lease_ms: int) -> list[Lease]:
    """Extend the live leases of a holder."""
    return [Lease(*row) for row in db.execute(_KEEP, (lease_ms, holder)).fetchall()]


def leases(db: sqlite3.Connection) -> list[Lease]:
    """Return the live leases."""
    return [Lease(*row) for row in db.execute(_LEASES)]


def current_token(db: sqlite3.Connection, job_id: str) -> int | None:
    """Return the token of the live lease on a job; None if nobody holds one."""
    row = db.execute(
        f"SELECT fence FROM work WHERE job_id = ? AND holder IS NOT NULL AND until_ms >= {NOW_MS}", (job_id,)
    ).fetchone()
    return row[0] if row else None


def renew(db: sqlite3.Connection, lease: Lease, lease_ms: int) -> Lease:
    """Extend a lease, or `StaleFence`."""
    row = db.execute(
        f"UPDATE work SET until_ms = {NOW_MS} + ? WHERE job_id = ? AND fence = ? AND holder = ? "
        "RETURNING until_ms",
        (lease_ms, lease.job_id, lease.token, lease.holder),
    ).fetchone()
    if row is None:
        raise _lost(lease)
    return lease._replace(until_ms=row[0])


def release(db: sqlite3.Connection, lease: Lease, delay_ms: int | None) -> None:
    """Give a lease back, due after `delay_ms` or (None) never, sooner if asked for; `StaleFence` if lost."""
    done = db.execute(_RELEASE, (delay_ms, lease.job_id, lease.token, lease.holder))
    if done.rowcount == 0:
        raise _lost(lease)


def queue(db: sqlite3.Connection) -> tuple[int, int, int, int]:
    """Return how many jobs are due, due later and leased, and for how many milliseconds the oldest is due."""
    row: tuple[int, int, int, int] = db.execute(_QUEUE).fetchone()
    return row


def _lost(lease: Lease) -> StaleFence:
    return StaleFence(f"{lease.job_id}: the lease with fence {lease.token} was lost to another holder")


_WAIT_MS = f"SELECT next_ms - {NOW_MS} FROM turns WHERE name = ?"
_TAKEN = "SELECT COUNT(*) FROM slots WHERE name = ? AND job_id <> ?"
_NEXT = f"""
INSERT INTO turns (name, next_ms) VALUES (?, {NOW_MS} + ?)
ON CONFLICT (name) DO UPDATE SET next_ms = MAX(next_ms, excluded.next_ms)
"""


def acquire_slot(db: sqlite3.Connection, job_id: str, limit: Limit) -> int:
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
        back_off(db, limit.name, limit.interval_ms)
    return 0


def release_slots(db: sqlite3.Connection, job_ids: Iterable[str]) -> None:
    """Free the slots of jobs that no longer run."""
    db.executemany("DELETE FROM slots WHERE job_id = ?", [(job_id,) for job_id in job_ids])


def back_off(db: sqlite3.Connection, name: str, delay_ms: int) -> None:
    """Let nobody take a turn of `name` for a while; a longer while that was set before stays."""
    db.execute(_NEXT, (name, delay_ms))
