"""One consistent look at every table of a ledger file, for verification: plain SELECTs, no meaning."""

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Self

from ledger.store.sqlite.connection import open_reading, usable


class SqliteSnapshot:
    """All tables of the ledger at `path` as they stand at one moment; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        with usable(self._path):
            self._db: sqlite3.Connection = open_reading(self._path)
            self._db.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _select(self, query: str) -> Iterator[tuple[Any, ...]]:
        told = 0
        with usable(self._path):
            try:
                for row in self._db.execute(query):
                    yield row
                    told += 1
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
                self._db.text_factory = _text  # takes its time, so only where there is such text
                yield from islice(self._db.execute(query), told, None)

    def events(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the eight columns for searching, then record, payload, leaf, by position."""
        return self._select(
            "SELECT position, event_id, stream, version, type, actor, trace_id, recorded_at, "
            f"record, payload, leaf FROM events WHERE position > {after:d} ORDER BY position"
        )

    def head(self) -> tuple[int, bytes]:
        """Return size and frontier."""
        size, frontier = next(self._select("SELECT size, frontier FROM head WHERE id = 1"), (0, b""))
        return size, frontier

    def tiles(self) -> Iterator[tuple[Any, ...]]:
        """Yield level, number, hash."""
        return self._select("SELECT level, number, hash FROM tiles ORDER BY level, number")

    def bodies(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield commitment, position, field, salt, text, by position."""
        return self._select(
            "SELECT commitment, position, field, salt, text FROM private_bodies "
            f"WHERE position > {after:d} ORDER BY position"
        )

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        """Yield job_id, version, position, state, profile, video_id, body."""
        return self._select("SELECT job_id, version, position, state, profile, video_id, body FROM jobs")

    def holds(self) -> Iterator[tuple[Any, ...]]:
        """Yield budget, job_id, reserved_usd_micros, settled_usd_micros."""
        return self._select("SELECT budget, job_id, reserved_usd_micros, settled_usd_micros FROM holds")

    def documents(self) -> Iterator[tuple[Any, ...]]:
        """Yield sha256, body."""
        return self._select("SELECT sha256, body FROM documents")


def _text(stored: bytes) -> str:
    """Read text as it is stored, also where it is no UTF-8: verification has to see it to report it."""
    return stored.decode(errors="surrogateescape")
