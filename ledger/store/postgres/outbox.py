"""`Outbox` on PostgreSQL: see `ledger.store.outbox`. Times are Unix milliseconds of the database's clock."""

from collections.abc import Collection, Mapping, Sequence

from ledger.store.outbox import NOTIFICATIONS, Delivery, NewDelivery, OutboxTally, Reader, Turn
from ledger.store.postgres.connection import Connection
from ledger.store.postgres.queue import NOW_MS, Run

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
_CLAIM = f"""
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
_BRING_FORWARD = f"""
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
        """Add deliveries that follow from no record."""
        self._change(lambda db: _insert(db, new))

    def body(self, delivery_id: str) -> str | None:
        """Return what an alert says; None for other deliveries."""
        row = self._ask(lambda db: db.execute(_BODY, (delivery_id,)).fetchone())
        return row[0] if row else None

    def begin_turn(self, name: str, first: int, lease_ms: int) -> Turn | None:
        """Take the turn at a reader, which begins at `first`; None while another process has it."""
        row = self._change(lambda db: db.execute(_BEGIN_TURN, (name, first, lease_ms)).fetchone())
        return Turn(*row) if row else None

    def move(self, turn: Turn, moved_to: int, lease_ms: int, new: Sequence[NewDelivery] = ()) -> Turn | None:
        """Extend a turn, move its reader, and add deliveries; None, and nothing changes, if it was lost."""
        is_moved = self._change(lambda db: _move(db, turn, moved_to, lease_ms, new))
        return turn._replace(position=moved_to) if is_moved else None

    def end_turn(self, turn: Turn) -> None:
        """Let another process have the turn at once."""
        self._change(lambda db: db.execute(_END_TURN, (turn.name, turn.token)))

    def readers(self) -> list[Reader]:
        """Return the readers by name."""
        return self._ask(_readers)

    def forget_reader(self, name: str) -> bool:
        """Delete a reader and its dead letters; False, and nothing changes, if a process has its turn."""
        return self._change(lambda db: _forget_reader(db, name))

    def claim(self, room: Mapping[str, int], lease_ms: int) -> list[Delivery]:
        """Claim due deliveries, of each endpoint in `room` at most so many, oldest first."""
        values = (list(room), list(room.values()), lease_ms)
        return [Delivery(*row) for row in self._change(lambda db: db.execute(_CLAIM, values).fetchall())]

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
        """Make these dead letters due now, as if they were new; return which there were."""
        rows = self._change(lambda db: db.execute(_AGAIN, (list(delivery_ids),)).fetchall())
        return sorted(row[0] for row in rows)

    def forget(self, endpoint_ids: Collection[str]) -> None:
        """Delete all deliveries of endpoints that were deleted."""
        self._change(lambda db: db.execute(_FORGET, (list(endpoint_ids),)))

    def bring_forward(self, delay_ms: int) -> None:
        """Make everything due within `delay_ms`, because the clock was set back."""
        self._change(lambda db: db.execute(_BRING_FORWARD, (delay_ms,)))

    def tally(self) -> OutboxTally:
        """Return how many deliveries there are."""
        return self._ask(_tally)


def _is_there(db: Connection, table: str) -> bool:
    """Return whether there is such a table: a ledger that is only read is not migrated."""
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
