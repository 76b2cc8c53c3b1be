"""`WorkQueue` on SQLite: leases on due jobs, with fencing tokens that only grow; slots and rate limits.

Times are Unix milliseconds of the database's clock, so machines need not agree on theirs.

A claim sets ``due_at_ms`` to 0: not scheduled since. If a job is scheduled while its lease is held, the
earliest time is stored there until the holder releases the lease, so a webhook that arrives meanwhile is not
lost. A worker that crashes leaves its lease behind; it expires at ``until_ms``, and the next claim takes the
job over with a higher token.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from ledger.job import OVER
from ledger.store.outbox import NOTIFICATIONS, Delivery, NewDelivery, OutboxTally, Reader, Turn
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
_HASTEN = f"UPDATE work SET due_at_ms = {NOW_MS} WHERE job_id = ? AND due_at_ms > {NOW_MS}"
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

    def hasten(self, job_ids: Collection[str]) -> None:
        """Make due now the jobs that are due later."""
        with self._writing() as db:
            db.executemany(_HASTEN, [(job_id,) for job_id in job_ids])

    def cancel(self, job_id: str) -> None:
        """Remove a job's schedule; a live lease on it stays."""
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
        """Return how many jobs are waiting and in progress."""
        with self._reading() as db:
            return Depth(*counts(db))

    def leases(self) -> list[Lease]:
        """Return the live leases."""
        with self._reading() as db:
            return [Lease(*row) for row in db.execute(_LEASES)]

    def paces(self) -> list[Pace]:
        """Return the state of the limits."""
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
    if not db.execute(_RELEASE, (delay_ms, lease.job_id, lease.token, lease.holder)).rowcount:
        return False
    if delay_ms is None:
        db.execute("DELETE FROM slots WHERE job_id = ?", (lease.job_id,))
    return True


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


_CURSOR = "SELECT position FROM cursors WHERE name = ?"
_BEGIN = "INSERT INTO cursors (name, position) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
_MOVE = "UPDATE cursors SET position = ? WHERE name = ? AND position = ?"
_ADD = f"""
INSERT INTO deliveries (delivery_id, endpoint_id, position, since_ms, due_at_ms, http_status)
VALUES (?, ?, ?, {NOW_MS}, CASE WHEN ? THEN NULL ELSE {NOW_MS} END, ?) ON CONFLICT (delivery_id) DO NOTHING
"""
_ADD_BODY = "INSERT INTO alerts (delivery_id, body) VALUES (?, ?) ON CONFLICT (delivery_id) DO NOTHING"
_BODY = "SELECT body FROM alerts WHERE delivery_id = ?"
_COLUMNS = f"delivery_id, endpoint_id, position, attempts, {NOW_MS} - since_ms, http_status"
_IS_DUE = f"""
SELECT 1 FROM json_each(?) AS room WHERE EXISTS
    (SELECT 1 FROM deliveries WHERE endpoint_id = room.value AND due_at_ms <= {NOW_MS}) LIMIT 1
"""
_CLAIM_DELIVERIES = f"""
UPDATE deliveries SET attempts = attempts + 1, due_at_ms = {NOW_MS} + ? WHERE delivery_id IN
    (SELECT delivery_id FROM deliveries WHERE endpoint_id = ? AND due_at_ms <= {NOW_MS}
     ORDER BY due_at_ms LIMIT ?)
RETURNING {_COLUMNS}
"""
_CLAIMED = "delivery_id = ? AND attempts = ? AND due_at_ms IS NOT NULL"
_RETRY = f"UPDATE deliveries SET due_at_ms = {NOW_MS} + ?, http_status = ? WHERE {_CLAIMED}"
_FINISH = f"DELETE FROM deliveries WHERE {_CLAIMED}"
_GIVE_UP = f"UPDATE deliveries SET due_at_ms = NULL, http_status = ? WHERE {_CLAIMED}"
_DEAD = f"SELECT {_COLUMNS} FROM deliveries WHERE due_at_ms IS NULL ORDER BY position, delivery_id"
_AGAIN = f"""
UPDATE deliveries SET due_at_ms = {NOW_MS}, since_ms = {NOW_MS}
WHERE due_at_ms IS NULL AND delivery_id IN (SELECT value FROM json_each(?)) RETURNING delivery_id
"""
_BRING_DELIVERIES_FORWARD = f"""
UPDATE deliveries SET due_at_ms = MIN(due_at_ms, {NOW_MS} + ?), since_ms = MIN(since_ms, {NOW_MS})
WHERE due_at_ms IS NOT NULL
"""
_FORGET = "DELETE FROM deliveries WHERE endpoint_id IN (SELECT value FROM json_each(?))"
_BEGIN_TURN = f"""
INSERT INTO readers (name, position, token, until_ms) VALUES (?, ?, 1, {NOW_MS} + ?)
ON CONFLICT (name) DO UPDATE SET token = token + 1, until_ms = excluded.until_ms
WHERE until_ms <= {NOW_MS} OR until_ms > excluded.until_ms RETURNING name, position, token
"""
_EXTEND = f"UPDATE readers SET position = ?, until_ms = {NOW_MS} + ? WHERE name = ? AND token = ?"
_END_TURN = "UPDATE readers SET until_ms = 0 WHERE name = ? AND token = ?"
_FORGET_READER = f"DELETE FROM readers WHERE name = ? AND until_ms <= {NOW_MS}"
_READERS = f"SELECT name, position, until_ms > {NOW_MS} FROM readers ORDER BY name"
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE name = ?"  # a ledger that is only read is not migrated
_TALLY = "SELECT COUNT(due_at_ms), COUNT(*) - COUNT(due_at_ms) FROM deliveries"


class SqliteOutbox:
    """The outbox in one ledger file: `writing` opens a transaction, `reading` lends a connection."""

    def __init__(self, writing: Connect, reading: Connect) -> None:
        self._writing = writing
        self._reading = reading

    def cursor(self, name: str = NOTIFICATIONS) -> int | None:
        """Return the position up to which the log was read; None if it never was."""
        with self._reading() as db:
            row = db.execute(_CURSOR, (name,)).fetchone()
        return row[0] if row else None

    def add(
        self, cursor: int | None, moved_to: int, new: Sequence[NewDelivery], name: str = NOTIFICATIONS
    ) -> bool:
        """Add deliveries and move the cursor, unless another process moved it first."""
        with self._writing() as db:
            if cursor is None:
                moved = db.execute(_BEGIN, (name, moved_to))
            else:
                moved = db.execute(_MOVE, (moved_to, name, cursor))
            if moved.rowcount:
                _add(db, new)
            return bool(moved.rowcount)

    def put(self, new: Sequence[NewDelivery]) -> None:
        """Add deliveries that do not derive from a record."""
        with self._writing() as db:
            _add(db, new)

    def body(self, delivery_id: str) -> str | None:
        """Return the text of an alert; None for other deliveries."""
        with self._reading() as db:
            row = db.execute(_BODY, (delivery_id,)).fetchone()
        return row[0] if row else None

    def begin_turn(self, name: str, first: int, lease_ms: int) -> Turn | None:
        """Take the turn at a reader, which begins at `first`; None while another process holds it."""
        with self._writing() as db:
            row = db.execute(_BEGIN_TURN, (name, first, lease_ms)).fetchone()
        return Turn(*row) if row else None

    def move(self, turn: Turn, moved_to: int, lease_ms: int, new: Sequence[NewDelivery] = ()) -> Turn | None:
        """Extend a turn, move its reader, and add deliveries; None, and nothing changes, if it was lost."""
        with self._writing() as db:
            moved = db.execute(_EXTEND, (moved_to, lease_ms, turn.name, turn.token))
            if not moved.rowcount:
                return None
            _add(db, new)
        return turn._replace(position=moved_to)

    def end_turn(self, turn: Turn) -> None:
        """Give up the turn immediately."""
        with self._writing() as db:
            db.execute(_END_TURN, (turn.name, turn.token))

    def readers(self) -> list[Reader]:
        """Return the readers by name."""
        with self._reading() as db:
            if not db.execute(_IS_THERE, ("readers",)).fetchone():
                return []
            return [Reader(name, position, bool(taken)) for name, position, taken in db.execute(_READERS)]

    def forget_reader(self, name: str) -> bool:
        """Delete a reader and its dead letters; False, and nothing changes, if a process holds its turn."""
        with self._writing() as db:
            if not db.execute(_FORGET_READER, (name,)).rowcount:
                return False
            db.execute(_FORGET, (json.dumps([name]),))
        return True

    def claim(self, room: Mapping[str, int], lease_ms: int) -> list[Delivery]:
        """Claim due deliveries, oldest first, up to the number in `room` for each endpoint."""
        with self._reading() as db:  # usually nothing is due, and no other writer has to wait
            if not db.execute(_IS_DUE, (json.dumps(list(room)),)).fetchone():
                return []
        claimed: list[Delivery] = []
        with self._writing() as db:
            for endpoint_id, free in room.items():
                claimed += [
                    Delivery(*row) for row in db.execute(_CLAIM_DELIVERIES, (lease_ms, endpoint_id, free))
                ]
        return claimed

    def retry(self, delivery: Delivery, delay_ms: int, http_status: int | None) -> None:
        """Make a claimed delivery due in `delay_ms`."""
        with self._writing() as db:
            db.execute(_RETRY, (delay_ms, http_status, delivery.delivery_id, delivery.attempts))

    def finish(self, delivery: Delivery) -> None:
        """Delete a claimed delivery, whose acceptance is recorded."""
        with self._writing() as db:
            db.execute(_FINISH, (delivery.delivery_id, delivery.attempts))

    def give_up(self, delivery: Delivery, http_status: int | None) -> None:
        """Keep a claimed delivery as a dead letter."""
        with self._writing() as db:
            db.execute(_GIVE_UP, (http_status, delivery.delivery_id, delivery.attempts))

    def dead_letters(self) -> list[Delivery]:
        """Return the dead letters, oldest first."""
        with self._reading() as db:
            return [Delivery(*row) for row in db.execute(_DEAD)]

    def send_again(self, delivery_ids: Collection[str]) -> list[str]:
        """Make these dead letters due now, as if new; return the ones that existed."""
        with self._writing() as db:
            return sorted(row[0] for row in db.execute(_AGAIN, (json.dumps(list(delivery_ids)),)))

    def bring_forward(self, delay_ms: int) -> None:
        """Make everything due within `delay_ms`, because the clock was set back."""
        with self._writing() as db:
            db.execute(_BRING_DELIVERIES_FORWARD, (delay_ms,))

    def forget(self, endpoint_ids: Collection[str]) -> None:
        """Delete all deliveries of these deleted endpoints."""
        with self._writing() as db:
            db.execute(_FORGET, (json.dumps(list(endpoint_ids)),))

    def tally(self) -> OutboxTally:
        """Return how many deliveries there are."""
        with self._reading() as db:
            if not db.execute(
                _IS_THERE, ("deliveries",)
            ).fetchone():  # a ledger that is only read is not migrated
                return OutboxTally(0, 0)
            return OutboxTally(*db.execute(_TALLY).fetchone())


def _add(db: sqlite3.Connection, new: Sequence[NewDelivery]) -> None:
    """Add deliveries; an alert only if it was never added before."""
    for *row, body in new:
        if body is None or db.execute(_ADD_BODY, (row[0], body)).rowcount:
            db.execute(_ADD, row)
