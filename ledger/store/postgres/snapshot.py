"""A ledger at one moment: a consistent snapshot of every table, and a backup as one archive.

For verification the tables are read with plain SELECTs, without interpretation. REPEATABLE READ makes it one
snapshot; rows come through a server-side cursor, in chunks.

A backup is written and read by PostgreSQL's own programs. ``pg_dump`` reads the snapshot that this module
exports, so the head of the ledger in the archive is known, and writers are not blocked. The program must be
at least as new as the server: among those on PATH and in the package folders, the oldest that is new enough
is used. Passwords are passed in the environment, where other users of the machine do not see them.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL

from ledger.errors import LedgerUnusable
from ledger.private_files import NewFile
from ledger.store.postgres.append_rows import read_head
from ledger.store.postgres.connection import LONG_ANSWER_S, Connection, Place, check_readable, recognise
from ledger.store.postgres.errors import usable
from ledger.store.postgres.outage import outage_of
from ledger.tree.merkle import Frontier

_SNAPSHOT = "SELECT current_schema(), pg_export_snapshot()"
_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")


def dump(place: Place, file: Path) -> Frontier:
    """Write the ledger at `place` to the new archive `file`, and return the right edge of its tree.

    An error removes the unfinished archive. A crash leaves it under its hidden ``.part`` name, which nothing
    reads.
    """
    with usable(place.label), closing(outage_of(place).connect(read_only=True)) as db:
        _refuse_pooler(db, place, "pg_dump")
        check_readable(db, place)
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        schema, snapshot = db.execute(_SNAPSHOT).fetchone() or ("", "")
        edge = read_head(db)
        _write(place, file, _program("pg_dump", db.info.server_version // 10_000), schema, snapshot)
    return edge


def _write(place: Place, file: Path, program: str, schema: str, snapshot: str) -> None:
    what = ["--format=custom", "--no-owner", "--no-privileges", f'--schema="{schema}"']
    try:
        with NewFile(file) as part:
            where = [f"--snapshot={snapshot}", f"--file={part.path}", f"--dbname={_conninfo(place)}"]
            _run(place, [program, *what, *where])
            part.link()
    except OSError as error:
        raise LedgerUnusable(
            f"{file}: cannot be written ({error.strerror})",
            param="ledger",
            expected="a place that can be written",
            found=error.strerror,
        ) from error


def restore(place: Place, file: Path) -> None:
    """Restore the archive `file` into the empty schema at `place`, all or nothing.

    ``pg_restore`` works in one transaction: after a crash the schema is still empty, and a repeat starts
    over.
    """
    with usable(place.label), closing(outage_of(place).connect(read_only=False)) as db:
        _refuse_pooler(db, place, "pg_restore")
        if recognise(db, place):
            raise LedgerUnusable(
                f"ledger {place.label}: it already exists: name an empty database",
                param="ledger",
                expected="a new name",
                found="a file of this name",
            )
        (schema,) = db.execute("SELECT current_schema()").fetchone() or (None,)
        major = db.info.server_version // 10_000
    program = _program("pg_restore", major)
    listed = _run(place, [program, "--list", str(file)])
    _check_schema(listed, schema or "", file, place)
    contents = "\n".join(line for line in listed.splitlines() if not re.search(r"^\d+;.* SCHEMA - ", line))
    with NamedTemporaryFile("w", encoding="utf-8") as chosen:
        chosen.write(contents)
        chosen.flush()
        how = ["--no-owner", "--no-privileges", "--single-transaction", f"--use-list={chosen.name}"]
        _run(place, [program, *how, f"--dbname={_conninfo(place)}", str(file)])


def _refuse_pooler(db: Connection, place: Place, program: str) -> None:
    if db.pooled:
        raise LedgerUnusable(
            f"ledger {place.label}: there is a connection pooler in between, and {program} needs its own "
            "session: name the PostgreSQL server itself with --ledger"
        )


def _check_schema(listed: str, schema: str, file: Path, place: Place) -> None:
    match = re.search(r"^\d+; \d+ \d+ TABLE (.+) sora_ledger_schema ", listed, re.MULTILINE)
    if match is None:
        raise LedgerUnusable(f"backup {file}: it is an archive of another program, not of a ledger")
    if match[1] != schema:
        raise LedgerUnusable(
            f"backup {file}: it has the schema {match[1]}, and {place.label} leads to {schema or 'none'}: "
            f"create schema {match[1]} and add ?options=-csearch_path%3D{match[1]} to the URL"
        )


def _program(name: str, major: int) -> str:
    """Return the oldest program of this name that is at least as new as the server."""
    versions = {path: _major(path) for path in _candidates(name)}
    fitting = {path: version for path, version in versions.items() if version >= major}
    if fitting:
        return min(fitting, key=fitting.__getitem__)
    there = ", ".join(f"{path} is of version {version}" for path, version in versions.items())
    raise LedgerUnusable(
        f"{name} {major} or newer is needed for this server, and {there or 'there is none on PATH'}: "
        f"install PostgreSQL's client programs (Debian: postgresql-client-{major}), or copy the ledger to a "
        "file with `sora-ledger copy`"
    )


def _candidates(name: str) -> Iterator[str]:
    on_path = shutil.which(name)
    if on_path:
        yield on_path
    for folder in _FOLDERS:
        for path in sorted(Path("/").glob(f"{folder}/{name}")):
            yield str(path)


def _major(program: str) -> int:
    command = [program, "--version"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # by name
    match = re.search(r"\) (\d+)", ended.stdout)
    return int(match[1]) if match else 0


def _conninfo(place: Place) -> str:
    return make_conninfo(**{name: value for name, value in _parameters(place).items() if name != "password"})


def _parameters(place: Place) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(place.url).items() if value is not None}


def _run(place: Place, command: list[str]) -> str:
    """Run one of the programs and return its output, or raise its error message."""
    password = _parameters(place).get("password")
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    ended = subprocess.run(  # noqa: S603  # found by name, with known arguments
        command, check=False, capture_output=True, text=True, env=environment
    )
    if ended.returncode:
        message = " ".join(ended.stderr.split()) or f"exit code {ended.returncode}"
        if "No space left" in message:
            message += "; the unfinished backup was removed: free space, or name another file, and repeat"
        raise LedgerUnusable(f"ledger {place.label}: {Path(command[0]).name} failed: {message}")
    return ended.stdout


_PART = 2_000
_EVENTS = (
    "SELECT position, event_id, stream, version, type, actor, trace_id, recorded_at, record, payload, leaf "
    "FROM events"
)
_BODIES = "SELECT commitment, position, field, salt, text FROM private_bodies"
_JOBS = "SELECT * FROM jobs"  # actor and team, the last two columns, came with migration 9
_HOLDS = "SELECT budget, job_id, reserved_usd_micros, settled_usd_micros FROM holds"
_RECORDS = "SELECT position, record, payload, leaf FROM events"
TOTALS = (
    "SELECT (SELECT MIN(position) FROM events), (SELECT MAX(position) FROM events), "
    "(SELECT COUNT(*) FROM jobs), "
    "(SELECT COUNT(*) FROM holds WHERE (reserved_usd_micros = 0 AND settled_usd_micros = 0) IS NOT TRUE), "
    "(SELECT COUNT(*) FROM private_bodies WHERE (position > 0 AND position <= %s) IS NOT TRUE)"
)


class PostgresSnapshot:
    """All tables of the ledger at `url` in one snapshot; a context manager."""

    def __init__(self, url: str, exported: str | None = None) -> None:
        self._place = Place.at(url)
        self._exported = exported
        self._cursors = count(1)

    def __enter__(self) -> Self:
        with usable(self._place.label):
            self._db: Connection = outage_of(self._place).connect(read_only=True)
            try:
                check_readable(self._db, self._place)
                self._db.answer_s = LONG_ANSWER_S
                self._db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                if self._exported is not None:
                    self._db.execute(SQL("SET TRANSACTION SNAPSHOT {}").format(self._exported))
                # Verification may pause for long between two queries.
                self._db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            except BaseException:
                self._db.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _select(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        name = f"part_{next(self._cursors)}"  # several may be open at once
        with usable(self._place.label), self._db.cursor(name, binary=True) as cursor:
            cursor.itersize = _PART
            yield from cursor.execute(query, values or None)

    def share(self) -> str | None:
        """Return the id with which another connection opens this snapshot; None behind a pooler."""
        if self._db.pooled:
            return None
        with usable(self._place.label):
            ((exported,),) = self._db.execute("SELECT pg_export_snapshot()").fetchall()
        return str(exported)

    def blocks(self, after: int, until: int, count: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of events after one position up to another, `count` at a time."""
        between = "WHERE position > %s AND position <= %s ORDER BY position"
        rows = self._select(f"{_EVENTS} {between}", after, until)
        while block := list(islice(rows, count)):
            yield block

    def bodies_between(self, after: int, until: int) -> Iterator[tuple[Any, ...]]:
        """Yield commitment, position, field, salt, text in UTF-8, by position."""
        between = "WHERE position > %s AND position <= %s ORDER BY position"
        return self._select(f"{_BODIES} {between}", after, until)

    def of_types(self, types: Sequence[str], until: int) -> Iterator[tuple[Any, ...]]:
        """Yield position, record, payload and leaf of the events of these types up to a position."""
        where = "position <= %s AND type = ANY(%s) ORDER BY position"
        return self._select(f"{_RECORDS} WHERE {where}", until, list(types))

    def history(self, stream: str, before: int) -> list[tuple[Any, ...]]:
        """Return position, record, payload and leaf of the events of a stream before a position."""
        where = "stream = %s AND position < %s ORDER BY version"
        return list(self._select(f"{_RECORDS} WHERE {where}", stream, before))

    def job_rows(self, job_ids: Collection[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of these jobs."""
        return _with_text(self._select(f"{_JOBS} WHERE job_id = ANY(%s)", list(job_ids)))

    def hold_rows(self, holds: Collection[tuple[str, str]]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of these pairs of budget and job."""
        wanted = "unnest(%s::text[], %s::text[]) AS wanted (budget, job_id)"
        budgets, job_ids = zip(*holds, strict=True)
        return self._select(f"{_HOLDS} JOIN {wanted} USING (budget, job_id)", list(budgets), list(job_ids))

    def totals(self, size: int) -> tuple[int, int, int, int, int]:
        """Return first and last position, and the number of jobs, holds of money, and stray bodies."""
        first, last, jobs, holds, stray = next(self._select(TOTALS, size))
        return first, last, jobs, holds, stray

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
        """Yield job_id, version, position, state, profile, video_id, body, and actor and team if there."""
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
    for job_id, version, position, state, profile, video_id, *rest in jobs:
        yield job_id, version, position, state, profile, _text(video_id), *rest


def _text(stored: bytes | None) -> str | None:
    """Decode text even if it is not UTF-8: verification has to read it to report it."""
    return None if stored is None else stored.decode(errors="surrogateescape")
