"""`Outbox` on SQLite: see `ledger.store.outbox`. Times are Unix milliseconds of the database's clock."""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from ledger.store.outbox import NOTIFICATIONS, Delivery, NewDelivery, OutboxTally, Reader, Turn
from ledger.store.sqlite.queue import NOW_MS, Connect

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
_CLAIM = f"""
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
_BRING_FORWARD = f"""
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
        """Add deliveries that follow from no record."""
        with self._writing() as db:
            _add(db, new)

    def body(self, delivery_id: str) -> str | None:
        """Return what an alert says; None for other deliveries."""
        with self._reading() as db:
            row = db.execute(_BODY, (delivery_id,)).fetchone()
        return row[0] if row else None

    def begin_turn(self, name: str, first: int, lease_ms: int) -> Turn | None:
        """Take the turn at a reader, which begins at `first`; None while another process has it."""
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
        """Let another process have the turn at once."""
        with self._writing() as db:
            db.execute(_END_TURN, (turn.name, turn.token))

    def readers(self) -> list[Reader]:
        """Return the readers by name."""
        with self._reading() as db:
            if not db.execute(_IS_THERE, ("readers",)).fetchone():
                return []
            return [Reader(name, position, bool(taken)) for name, position, taken in db.execute(_READERS)]

    def forget_reader(self, name: str) -> bool:
        """Delete a reader and its dead letters; False, and nothing changes, if a process has its turn."""
        with self._writing() as db:
            if not db.execute(_FORGET_READER, (name,)).rowcount:
                return False
            db.execute(_FORGET, (json.dumps([name]),))
        return True

    def claim(self, room: Mapping[str, int], lease_ms: int) -> list[Delivery]:
        """Claim due deliveries, of each endpoint in `room` at most so many, oldest first."""
        with self._reading() as db:  # most of the time nothing is due, and no other writer has to wait
            if not db.execute(_IS_DUE, (json.dumps(list(room)),)).fetchone():
                return []
        claimed: list[Delivery] = []
        with self._writing() as db:
            for endpoint_id, free in room.items():
                claimed += [Delivery(*row) for row in db.execute(_CLAIM, (lease_ms, endpoint_id, free))]
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
        """Make these dead letters due now, as if they were new; return which there were."""
        with self._writing() as db:
            return sorted(row[0] for row in db.execute(_AGAIN, (json.dumps(list(delivery_ids)),)))

    def bring_forward(self, delay_ms: int) -> None:
        """Make everything due within `delay_ms`, because the clock was set back."""
        with self._writing() as db:
            db.execute(_BRING_FORWARD, (delay_ms,))

    def forget(self, endpoint_ids: Collection[str]) -> None:
        """Delete all deliveries of endpoints that were deleted."""
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
