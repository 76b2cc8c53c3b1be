"""Leases on due jobs: who works on what until when, with a fencing token that only ever grows.

Times are Unix milliseconds of the database's clock, so machines need not agree on theirs. Each function
is one statement, and so one transaction. Whatever waits for several rows takes them in the order of their
ids: appends, renewals and webhooks that want the same ones must not block each other.

A claim sets ``due_at_ms`` to 0: nobody has asked for the job since. What is asked for while the lease is
held is kept there, the earliest, until the holder releases; so a webhook that came meanwhile is not lost.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from ledger.errors import StaleFence
from ledger.job import OVER
from ledger.store.interface import SLOT_WAIT_MS, Lease, Limit
from ledger.store.postgres.connection import Connection

NOW_MS = "(SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"

LIVE_TOKENS = f"""
SELECT job_id, fence FROM work
WHERE job_id = ANY(%s) AND holder IS NOT NULL AND until_ms >= {NOW_MS}
ORDER BY job_id FOR SHARE OF work
"""
"""The tokens of live leases; nobody takes one of them over before the append that asks has ended."""

_SCHEDULE = f"""
INSERT INTO work (job_id, due_at_ms) VALUES (%s, {NOW_MS} + %s)
ON CONFLICT (job_id) DO UPDATE SET due_at_ms =
    LEAST(EXCLUDED.due_at_ms, CASE WHEN work.holder IS NOT NULL THEN NULLIF(work.due_at_ms, 0) END)
"""
_WAKE = f"""
INSERT INTO work (job_id, due_at_ms) SELECT name, {NOW_MS} FROM unnest(%s::text[]) AS name
ON CONFLICT (job_id) DO UPDATE SET due_at_ms = LEAST(EXCLUDED.due_at_ms, NULLIF(work.due_at_ms, 0))
"""
_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT job_id, due_at_ms FROM work
    WHERE due_at_ms <= {NOW_MS} AND (until_ms IS NULL OR until_ms < {NOW_MS})
    ORDER BY due_at_ms, job_id LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE work SET holder = %s, fence = fence + 1, until_ms = {NOW_MS} + %s, due_at_ms = 0 FROM due
WHERE work.job_id = due.job_id
RETURNING due.due_at_ms, work.job_id, fence, until_ms
"""
_RENEW = f"""
UPDATE work SET until_ms = {NOW_MS} + %s WHERE job_id = %s AND fence = %s AND holder = %s
RETURNING until_ms
"""
_KEEP = f"""
WITH mine AS MATERIALIZED (SELECT job_id FROM work WHERE holder = %s), held AS MATERIALIZED (
    SELECT job_id FROM work JOIN mine USING (job_id)
    WHERE holder = %s AND until_ms >= {NOW_MS} ORDER BY job_id FOR UPDATE OF work
)
UPDATE work SET until_ms = {NOW_MS} + %s FROM held WHERE work.job_id = held.job_id
RETURNING work.job_id, holder, fence, until_ms
"""
"""Found first, then locked: in one, the order would be that of an index over all jobs there ever were."""

_LEASES = f"""
SELECT job_id, holder, fence, until_ms FROM work WHERE holder IS NOT NULL AND until_ms >= {NOW_MS}
ORDER BY until_ms, job_id
"""
_ENLIST = f"""
WITH wanted AS MATERIALIZED (SELECT job_id FROM jobs WHERE state = ANY(%s) AND job_id < %s)
INSERT INTO work (job_id, due_at_ms) SELECT job_id, {NOW_MS} FROM wanted
ORDER BY job_id ON CONFLICT (job_id) DO UPDATE
SET due_at_ms = EXCLUDED.due_at_ms WHERE work.due_at_ms IS NULL AND work.holder IS NULL
"""
_RELEASE = f"""
UPDATE work SET holder = NULL, until_ms = NULL,
    due_at_ms = LEAST({NOW_MS} + %s::bigint, NULLIF(due_at_ms, 0))
WHERE job_id = %s AND fence = %s AND holder = %s
"""

_QUEUE = f"""
WITH at AS (SELECT {NOW_MS} AS now), queue AS (
    SELECT due_at_ms, now, holder IS NOT NULL AND until_ms >= now AS held,
        COALESCE(NULLIF(due_at_ms, 0), until_ms) AS since_ms
    FROM work, at WHERE (due_at_ms IS NOT NULL OR holder IS NOT NULL) AND NOT EXISTS
        (SELECT 1 FROM jobs WHERE jobs.job_id = work.job_id AND state IN {OVER})
)
SELECT COUNT(*) FILTER (WHERE NOT held AND due_at_ms <= now),
    COUNT(*) FILTER (WHERE NOT held AND due_at_ms > now),
    COUNT(*) FILTER (WHERE held), COALESCE(MAX(GREATEST(now - since_ms, 0)) FILTER (WHERE NOT held), 0)
FROM queue
"""


def now(db: Connection) -> datetime:
    """Return the time."""
    (now_ms,) = db.execute(f"SELECT {NOW_MS}").fetchone() or (0,)
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def schedule(db: Connection, job_id: str, delay_ms: int) -> None:
    """Make a job due; a lease that is held stays held, and its holder's release does not undo this."""
    db.execute(_SCHEDULE, (job_id, delay_ms))


def wake(db: Connection, job_ids: Collection[str]) -> None:
    """Make jobs due now; what was due before stays so."""
    db.execute(_WAKE, (sorted(job_ids),))


def claim(db: Connection, holder: str, lease_ms: int, limit: int) -> list[Lease]:
    """Take due jobs without a live lease, oldest first; what another is claiming just now is skipped."""
    rows = db.execute(_CLAIM, (limit, holder, lease_ms)).fetchall()
    return [Lease(job_id, holder, token, until_ms) for _, job_id, token, until_ms in sorted(rows)]


def enqueue_stale(db: Connection, states: Collection[str], before: str) -> int:
    """Make due what is in one of `states`, older than `before` and in nobody's schedule."""
    return db.execute(_ENLIST, (list(states), before)).rowcount


def keep(db: Connection, holder: str, lease_ms: int) -> list[Lease]:
    """Extend the live leases of a holder."""
    return [Lease(*row) for row in db.execute(_KEEP, (holder, holder, lease_ms)).fetchall()]


def leases(db: Connection) -> list[Lease]:
    """Return the live leases."""
    return [Lease(*row) for row in db.execute(_LEASES).fetchall()]


def renew(db: Connection, lease: Lease, lease_ms: int) -> Lease:
    """Extend a lease, or `StaleFence`."""
    row = db.execute(_RENEW, (lease_ms, lease.job_id, lease.token, lease.holder)).fetchone()
    if row is None:
        raise _lost(lease)
    return lease._replace(until_ms=row[0])


def release(db: Connection, lease: Lease, delay_ms: int | None) -> None:
    """Give a lease back, due after `delay_ms` or (None) never, sooner if asked for; `StaleFence` if lost."""
    if db.execute(_RELEASE, (delay_ms, lease.job_id, lease.token, lease.holder)).rowcount == 0:
        raise _lost(lease)


def queue(db: Connection) -> tuple[int, int, int, int]:
    """Return how many jobs are due, due later and leased, and for how many milliseconds the oldest is due."""
    due, waiting, leased, overdue_ms = db.execute(_QUEUE).fetchone() or (0, 0, 0, 0)
    return due, waiting, leased, overdue_ms


def _lost(lease: Lease) -> StaleFence:
    return StaleFence(f"{lease.job_id}: the lease with fence {lease.token} was lost to another holder")


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


def acquire_slot(db: Connection, job_id: str, limit: Limit) -> int:
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
        back_off(db, limit.name, limit.interval_ms)
    return 0


def acquire_slot_alone(db: Connection, job_id: str, limit: Limit) -> int:
    """Take a turn in a transaction of its own."""
    with db.transaction():
        return acquire_slot(db, job_id, limit)


def release_slots(db: Connection, job_ids: Collection[str]) -> None:
    """Free the slots of jobs that no longer run."""
    db.execute("DELETE FROM slots WHERE job_id = ANY(%s)", (sorted(job_ids),))


def back_off(db: Connection, name: str, delay_ms: int) -> None:
    """Let nobody take a turn of `name` for a while; a longer while that was set before stays."""
    db.execute(_NEXT, (name, delay_ms))
