"""A ledger at one moment: a consistent snapshot of every table, and a backup of the whole file.

For verification the tables are read with plain SELECTs.

A backup is copied page by page while other processes write (SQLite's online backup). The source is read in
one transaction, so the copy is a snapshot and writers are not blocked. A copy is one file without a
write-ahead log, readable only by its owner. It gets its name once it is complete and synchronised to disk.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Self

from ledger.errors import LedgerUnusable
from ledger.private_files import NewFile
from ledger.store.sqlite.connection import open_reading, usable

PAGES = 1_000
"""Pages to copy between two progress reports."""


def copy_file(
    source: Path, target: Path, progress: Callable[[int, int], object], check: Callable[[Path], bool]
) -> None:
    """Copy the ledger at `source` to the new file `target`, if `check` accepts the copy."""
    try:
        # An error or Ctrl-C removes the unfinished copy. A crash leaves it under its hidden `.part` name:
        # nothing reads it, and the next backup begins a new one.
        with NewFile(target) as part:
            with usable(source), closing(open_reading(source)) as db:
                _copy(db, part.path, target, progress)
            if check(part.path):
                part.link()
    except FileExistsError:
        raise LedgerUnusable(
            f"{target}: another program created it in the meantime; it was left unchanged"
        ) from None
    except OSError as error:
        raise LedgerUnusable(
            f"{target}: cannot be written ({error.strerror})",
            expected="a place that can be written",
            found=error.strerror,
        ) from error


def _copy(db: sqlite3.Connection, part: Path, target: Path, progress: Callable[[int, int], object]) -> None:
    db.execute("BEGIN")
    db.execute("SELECT size FROM head").fetchone()  # from now on this connection reads this snapshot
    trouble = usable(target, what="copy", undone="the unfinished copy was removed")
    with trouble, closing(sqlite3.connect(part, isolation_level=None)) as copy:
        db.backup(copy, pages=PAGES, progress=lambda _, left, total: progress(total - left, total))
        copy.execute("PRAGMA journal_mode = DELETE")
        [(problems,), *_] = copy.execute("PRAGMA integrity_check(1)").fetchall()
        if problems != "ok":
            raise LedgerUnusable(f"ledger file: the copy is damaged ({problems}): make another backup")


_EVENTS = (
    "SELECT position, event_id, stream, version, type, actor, trace_id, recorded_at, record, payload, leaf "
    "FROM events"
)
_BODIES = "SELECT commitment, position, field, salt, text FROM private_bodies"
_JOBS = "SELECT * FROM jobs"  # actor and team, the last two columns, came with migration 9
_HOLDS = "SELECT budget, job_id, reserved_usd_micros, settled_usd_micros FROM holds"
_RECORDS = "SELECT position, record, payload, leaf FROM events"
_AT_ONCE = 400
TOTALS = (
    "SELECT (SELECT MIN(position) FROM events), (SELECT MAX(position) FROM events), "
    "(SELECT COUNT(*) FROM jobs), "
    "(SELECT COUNT(*) FROM holds WHERE (reserved_usd_micros = 0 AND settled_usd_micros = 0) IS NOT TRUE), "
    "(SELECT COUNT(*) FROM private_bodies WHERE (position > 0 AND position <= {}) IS NOT TRUE)"
)


class SqliteSnapshot:
    """All tables of the ledger at `path` in one snapshot; a context manager."""

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
        count = 0
        with usable(self._path):
            try:
                for row in self._db.execute(query):
                    yield row
                    count += 1
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
                self._db.text_factory = _text  # slow, so only if there is such text
                yield from islice(self._db.execute(query), count, None)

    def _query(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with usable(self._path):
            for row in self._db.execute(query, values):  # noqa: UP028  # `yield from` would close the cursor
                yield row

    def share(self) -> None:
        """Return nothing: another process opens the file itself and compares the head."""

    def events(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the eight search columns, then record, payload and leaf, by position."""
        return self._select(f"{_EVENTS} WHERE position > {after:d} ORDER BY position")

    def blocks(self, after: int, until: int, count: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of events after one position up to another, `count` at a time."""
        between = "WHERE position > ? AND position <= ? ORDER BY position"
        with usable(self._path):
            rows = self._db.execute(f"{_EVENTS} {between}", (after, until))
            while block := rows.fetchmany(count):
                yield block

    def bodies_between(self, after: int, until: int) -> Iterator[tuple[Any, ...]]:
        """Yield commitment, position, field, salt, text, by position."""
        between = "WHERE position > ? AND position <= ? ORDER BY position"
        return self._query(f"{_BODIES} {between}", after, until)

    def of_types(self, types: Sequence[str], until: int) -> Iterator[tuple[Any, ...]]:
        """Yield position, record, payload and leaf of the events of these types up to a position."""
        names = ", ".join("?" * len(types))
        where = f"position <= ? AND type IN ({names}) ORDER BY position"
        return self._query(f"{_RECORDS} WHERE {where}", until, *types)

    def history(self, stream: str, before: int) -> list[tuple[Any, ...]]:
        """Return position, record, payload and leaf of the events of a stream before a position."""
        where = "stream = ? AND position < ? ORDER BY version"
        return list(self._query(f"{_RECORDS} WHERE {where}", stream, before))

    def job_rows(self, job_ids: Collection[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of these jobs."""
        for part in _in_parts(sorted(job_ids)):
            yield from self._query(f"{_JOBS} WHERE job_id IN ({', '.join('?' * len(part))})", *part)

    def hold_rows(self, holds: Collection[tuple[str, str]]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of these pairs of budget and job."""
        for part in _in_parts(sorted(holds)):
            pairs = ", ".join(["(?, ?)"] * len(part))
            query = f"{_HOLDS} WHERE (budget, job_id) IN (VALUES {pairs})"
            yield from self._query(query, *(value for hold in part for value in hold))

    def totals(self, size: int) -> tuple[int, int, int, int, int]:
        """Return first and last position, and the number of jobs, holds of money, and stray bodies."""
        first, last, jobs, holds, stray = next(self._query(TOTALS.format("?"), size))
        return first, last, jobs, holds, stray

    def head(self) -> tuple[int, bytes]:
        """Return size and frontier."""
        size, frontier = next(self._select("SELECT size, frontier FROM head WHERE id = 1"), (0, b""))
        return size, frontier

    def tiles(self) -> Iterator[tuple[Any, ...]]:
        """Yield level, number, hash."""
        return self._select("SELECT level, number, hash FROM tiles ORDER BY level, number")

    def bodies(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield commitment, position, field, salt, text, by position."""
        return self._select(f"{_BODIES} WHERE position > {after:d} ORDER BY position")

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        """Yield job_id, version, position, state, profile, video_id, body, and actor and team if there."""
        return self._select(_JOBS)

    def holds(self) -> Iterator[tuple[Any, ...]]:
        """Yield budget, job_id, reserved_usd_micros, settled_usd_micros."""
        return self._select(_HOLDS)

    def documents(self) -> Iterator[tuple[Any, ...]]:
        """Yield sha256, body."""
        return self._select("SELECT sha256, body FROM documents")


class SqliteTail(SqliteSnapshot):
    """The records after position `since`, and everything about the jobs that continue after it."""

    def __init__(self, path: Path, since: int) -> None:
        super().__init__(path)
        self._since = int(since)
        self._touched = (
            f"(SELECT DISTINCT stream FROM events WHERE position > {self._since} AND stream GLOB 'job_*')"
        )
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
        return self._select(f"{_JOBS} WHERE job_id IN {self._touched}")

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
            f"WHERE position > {self._since} AND NOT stream GLOB 'job_*' GROUP BY stream"
        )
        query = f"SELECT stream, version FROM events JOIN ({tail}) AS tail USING (stream, version)"
        for row in self._select(f"{query} WHERE position <= {self._since}"):
            yield row[0], row[1]


def _in_parts(values: list[Any]) -> Iterator[list[Any]]:
    """Yield as many values at a time as fit in one statement."""
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _text(stored: bytes) -> str:
    """Decode text even if it is not UTF-8: verification has to read it to report it."""
    return stored.decode(errors="surrogateescape")
