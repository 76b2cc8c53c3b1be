"""`WorkQueue` on SQLite: leases on due jobs, with fencing tokens that only grow; slots and rate limits.

Times are Unix milliseconds of the database's clock, so machines need not agree on theirs.

A claim sets ``due_at_ms`` to 0, which means that the job was not scheduled since. What is scheduled while a
lease is held is stored there (the earliest time) until the holder releases the lease, so a webhook that
arrives meanwhile is not lost. A worker that crashes leaves its lease behind; it expires at ``until_ms``, and
the next claim takes the job over with a higher token.
"""

import sqlite3
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from ledger.job import OVER
from ledger.store.queue import LONGEST_PAUSE_MS, SLOT_WAIT_MS, Depth, Lease, Limit, Pace, Release, lost
from ledger.terms import State

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
_CANCEL = f"""
UPDATE work SET due_at_ms = CASE WHEN holder IS NOT NULL AND until_ms >= {NOW_MS} THEN 0 END WHERE job_id = ?
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
_TOKEN = f"SELECT fence FROM work WHERE job_id = ? AND holder IS NOT NULL AND until_ms >= {NOW_MS}"
_RENEW = f"""
UPDATE work SET until_ms = {NOW_MS} + ? WHERE job_id = ? AND fence = ? AND holder = ? RETURNING until_ms
"""
_DUE = f"""
SELECT job_id FROM work WHERE due_at_ms <= {NOW_MS} AND (until_ms IS NULL OR until_ms < {NOW_MS})
ORDER BY due_at_ms, job_id LIMIT ?
"""
_WAIT_MS = f"SELECT next_ms - {NOW_MS} FROM turns WHERE name = ?"
_TAKEN = "SELECT COUNT(*) FROM slots WHERE name = ? AND job_id <> ?"
_PACES = f"""
SELECT name, (SELECT COUNT(*) FROM slots WHERE slots.name = names.name),
    MAX(COALESCE((SELECT next_ms FROM turns WHERE turns.name = names.name), 0) - {NOW_MS}, 0)
FROM (SELECT name FROM turns UNION SELECT name FROM slots) AS names ORDER BY name
"""
_NEXT = f"""
INSERT INTO turns (name, next_ms) VALUES (?, {NOW_MS} + ?)
ON CONFLICT (name) DO UPDATE SET next_ms = MAX(next_ms, excluded.next_ms)
"""

_BRING_FORWARD = f"""
UPDATE work SET due_at_ms = MIN(due_at_ms, {NOW_MS}), until_ms = MIN(until_ms, {NOW_MS} + ?1)
WHERE due_at_ms > {NOW_MS} OR until_ms > {NOW_MS} + ?1
"""
_END_PAUSES = f"UPDATE turns SET next_ms = MIN(next_ms, {NOW_MS} + ?)"

Connect = Callable[[], AbstractContextManager[sqlite3.Connection]]


class SqliteQueue:
    """The work queue in one ledger file: `writing` opens a transaction, `reading` lends a connection."""

    def __init__(self, writing: Connect, reading: Connect) -> None:
        self._writing = writing
        self._reading = reading

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now."""
        with self._writing() as db:
            db.execute(_SCHEDULE, (job_id, delay_ms))

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now; a job that was due earlier keeps its time."""
        with self._writing() as db:
            db.executemany(_WAKE, [(job_id,) for job_id in job_ids])

    def cancel(self, job_id: str) -> None:
        """Make a job due no more; a live lease on it stays."""
        with self._writing() as db:
            db.execute(_CANCEL, (job_id,))

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Claim due jobs without a live lease, oldest first."""
        leases = []
        with self._writing() as db:
            for (job_id,) in db.execute(_DUE, (limit,)).fetchall():
                token, until_ms = db.execute(_CLAIM, (holder, lease_ms, job_id)).fetchone()
                leases.append(Lease(job_id, holder, token, until_ms))
        return leases

    def enqueue_stale(self, states: Collection[State], before: str) -> int:
        """Make due the jobs in one of `states` that are older than `before` and not scheduled."""
        query = (
            f"INSERT INTO work (job_id, due_at_ms) SELECT job_id, {NOW_MS} FROM jobs "
            f"WHERE state IN ({','.join('?' * len(states))}) AND job_id < ? ON CONFLICT (job_id) DO UPDATE "
            "SET due_at_ms = excluded.due_at_ms WHERE due_at_ms IS NULL AND holder IS NULL"
        )
        with self._writing() as db:
            return db.execute(query, (*(state.value for state in states), before)).rowcount

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease, or raise `StaleFence`."""
        with self._writing() as db:
            row = db.execute(_RENEW, (lease_ms, lease.job_id, lease.token, lease.holder)).fetchone()
        if row is None:
            raise lost(lease)
        return lease._replace(until_ms=row[0])

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend the live leases of a holder and return them."""
        with self._writing() as db:
            return [Lease(*row) for row in db.execute(_KEEP, (lease_ms, holder)).fetchall()]

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Give a lease back, or raise `StaleFence`."""
        if self.release_all([Release(lease, delay_ms)]):
            raise lost(lease)

    def release_all(self, releases: Collection[Release]) -> list[Lease]:
        """Give leases back; return those that were lost."""
        with self._writing() as db:
            return [lease for lease, delay_ms in releases if not _release(db, lease, delay_ms)]

    def depth(self) -> Depth:
        """Return how many jobs wait and are worked on."""
        with self._reading() as db:
            return Depth(*counts(db))

    def leases(self) -> list[Lease]:
        """Return the live leases."""
        with self._reading() as db:
            return [Lease(*row) for row in db.execute(_LEASES)]

    def paces(self) -> list[Pace]:
        """Return what the limits allow now."""
        with self._reading() as db:
            return [Pace(*row) for row in db.execute(_PACES)]

    def acquire_slot(self, job_id: str, limit: Limit) -> int:
        """Acquire a request and a slot: 0, or the milliseconds after which to try again."""
        with self._writing() as db:
            row = db.execute(_WAIT_MS, (limit.name,)).fetchone()
            if row is not None and row[0] > 0:
                return int(row[0])
            if limit.running is not None:
                (taken,) = db.execute(_TAKEN, (limit.name, job_id)).fetchone()
                if taken >= limit.running:
                    return SLOT_WAIT_MS
                db.execute("INSERT OR REPLACE INTO slots (job_id, name) VALUES (?, ?)", (job_id, limit.name))
            if limit.interval_ms:
                db.execute(_NEXT, (limit.name, limit.interval_ms))
        return 0

    def release_slots(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs."""
        with self._writing() as db:
            db.executemany("DELETE FROM slots WHERE job_id = ?", [(job_id,) for job_id in job_ids])

    def back_off(self, name: str, delay_ms: int) -> None:
        """Delay the next request under the limit `name`; a longer delay set before stays."""
        with self._writing() as db:
            db.execute(_NEXT, (name, delay_ms))

    def bring_forward(self, lease_ms: int) -> None:
        """Correct times that are too late because the clock was set back."""
        with self._writing() as db:
            db.execute(_BRING_FORWARD, (lease_ms,))
            db.execute(_END_PAUSES, (LONGEST_PAUSE_MS,))


def _release(db: sqlite3.Connection, lease: Lease, delay_ms: int | None) -> bool:
    return bool(db.execute(_RELEASE, (delay_ms, lease.job_id, lease.token, lease.holder)).rowcount)


def now(db: sqlite3.Connection) -> datetime:
    """Return the time by the database's clock."""
    row: tuple[int] = db.execute(f"SELECT {NOW_MS}").fetchone()
    return datetime.fromtimestamp(row[0] / 1000, UTC)


def current_token(db: sqlite3.Connection, job_id: str) -> int | None:
    """Return the token of the live lease on a job; None if there is none."""
    row = db.execute(_TOKEN, (job_id,)).fetchone()
    return row[0] if row else None


def counts(db: sqlite3.Connection) -> tuple[int, int, int, int]:
    """Return how many jobs are due, due later and leased, and for how many milliseconds the oldest is due."""
    row: tuple[int, int, int, int] = db.execute(_QUEUE).fetchone()
    return row
