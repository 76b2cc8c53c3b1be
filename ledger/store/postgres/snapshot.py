"""One consistent look at every table of a ledger, for verification: plain SELECTs, no meaning.

REPEATABLE READ gives all of them the same moment; rows come through a server-side cursor, a part at a time.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, Self

from ledger.store.postgres.connection import Connection, Place, open_reading
from ledger.store.postgres.trouble import usable

_PART = 2_000


class PostgresSnapshot:
    """All tables of the ledger at `url` as they stand at one moment; a context manager."""

    def __init__(self, url: str) -> None:
        self._place = Place.at(url)
        self._cursors = count(1)

    def __enter__(self) -> Self:
        with usable(self._place.label):
            self._db: Connection = open_reading(self._place)
            self._db.execute("SET idle_in_transaction_session_timeout = 0")  # checking takes its time
            self._db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _select(self, query: str) -> Iterator[tuple[Any, ...]]:
        name = f"part_{next(self._cursors)}"  # several may be open at once
        with usable(self._place.label), self._db.cursor(name, binary=True) as cursor:
            cursor.itersize = _PART
            yield from cursor.execute(query)

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
        """Yield commitment, position, field, salt, text in UTF-8, by position."""
        return self._select(
            "SELECT commitment, position, field, salt, text FROM private_bodies "
            f"WHERE position > {after:d} ORDER BY position"
        )

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        """Yield job_id, version, position, state, profile, video_id, body."""
        query = "SELECT job_id, version, position, state, profile, video_id, body FROM jobs"
        for *row, video_id, body in self._select(query):
            yield *row, _text(video_id), body

    def holds(self) -> Iterator[tuple[Any, ...]]:
        """Yield budget, job_id, reserved_usd_micros, settled_usd_micros."""
        return self._select("SELECT budget, job_id, reserved_usd_micros, settled_usd_micros FROM holds")

    def documents(self) -> Iterator[tuple[Any, ...]]:
        """Yield sha256, body."""
        return self._select("SELECT sha256, body FROM documents")


def _text(stored: bytes | None) -> str | None:
    """Read text as it is stored, also where it is no UTF-8: verification has to see it to report it."""
    return None if stored is None else stored.decode(errors="surrogateescape")
