"""The durable outbox: one delivery for each event and endpoint, until a 2xx or for 72 hours.

Rules kept: an event is put down for an endpoint once, however often it is announced. What is taken out to be
sent is leased, so that a crash in mid-delivery costs a wait and not the event, and nobody sends it meanwhile.
Attempts follow each other after 1, 2, 4, 8 … seconds. Where a receiver answered and the answer was lost, it
gets the same delivery again, under the same id.
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
    """One event for one endpoint; `next_at` is None once it was taken or given up."""

    id: str
    endpoint_id: str
    event_id: str
    body: str
    created_at: float
    attempts: int
    last_status: int | None
    next_at: float | None


class DeliveryStore:
    """All deliveries; safe to call from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.prepare(_SCHEMA)

    def add(self, endpoint_id: str, event_id: str, body: str, now: float) -> None:
        """Put an event down for an endpoint, unless it was."""
        statement = (
            "INSERT OR IGNORE INTO webhook_deliveries (id, endpoint_id, event_id, body, created_at, next_at) "
            "VALUES (?, ?, ?, ?, ?, ?)"
        )
        values = (f"wh_{uuid.uuid4().hex}", endpoint_id, event_id, body, now, now)
        self._database.change(statement, values)

    def lease(self, now: float) -> list[Delivery]:
        """Take out what is due, each for one attempt."""
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
        """Note how an attempt went: a status, or None for no answer."""
        is_taken = status is not None and 200 <= status < 300  # noqa: PLR2004 - the class of HTTP's successes
        next_at = now + FIRST_WAIT_S * 2**delivery.attempts
        is_over = is_taken or next_at > delivery.created_at + GIVE_UP_S
        self._database.change(
            "UPDATE webhook_deliveries SET last_status = ?, next_at = ? WHERE id = ?",
            (status, None if is_over else next_at, delivery.id),
        )

    def all(self) -> list[Delivery]:
        """Return the deliveries, oldest first."""
        query = f"SELECT {_COLUMNS} FROM webhook_deliveries ORDER BY rowid"
        return [Delivery(*row) for row in self._database.rows(query)]  # type: ignore[arg-type]  # the table is STRICT

    def forget(self, endpoint_id: str) -> None:
        """Drop what was meant for an endpoint."""
        self._database.change("DELETE FROM webhook_deliveries WHERE endpoint_id = ?", (endpoint_id,))
