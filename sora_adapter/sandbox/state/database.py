"""One SQLite file in the data dir, shared by every sandbox process that serves it.

Each call is one transaction and on disk when it returns, so `kill -9` loses nothing that was answered. Each
store on top (`jobs`, `characters`, `endpoints`, `deliveries`) owns its tables and reads no others.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Row = tuple[object, ...]

_BUSY_TIMEOUT_S = 30.0


class Database:
    """A thread-safe connection."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # files that SQLite creates next to it get the same permissions
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the file; the database is unusable afterwards."""
        with self._lock:
            self._connection.close()

    def prepare(self, schema: str) -> None:
        """Create missing tables and indexes."""
        with self._lock:
            self._connection.executescript(schema)

    def rows(self, query: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query; the tables are STRICT, so values have the types of their columns."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def change(self, statement: str, values: Row = ()) -> int:
        """Run one statement as a transaction; return how many rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run several statements, all or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def marks(columns: str) -> str:
    """Return a placeholder for each column of a list."""
    return ", ".join("?" for _ in columns.split(","))
