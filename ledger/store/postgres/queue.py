"""`WorkQueue` on PostgreSQL: leases on due jobs, with fencing tokens that only grow; slots and rate limits.

Times are Unix milliseconds of the database's clock, so machines need not agree on theirs. Each method is one
statement, and so one transaction, except `acquire_slot`. A statement that locks several rows takes them in
the order of their ids: appends, renewals and webhooks that want the same rows must not deadlock.

A claim sets ``due_at_ms`` to 0: not scheduled since. If a job is scheduled while its lease is held, the
earliest time is stored there until the holder releases the lease, so a webhook that arrives meanwhile is not
lost. A worker that crashes leaves its lease behind; it expires at ``until_ms``, and the next claim takes the
job over with a higher token.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from ledger.job import OVER
from ledger.store.outbox import NOTIFICATIONS, Delivery, NewDelivery, OutboxTally, Reader, Turn
from ledger.store.postgres.connection import Connection
from ledger.store.queue import LONGEST_PAUSE_MS, SLOT_WAIT_MS, Depth, Lease, Limit, Pace, Release, lost
from ledger.terms import State

NOW_MS = "(SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"

LIVE_TOKENS = f"""
SELECT job_id, fence FROM work
WHERE job_id = ANY(%s) AND holder IS NOT NULL AND until_ms >= {NOW_MS}
ORDER BY job_id FOR SHARE OF work
"""
"""The tokens of live leases, locked: no other worker takes one over before the append has ended."""

_SCHEDULE = f"""
INSERT INTO work (job_id, due_at_ms) VALUES (%s, {NOW_MS} + %s)
ON CONFLICT (job_id) DO UPDATE SET due_at_ms =
    LEAST(EXCLUDED.due_at_ms, CASE WHEN work.holder IS NOT NULL THEN NULLIF(work.due_at_ms, 0) END)
"""
_WAKE = f"""
INSERT INTO work (job_id, due_at_ms) SELECT name, {NOW_MS} FROM unnest(%s::text[]) AS name
ON CONFLICT (job_id) DO UPDATE SET due_at_ms = LEAST(EXCLUDED.due_at_ms, NULLIF(work.due_at_ms, 0))
"""
_HASTEN = f"""
WITH late AS MATERIALIZED (
    SELECT job_id FROM work WHERE job_id = ANY(%s) AND due_at_ms > {NOW_MS} ORDER BY job_id FOR UPDATE
)
UPDATE work SET due_at_ms = {NOW_MS} FROM late WHERE work.job_id = late.job_id
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
"""Find first, then lock: a single statement would follow an index order over every job ever made."""

_CANCEL = f"""
UPDATE work SET due_at_ms = CASE WHEN holder IS NOT NULL AND until_ms >= {NOW_MS} THEN 0 END WHERE job_id = %s
"""
_LEASES = f"""
SELECT job_id, holder, fence, until_ms FROM work WHERE holder IS NOT NULL AND until_ms >= {NOW_MS}
ORDER BY until_ms, job_id
"""
_ENQUEUE_STALE = f"""
WITH wanted AS MATERIALIZED (SELECT job_id FROM jobs WHERE state = ANY(%s) AND job_id < %s)
INSERT INTO work (job_id, due_at_ms) SELECT job_id, {NOW_MS} FROM wanted
ORDER BY job_id ON CONFLICT (job_id) DO UPDATE
SET due_at_ms = EXCLUDED.due_at_ms WHERE work.due_at_ms IS NULL AND work.holder IS NULL
"""
_RELEASE = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])
    AS given (job_id, holder, fence, delay_ms)
), held AS MATERIALIZED (
    SELECT job_id, delay_ms FROM work JOIN given USING (job_id, holder, fence)
    ORDER BY job_id FOR UPDATE OF work
), freed AS (
    DELETE FROM slots USING held WHERE slots.job_id = held.job_id AND held.delay_ms IS NULL
)
UPDATE work SET holder = NULL, until_ms = NULL,
    due_at_ms = LEAST({NOW_MS} + held.delay_ms, NULLIF(work.due_at_ms, 0))
FROM held WHERE work.job_id = held.job_id
RETURNING work.job_id
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
_LOCK = f"""
INSERT INTO turns (name, next_ms) VALUES (%s, 0)
ON CONFLICT (name) DO UPDATE SET next_ms = turns.next_ms RETURNING next_ms - {NOW_MS}
"""
_PAUSE = f"SELECT next_ms - {NOW_MS} FROM turns WHERE name = %s"
_TAKEN = "SELECT COUNT(*) FROM slots WHERE name = %s AND job_id <> %s"
_SLOT = """
INSERT INTO slots (job_id, name) VALUES (%s, %s) ON CONFLICT (job_id) DO UPDATE SET name = EXCLUDED.name
"""
_BRING_FORWARD = f"""
WITH late AS (
    SELECT job_id FROM work WHERE due_at_ms > {NOW_MS} OR until_ms > {NOW_MS} + %s
    ORDER BY job_id FOR UPDATE
)
UPDATE work SET due_at_ms = CASE WHEN work.due_at_ms > {NOW_MS} THEN {NOW_MS} ELSE work.due_at_ms END,
    until_ms = CASE WHEN until_ms IS NOT NULL THEN LEAST(until_ms, {NOW_MS} + %s) END
FROM late WHERE work.job_id = late.job_id
"""
_END_PAUSES = f"UPDATE turns SET next_ms = LEAST(next_ms, {NOW_MS} + %s)"
_PACES = f"""
SELECT name, (SELECT COUNT(*) FROM slots WHERE slots.name = names.name),
    GREATEST(COALESCE((SELECT next_ms FROM turns WHERE turns.name = names.name), 0) - {NOW_MS}, 0)
FROM (SELECT name FROM turns UNION SELECT name FROM slots) AS names ORDER BY name
"""
_NEXT = f"""
INSERT INTO turns (name, next_ms) VALUES (%s, {NOW_MS} + %s)
ON CONFLICT (name) DO UPDATE SET next_ms = GREATEST(turns.next_ms, EXCLUDED.next_ms)
"""

Found = TypeVar("Found")


class Run(Protocol):
    """Runs a function on a connection, and again on another one if the first connection breaks."""

    def __call__(self, use: Callable[[Connection], Found], /) -> Found:
        """Return the result of `use`."""


class PostgresQueue:
    """The work queue in one database: `change` and `ask` run functions that write and read."""

    def __init__(self, change: Run, ask: Run) -> None:
        self._change = change
        self._ask = ask

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now."""
        self._change(lambda db: db.execute(_SCHEDULE, (job_id, delay_ms)))

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now; a job that was due earlier keeps its time."""
        self._change(lambda db: db.execute(_WAKE, (sorted(job_ids),)))

    def hasten(self, job_ids: Collection[str]) -> None:
        """Make due now the jobs that are due later."""
        self._change(lambda db: db.execute(_HASTEN, (sorted(job_ids),)))

    def cancel(self, job_id: str) -> None:
        """Remove a job's schedule; a live lease on it stays."""
        self._change(lambda db: db.execute(_CANCEL, (job_id,)))

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Claim due jobs without a live lease, oldest first; skip what another worker is claiming now."""
        rows = self._change(lambda db: db.execute(_CLAIM, (limit, holder, lease_ms)).fetchall())
        return [Lease(job_id, holder, token, until_ms) for _, job_id, token, until_ms in sorted(rows)]

    def enqueue_stale(self, states: Collection[State], before: str) -> int:
        """Make due the jobs in one of `states` that are older than `before` and not scheduled."""
        values = [state.value for state in states]
        return self._change(lambda db: db.execute(_ENQUEUE_STALE, (values, before)).rowcount)

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease, or raise `StaleFence`."""
        values = (lease_ms, lease.job_id, lease.token, lease.holder)
        row = self._change(lambda db: db.execute(_RENEW, values).fetchone())
        if row is None:
            raise lost(lease)
        return lease._replace(until_ms=row[0])

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend the live leases of a holder and return them."""
        rows = self._change(lambda db: db.execute(_KEEP, (holder, holder, lease_ms)).fetchall())
        return [Lease(*row) for row in rows]

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Give a lease back, or raise `StaleFence`."""
        if self.release_all([Release(lease, delay_ms)]):
            raise lost(lease)

    def release_all(self, releases: Collection[Release]) -> list[Lease]:
        """Give leases back; return those that were lost."""
        releases_by_lease = [
            (lease.job_id, lease.holder, lease.token, delay_ms) for lease, delay_ms in releases
        ]
        columns = [list(column) for column in zip(*releases_by_lease, strict=True)]
        rows = self._change(lambda db: db.execute(_RELEASE, columns).fetchall()) if releases_by_lease else []
        released = {job_id for (job_id,) in rows}
        return [lease for lease, _ in releases if lease.job_id not in released]

    def depth(self) -> Depth:
        """Return how many jobs are waiting and in progress."""
        return self._ask(lambda db: Depth(*counts(db)))

    def leases(self) -> list[Lease]:
        """Return the live leases."""
        return [Lease(*row) for row in self._ask(lambda db: db.execute(_LEASES).fetchall())]

    def paces(self) -> list[Pace]:
        """Return the state of the limits."""
        return [Pace(*row) for row in self._ask(lambda db: db.execute(_PACES).fetchall())]

    def acquire_slot(self, job_id: str, limit: Limit) -> int:
        """Acquire a request and a slot: 0, or the milliseconds after which to try again."""
        return self._change(lambda db: _acquire_slot(db, job_id, limit))

    def release_slots(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs."""
        self._change(lambda db: db.execute("DELETE FROM slots WHERE job_id = ANY(%s)", (sorted(job_ids),)))

    def back_off(self, name: str, delay_ms: int) -> None:
        """Delay the next request under the limit `name`; a longer delay set before stays."""
        self._change(lambda db: db.execute(_NEXT, (name, delay_ms)))

    def bring_forward(self, lease_ms: int) -> None:
        """Correct times that are too late because the clock was set back."""
        self._change(lambda db: db.execute(_BRING_FORWARD, (lease_ms, lease_ms)))
        self._change(lambda db: db.execute(_END_PAUSES, (LONGEST_PAUSE_MS,)))


def _acquire_slot(db: Connection, job_id: str, limit: Limit) -> int:
    if limit.running is None and not limit.interval_ms:  # only a pause that all workers obey can delay it
        (wait_ms,) = db.execute(_PAUSE, (limit.name,)).fetchone() or (0,)
        return max(int(wait_ms), 0)
    with db.transaction():
        (wait_ms,) = db.execute(_LOCK, (limit.name,)).fetchone() or (0,)
        if wait_ms > 0:
            return int(wait_ms)
        if limit.running is not None:
            (taken,) = db.execute(_TAKEN, (limit.name, job_id)).fetchone() or (0,)
            if taken >= limit.running:
                return SLOT_WAIT_MS
            db.execute(_SLOT, (job_id, limit.name))
        if limit.interval_ms:
            db.execute(_NEXT, (limit.name, limit.interval_ms))
    return 0


def now(db: Connection) -> datetime:
    """Return the time by the database's clock."""
    (now_ms,) = db.execute(f"SELECT {NOW_MS}").fetchone() or (0,)
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def counts(db: Connection) -> tuple[int, int, int, int]:
    """Return how many jobs are due, due later and leased, and for how many milliseconds the oldest is due."""
    due, waiting, leased, overdue_ms = db.execute(_QUEUE).fetchone() or (0, 0, 0, 0)
    return due, waiting, leased, overdue_ms


_CURSOR = "SELECT position FROM cursors WHERE name = %s"
_BEGIN = "INSERT INTO cursors (name, position) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING"
_MOVE = "UPDATE cursors SET position = %s WHERE name = %s AND position = %s"
_ADD = f"""
INSERT INTO deliveries (delivery_id, endpoint_id, position, since_ms, due_at_ms, http_status)
SELECT delivery_id, endpoint_id, position, {NOW_MS}, CASE WHEN NOT is_dead THEN {NOW_MS} END, http_status
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::boolean[], %s::bigint[])
    AS new (delivery_id, endpoint_id, position, is_dead, http_status)
ON CONFLICT (delivery_id) DO NOTHING
"""
_ADD_BODIES = """
INSERT INTO alerts (delivery_id, body) SELECT delivery_id, body FROM unnest(%s::text[], %s::text[])
    AS new (delivery_id, body) ON CONFLICT (delivery_id) DO NOTHING RETURNING delivery_id
"""
_BODY = "SELECT body FROM alerts WHERE delivery_id = %s"
_COLUMNS = f"delivery_id, endpoint_id, position, attempts, {NOW_MS} - since_ms, http_status"
_CLAIM_DELIVERIES = f"""
WITH wanted AS MATERIALIZED (
    SELECT due.delivery_id AS claimed FROM unnest(%s::text[], %s::bigint[]) AS room (endpoint_id, free)
    CROSS JOIN LATERAL (
        SELECT delivery_id FROM deliveries
        WHERE deliveries.endpoint_id = room.endpoint_id AND due_at_ms <= {NOW_MS}
        ORDER BY due_at_ms LIMIT room.free FOR UPDATE SKIP LOCKED
    ) AS due
)
UPDATE deliveries SET attempts = attempts + 1, due_at_ms = {NOW_MS} + %s FROM wanted
WHERE delivery_id = claimed RETURNING {_COLUMNS}
"""
_CLAIMED = "delivery_id = %s AND attempts = %s AND due_at_ms IS NOT NULL"
_RETRY = f"UPDATE deliveries SET due_at_ms = {NOW_MS} + %s, http_status = %s WHERE {_CLAIMED}"
_FINISH = f"DELETE FROM deliveries WHERE {_CLAIMED}"
_GIVE_UP = f"UPDATE deliveries SET due_at_ms = NULL, http_status = %s WHERE {_CLAIMED}"
_DEAD = f"SELECT {_COLUMNS} FROM deliveries WHERE due_at_ms IS NULL ORDER BY position, delivery_id"
_AGAIN = f"""
UPDATE deliveries SET due_at_ms = {NOW_MS}, since_ms = {NOW_MS}
WHERE due_at_ms IS NULL AND delivery_id = ANY(%s) RETURNING delivery_id
"""
_BRING_DELIVERIES_FORWARD = f"""
UPDATE deliveries SET due_at_ms = LEAST(due_at_ms, {NOW_MS} + %s), since_ms = LEAST(since_ms, {NOW_MS})
WHERE due_at_ms IS NOT NULL
"""
_FORGET = "DELETE FROM deliveries WHERE endpoint_id = ANY(%s)"
_BEGIN_TURN = f"""
INSERT INTO readers (name, position, token, until_ms) VALUES (%s, %s, 1, {NOW_MS} + %s)
ON CONFLICT (name) DO UPDATE SET token = readers.token + 1, until_ms = excluded.until_ms
WHERE readers.until_ms <= {NOW_MS} OR readers.until_ms > excluded.until_ms RETURNING name, position, token
"""
_EXTEND = f"UPDATE readers SET position = %s, until_ms = {NOW_MS} + %s WHERE name = %s AND token = %s"
_END_TURN = "UPDATE readers SET until_ms = 0 WHERE name = %s AND token = %s"
_FORGET_READER = f"DELETE FROM readers WHERE name = %s AND until_ms <= {NOW_MS}"
_READERS = f"SELECT name, position, until_ms > {NOW_MS} FROM readers ORDER BY name"
_IS_THERE = "SELECT to_regclass(%s) IS NOT NULL"
_TALLY = "SELECT COUNT(due_at_ms), COUNT(*) - COUNT(due_at_ms) FROM deliveries"


class PostgresOutbox:
    """The outbox in one database: `change` and `ask` run functions that write and read."""

    def __init__(self, change: Run, ask: Run) -> None:
        self._change = change
        self._ask = ask

    def cursor(self, name: str = NOTIFICATIONS) -> int | None:
        """Return the position up to which the log was read; None if it never was."""
        row = self._ask(lambda db: db.execute(_CURSOR, (name,)).fetchone())
        return row[0] if row else None

    def add(
        self, cursor: int | None, moved_to: int, new: Sequence[NewDelivery], name: str = NOTIFICATIONS
    ) -> bool:
        """Add deliveries and move the cursor, unless another process moved it first."""
        return self._change(lambda db: _add(db, name, cursor, moved_to, new))

    def put(self, new: Sequence[NewDelivery]) -> None:
        """Add deliveries that do not derive from a record."""
        self._change(lambda db: _insert(db, new))

    def body(self, delivery_id: str) -> str | None:
        """Return the text of an alert; None for other deliveries."""
        row = self._ask(lambda db: db.execute(_BODY, (delivery_id,)).fetchone())
        return row[0] if row else None

    def begin_turn(self, name: str, first: int, lease_ms: int) -> Turn | None:
        """Take the turn at a reader, which begins at `first`; None while another process holds it."""
        row = self._change(lambda db: db.execute(_BEGIN_TURN, (name, first, lease_ms)).fetchone())
        return Turn(*row) if row else None

    def move(self, turn: Turn, moved_to: int, lease_ms: int, new: Sequence[NewDelivery] = ()) -> Turn | None:
        """Extend a turn, move its reader, and add deliveries; None, and nothing changes, if it was lost."""
        is_moved = self._change(lambda db: _move(db, turn, moved_to, lease_ms, new))
        return turn._replace(position=moved_to) if is_moved else None

    def end_turn(self, turn: Turn) -> None:
        """Give up the turn immediately."""
        self._change(lambda db: db.execute(_END_TURN, (turn.name, turn.token)))

    def readers(self) -> list[Reader]:
        """Return the readers by name."""
        return self._ask(_readers)

    def forget_reader(self, name: str) -> bool:
        """Delete a reader and its dead letters; False, and nothing changes, if a process holds its turn."""
        return self._change(lambda db: _forget_reader(db, name))

    def claim(self, room: Mapping[str, int], lease_ms: int) -> list[Delivery]:
        """Claim due deliveries, oldest first, up to the number in `room` for each endpoint."""
        values = (list(room), list(room.values()), lease_ms)
        return [
            Delivery(*row)
            for row in self._change(lambda db: db.execute(_CLAIM_DELIVERIES, values).fetchall())
        ]

    def retry(self, delivery: Delivery, delay_ms: int, http_status: int | None) -> None:
        """Make a claimed delivery due in `delay_ms`."""
        values = (delay_ms, http_status, delivery.delivery_id, delivery.attempts)
        self._change(lambda db: db.execute(_RETRY, values))

    def finish(self, delivery: Delivery) -> None:
        """Delete a claimed delivery, whose acceptance is recorded."""
        self._change(lambda db: db.execute(_FINISH, (delivery.delivery_id, delivery.attempts)))

    def give_up(self, delivery: Delivery, http_status: int | None) -> None:
        """Keep a claimed delivery as a dead letter."""
        values = (http_status, delivery.delivery_id, delivery.attempts)
        self._change(lambda db: db.execute(_GIVE_UP, values))

    def dead_letters(self) -> list[Delivery]:
        """Return the dead letters, oldest first."""
        return [Delivery(*row) for row in self._ask(lambda db: db.execute(_DEAD).fetchall())]

    def send_again(self, delivery_ids: Collection[str]) -> list[str]:
        """Make these dead letters due now, as if new; return the ones that existed."""
        rows = self._change(lambda db: db.execute(_AGAIN, (list(delivery_ids),)).fetchall())
        return sorted(row[0] for row in rows)

    def forget(self, endpoint_ids: Collection[str]) -> None:
        """Delete all deliveries of these deleted endpoints."""
        self._change(lambda db: db.execute(_FORGET, (list(endpoint_ids),)))

    def bring_forward(self, delay_ms: int) -> None:
        """Make everything due within `delay_ms`, because the clock was set back."""
        self._change(lambda db: db.execute(_BRING_DELIVERIES_FORWARD, (delay_ms,)))

    def tally(self) -> OutboxTally:
        """Return how many deliveries there are."""
        return self._ask(_tally)


def _is_there(db: Connection, table: str) -> bool:
    """Return whether the table exists: a ledger that is only read is not migrated."""
    return bool((db.execute(_IS_THERE, (table,)).fetchone() or (False,))[0])


def _forget_reader(db: Connection, name: str) -> bool:
    with db.transaction():
        if not db.execute(_FORGET_READER, (name,)).rowcount:
            return False
        db.execute(_FORGET, ([name],))
    return True


def _readers(db: Connection) -> list[Reader]:
    return [Reader(*row) for row in db.execute(_READERS).fetchall()] if _is_there(db, "readers") else []


def _move(db: Connection, turn: Turn, moved_to: int, lease_ms: int, new: Sequence[NewDelivery]) -> bool:
    with db.transaction():
        moved = db.execute(_EXTEND, (moved_to, lease_ms, turn.name, turn.token))
        if moved.rowcount:
            _insert(db, new)
        return bool(moved.rowcount)


def _tally(db: Connection) -> OutboxTally:
    if not _is_there(db, "deliveries"):
        return OutboxTally(0, 0)
    return OutboxTally(*(db.execute(_TALLY).fetchone() or (0, 0)))


def _add(db: Connection, name: str, cursor: int | None, moved_to: int, new: Sequence[NewDelivery]) -> bool:
    with db.transaction():
        if cursor is None:
            moved = db.execute(_BEGIN, (name, moved_to))
        else:
            moved = db.execute(_MOVE, (moved_to, name, cursor))
        if moved.rowcount:
            _insert(db, new)
        return bool(moved.rowcount)


def _insert(db: Connection, new: Sequence[NewDelivery]) -> None:
    """Add deliveries; an alert only if it was never added before."""
    with db.transaction():
        alerts = {delivery.delivery_id: delivery.body for delivery in new if delivery.body is not None}
        if alerts:
            added = db.execute(_ADD_BODIES, (list(alerts), list(alerts.values()))).fetchall()
            known = alerts.keys() - {delivery_id for (delivery_id,) in added}
            new = [delivery for delivery in new if delivery.delivery_id not in known]
        if new:
            db.execute(
                _ADD, [list(column) for column in zip(*(delivery[:-1] for delivery in new), strict=True)]
            )
