"""The endpoints: their event types, URLs and signing secrets."""

import json
import uuid
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from sora_adapter.sandbox.state.database import Database, Row, marks
from sora_adapter.serving.signatures import new_secret

OLD_SECRET_S = 24 * 3600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS webhook_endpoints (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    event_types TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    secret TEXT NOT NULL,
    old_secret TEXT,
    old_secret_until REAL NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Endpoint:
    """A receiver of events; the previous secret may stay valid for a while after a rotation."""

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    created_at: float
    updated_at: float
    secret: str
    old_secret: str | None = None
    old_secret_until: float = 0.0

    def valid_secrets(self, now: float) -> tuple[str, ...]:
        """Return the secrets a delivery is signed with at `now`, the newest first."""
        is_kept = self.old_secret is not None and now < self.old_secret_until
        return (self.secret, str(self.old_secret)) if is_kept else (self.secret,)

    def change(self, changes: dict[str, Any], now: float) -> "Endpoint":
        """Return the endpoint with changes; `updated_at` changes only if something else did."""
        after = replace(self, **changes)
        return after if after == self else replace(after, updated_at=now)

    def rotate(self, now: float, *, keep_old: bool) -> "Endpoint":
        """Return the endpoint with a new secret."""
        old, until = (self.secret, now + OLD_SECRET_S) if keep_old else (None, 0.0)
        return replace(self, secret=new_secret(), old_secret=old, old_secret_until=until, updated_at=now)


_COLUMNS = ", ".join(field.name for field in fields(Endpoint))
_SETTERS = ", ".join(f"{field.name} = ?" for field in fields(Endpoint))


class EndpointStore:
    """All endpoints; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.prepare(_SCHEMA)

    def add(
        self, name: str, url: str, event_types: tuple[str, ...], now: float, endpoint_id: str | None = None
    ) -> Endpoint:
        """Store a new endpoint with its secret; an existing id is left unchanged."""
        new_id = endpoint_id or f"whe_{uuid.uuid4().hex}"
        endpoint = Endpoint(new_id, name, url, event_types, now, now, new_secret())
        statement = f"INSERT OR IGNORE INTO webhook_endpoints ({_COLUMNS}) VALUES ({marks(_COLUMNS)})"
        self._database.change(statement, _row(endpoint))
        return endpoint

    def put(self, endpoint: Endpoint) -> None:
        """Store the current state of an endpoint."""
        statement = f"UPDATE webhook_endpoints SET {_SETTERS} WHERE id = ?"
        self._database.change(statement, (*_row(endpoint), endpoint.id))

    def get(self, endpoint_id: str) -> Endpoint | None:
        """Return an endpoint, or None if the id is unknown or deleted."""
        rows = self._rows("WHERE id = ?", (endpoint_id,))
        return rows[0] if rows else None

    def list_all(self) -> list[Endpoint]:
        """Return the endpoints, newest first."""
        return self._rows("ORDER BY position DESC", ())

    def delete(self, endpoint_id: str) -> bool:
        """Delete an endpoint; return whether it existed."""
        return self._database.change("DELETE FROM webhook_endpoints WHERE id = ?", (endpoint_id,)) == 1

    def _rows(self, clause: str, values: Row) -> list[Endpoint]:
        query = f"SELECT {_COLUMNS} FROM webhook_endpoints {clause}"
        return [_endpoint(row) for row in self._database.rows(query, values)]


def _row(endpoint: Endpoint) -> Row:
    return astuple(replace(endpoint, event_types=json.dumps(endpoint.event_types)))  # type: ignore[arg-type]  # as stored


def _endpoint(row: tuple[Any, ...]) -> Endpoint:
    stored = Endpoint(*row)
    return replace(stored, event_types=tuple(json.loads(str(stored.event_types))))
