"""A consistent snapshot of every table of a ledger, for verification: plain SELECTs, no interpretation.

REPEATABLE READ makes it one snapshot; rows come through a server-side cursor, a part at a time.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, Self

from ledger.store.postgres.connection import LONG_ANSWER_S, Connection, Place, check_readable
from ledger.store.postgres.errors import usable
from ledger.store.postgres.outage import outage_of

_PART = 2_000
_EVENTS = (
    "SELECT position, event_id, stream, version, type, actor, trace_id, recorded_at, record, payload, leaf "
    "FROM events"
)
_BODIES = "SELECT commitment, position, field, salt, text FROM private_bodies"
_JOBS = "SELECT job_id, version, position, state, profile, video_id, body FROM jobs"
_HOLDS = "SELECT budget, job_id, reserved_usd_micros, settled_usd_micros FROM holds"


class PostgresSnapshot:
    """All tables of the ledger at `url` in one snapshot; a context manager."""

    def __init__(self, url: str) -> None:
        self._place = Place.at(url)
        self._cursors = count(1)

    def __enter__(self) -> Self:
        with usable(self._place.label):
            self._db: Connection = outage_of(self._place).connect(read_only=True)
            try:
                check_readable(self._db, self._place)
                self._db.answer_s = LONG_ANSWER_S
                self._db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                # Verification may take long between two queries.
                self._db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            except BaseException:
                self._db.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _select(self, query: str) -> Iterator[tuple[Any, ...]]:
        name = f"part_{next(self._cursors)}"  # several may be open at once
        with usable(self._place.label), self._db.cursor(name, binary=True) as cursor:
            cursor.itersize = _PART
            yield from cursor.execute(query)

    def events(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the eight search columns, then record, payload and leaf, by position."""
        return self._select(f"{_EVENTS} WHERE position > {after:d} ORDER BY position")

    def head(self) -> tuple[int, bytes]:
        """Return size and frontier."""
        size, frontier = next(self._select("SELECT size, frontier FROM head WHERE id = 1"), (0, b""))
        return size, frontier

    def tiles(self) -> Iterator[tuple[Any, ...]]:
        """Yield level, number, hash."""
        return self._select("SELECT level, number, hash FROM tiles ORDER BY level, number")

    def bodies(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield commitment, position, field, salt, text in UTF-8, by position."""
        return self._select(f"{_BODIES} WHERE position > {after:d} ORDER BY position")

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        """Yield job_id, version, position, state, profile, video_id, body."""
        return _with_text(self._select(_JOBS))

    def holds(self) -> Iterator[tuple[Any, ...]]:
        """Yield budget, job_id, reserved_usd_micros, settled_usd_micros."""
        return self._select(_HOLDS)

    def documents(self) -> Iterator[tuple[Any, ...]]:
        """Yield sha256, body."""
        return self._select("SELECT sha256, body FROM documents")


class PostgresTail(PostgresSnapshot):
    """The records after position `since`, and everything about the jobs that continue after it."""

    def __init__(self, url: str, since: int) -> None:
        super().__init__(url)
        self._since = int(since)
        after = f"position > {self._since}"
        self._touched = f"(SELECT DISTINCT stream FROM events WHERE {after} AND starts_with(stream, 'job_'))"
        self._earlier = f"position <= {self._since} AND stream IN {self._touched}"

    def events(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the earlier records of the continuing jobs, then everything after the position."""
        earlier = f"{_EVENTS} WHERE {self._earlier} AND position > {after:d}"
        yield from self._select(f"{earlier} ORDER BY position")
        yield from super().events(max(after, self._since))

    def bodies(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the bodies of those records, by position."""
        earlier = f"SELECT position FROM events WHERE {self._earlier} AND position > {after:d}"
        yield from self._select(f"{_BODIES} WHERE position IN ({earlier}) ORDER BY position")
        yield from super().bodies(max(after, self._since))

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the continuing jobs."""
        return _with_text(self._select(f"{_JOBS} WHERE job_id IN {self._touched}"))

    def holds(self) -> Iterator[tuple[Any, ...]]:
        """Yield the holds of those jobs."""
        return self._select(f"{_HOLDS} WHERE job_id IN {self._touched}")

    def tiles(self) -> Iterator[tuple[Any, ...]]:
        """Yield the tiles that were completed after the position."""
        return self._select(
            f"SELECT level, number, hash FROM tiles WHERE number >= ({self._since} >> level) "
            "ORDER BY level, number"
        )

    def nodes(self, level: int, start: int, count: int) -> list[Any]:
        """Return stored hashes of the tree: leaves at level 0, tiles above."""
        if level == 0:
            where = f"position > {start} AND position <= {start + count}"
            query = f"SELECT leaf FROM events WHERE {where} ORDER BY position"
        else:
            where = f"level = {level} AND number >= {start} AND number < {start + count}"
            query = f"SELECT hash FROM tiles WHERE {where} ORDER BY number"
        return [row[0] for row in self._select(query)]

    def first_payload(self) -> Any:
        """Return the payload at position 1, which names the ledger; None if the log is empty."""
        return next(self._select("SELECT payload FROM events WHERE position = 1"), (None,))[0]

    def versions(self) -> Iterator[tuple[str, int]]:
        """Yield the continuing streams that are not jobs, with their version at the position."""
        tail = (
            "SELECT stream, MIN(version) - 1 AS version FROM events "
            f"WHERE position > {self._since} AND NOT starts_with(stream, 'job_') GROUP BY stream"
        )
        query = f"SELECT stream, version FROM events JOIN ({tail}) AS tail USING (stream, version)"
        for row in self._select(f"{query} WHERE position <= {self._since}"):
            yield row[0], row[1]


def _with_text(jobs: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for *row, video_id, body in jobs:
        yield *row, _text(video_id), body


def _text(stored: bytes | None) -> str | None:
    """Decode text even if it is not UTF-8: verification has to read it to report it."""
    return None if stored is None else stored.decode(errors="surrogateescape")
