"""`Outbox` on SQLite: see `ledger.store.outbox`. Times are Unix milliseconds of the database's clock."""

import json
from collections.abc import Collection, Mapping, Sequence

from ledger.store.outbox import Delivery, NewDelivery, OutboxTally
from ledger.store.sqlite.queue import NOW_MS, Connect

_NAME = "notifications"
_CURSOR = "SELECT position FROM cursors WHERE name = ?"
_BEGIN = "INSERT INTO cursors (name, position) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
_MOVE = "UPDATE cursors SET position = ? WHERE name = ? AND position = ?"
_ADD = f"""
INSERT INTO deliveries (delivery_id, endpoint_id, position, since_ms, due_at_ms)
VALUES (?, ?, ?, {NOW_MS}, CASE WHEN ? THEN NULL ELSE {NOW_MS} END) ON CONFLICT (delivery_id) DO NOTHING
"""
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
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE name = 'deliveries'"
_TALLY = "SELECT COUNT(due_at_ms), COUNT(*) - COUNT(due_at_ms) FROM deliveries"


class SqliteOutbox:
    """The outbox in one ledger file: `writing` opens a transaction, `reading` lends a connection."""

    def __init__(self, writing: Connect, reading: Connect) -> None:
        self._writing = writing
        self._reading = reading

    def cursor(self) -> int | None:
        """Return the position up to which the log was read; None if it never was."""
        with self._reading() as db:
            row = db.execute(_CURSOR, (_NAME,)).fetchone()
        return row[0] if row else None

    def add(self, cursor: int | None, moved_to: int, new: Sequence[NewDelivery]) -> bool:
        """Add deliveries and move the cursor, unless another process moved it first."""
        with self._writing() as db:
            if cursor is None:
                moved = db.execute(_BEGIN, (_NAME, moved_to))
            else:
                moved = db.execute(_MOVE, (moved_to, _NAME, cursor))
            if moved.rowcount:
                db.executemany(_ADD, new)
            return bool(moved.rowcount)

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
            if not db.execute(_IS_THERE).fetchone():  # a ledger that is only read is not migrated
                return OutboxTally(0, 0)
            return OutboxTally(*db.execute(_TALLY).fetchone())
