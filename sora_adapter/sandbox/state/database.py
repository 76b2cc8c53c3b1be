"""One SQLite file in the data dir, shared by every sandbox process that serves it.

Each call is one transaction and on disk when it returns, so `kill -9` loses nothing that was answered. The
stores on top (`jobs`, `characters`, `endpoints`, `deliveries`) own their tables; none reads another's.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Row = tuple[object, ...]

_BUSY_TIMEOUT_S = 30.0


class Database:
    """A connection that any thread may use."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # what SQLite puts beside it gets the same rights
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Let go of the file; the database is of no use afterwards."""
        with self._lock:
            self._connection.close()

    def prepare(self, schema: str) -> None:
        """Create what is not there yet."""
        with self._lock:
            self._connection.executescript(schema)

    def rows(self, query: str, values: Row = ()) -> list[Row]:
        """Return all rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def change(self, statement: str, values: Row = ()) -> int:
        """Run one statement, a transaction of its own; returns how many rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run several statements that count together or not at all."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def marks(columns: str) -> str:
    """Return a placeholder for each of a list of columns."""
    return ", ".join("?" for _ in columns.split(","))
