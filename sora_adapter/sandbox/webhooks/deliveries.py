"""The durable outbox: one delivery for each event and endpoint, until a 2xx or for 72 hours.

Rules: an event is added once per endpoint, however often it is announced. A delivery being sent is leased, so
that a crash only delays it, and no other process sends it meanwhile. Attempts are repeated after 1, 2, 4, 8 …
seconds. If a receiver's answer was lost, it gets the same delivery again, under the same id.
"""

import uuid
from dataclasses import dataclass

from sora_adapter.sandbox.state.database import Database

LEASE_S = 30.0
FIRST_WAIT_S = 1.0
GIVE_UP_S = 72 * 3600.0
_BATCH = 100

_SCHEMA = """
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    id TEXT PRIMARY KEY,
    endpoint_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    next_at REAL,
    UNIQUE (endpoint_id, event_id)
) STRICT;
CREATE INDEX IF NOT EXISTS webhook_deliveries_due ON webhook_deliveries (next_at) WHERE next_at IS NOT NULL;
"""
_COLUMNS = "id, endpoint_id, event_id, body, created_at, attempts, last_status, next_at"


@dataclass(frozen=True)
class Delivery:
    """One event for one endpoint; `next_at` is None once it was accepted or given up."""

    id: str
    endpoint_id: str
    event_id: str
    body: str
    created_at: float
    attempts: int
    last_status: int | None
    next_at: float | None


class DeliveryStore:
    """All deliveries; safe to use from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.prepare(_SCHEMA)

    def add(self, endpoint_id: str, event_id: str, body: str, now: float) -> None:
        """Add an event for an endpoint, unless it is already there."""
        statement = (
            "INSERT OR IGNORE INTO webhook_deliveries (id, endpoint_id, event_id, body, created_at, next_at) "
            "VALUES (?, ?, ?, ?, ?, ?)"
        )
        values = (f"wh_{uuid.uuid4().hex}", endpoint_id, event_id, body, now, now)
        self._database.change(statement, values)

    def lease(self, now: float) -> list[Delivery]:
        """Lease the due deliveries for one attempt each."""
        query = (
            f"SELECT {_COLUMNS} FROM webhook_deliveries WHERE next_at <= ? ORDER BY next_at, rowid LIMIT ?"
        )
        if not self._database.rows(query, (now, 1)):
            return []
        with self._database.transaction() as database:
            due = [Delivery(*row) for row in database.execute(query, (now, _BATCH))]
            database.executemany(
                "UPDATE webhook_deliveries SET attempts = attempts + 1, next_at = ? WHERE id = ?",
                [(now + LEASE_S, delivery.id) for delivery in due],
            )
        return due

    def settle(self, delivery: Delivery, status: int | None, now: float) -> None:
        """Record the result of an attempt: a status, or None for no answer."""
        is_taken = status is not None and 200 <= status < 300
        next_at = now + FIRST_WAIT_S * 2**delivery.attempts
        is_over = is_taken or next_at > delivery.created_at + GIVE_UP_S
        self._database.change(
            "UPDATE webhook_deliveries SET last_status = ?, next_at = ? WHERE id = ?",
            (status, None if is_over else next_at, delivery.id),
        )

    def list_all(self) -> list[Delivery]:
        """Return the deliveries, oldest first."""
        query = f"SELECT {_COLUMNS} FROM webhook_deliveries ORDER BY rowid"
        return [Delivery(*row) for row in self._database.rows(query)]

    def forget(self, endpoint_id: str) -> None:
        """Delete the deliveries of an endpoint."""
        self._database.change("DELETE FROM webhook_deliveries WHERE endpoint_id = ?", (endpoint_id,))
