"""A ledger on PostgreSQL as one archive, made and read by PostgreSQL's own programs.

``pg_dump`` sees the ledger of one moment while others write, and ours is the snapshot it sees, so that the
head of the ledger in the archive is known. It has to be as new as the server, so the
oldest that is new enough is taken of those on PATH and where packages put them. Passwords go to the programs
in their environment, where other users of the machine do not see them.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import NamedTemporaryFile

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.errors import LedgerUnusable
from ledger.private_files import NewFile
from ledger.store.postgres.connection import Connection, Place, check_readable, recognise
from ledger.store.postgres.errors import usable
from ledger.store.postgres.outage import outage_of
from ledger.store.postgres.read_for_append import read_head
from ledger.tree.merkle import Frontier

_SNAPSHOT = "SELECT current_schema(), pg_export_snapshot()"
_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")


def dump(place: Place, file: Path) -> Frontier:
    """Write the ledger at `place` to the new archive `file`, and return the right edge of its tree.

    Nothing is left of an archive that fails.
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
        raise LedgerUnusable(f"{file}: it cannot be written ({error.strerror})") from error


def restore(place: Place, file: Path) -> None:
    """Put the archive `file` into the empty schema at `place`, all of it or nothing."""
    with usable(place.label), closing(outage_of(place).connect(read_only=False)) as db:
        _refuse_pooler(db, place, "pg_restore")
        if recognise(db, place):
            raise LedgerUnusable(f"ledger {place.label}: there is one already: name an empty database")
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
            f"ledger {place.label}: a connection pooler is in between, and {program} needs a session of "
            "its own: name the PostgreSQL server itself with --ledger"
        )


def _check_schema(listed: str, schema: str, file: Path, place: Place) -> None:
    found = re.search(r"^\d+; \d+ \d+ TABLE (.+) sora_ledger_schema ", listed, re.MULTILINE)
    if found is None:
        raise LedgerUnusable(f"backup {file}: it is an archive of another program's tables, not of a ledger")
    if found[1] != schema:
        raise LedgerUnusable(
            f"backup {file}: it is of the schema {found[1]}, and {place.label} leads to {schema or 'none'}: "
            f"create schema {found[1]} and add ?options=-csearch_path%3D{found[1]} to the URL"
        )


def _program(name: str, major: int) -> str:
    """Return the oldest program of this name that is as new as the server."""
    found = {path: _major(path) for path in _candidates(name)}
    fitting = {path: version for path, version in found.items() if version >= major}
    if fitting:
        return min(fitting, key=fitting.__getitem__)
    there = ", ".join(f"{path} is of version {version}" for path, version in found.items())
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
    asked = [program, "--version"]
    said = subprocess.run(asked, check=False, capture_output=True, text=True)  # noqa: S603  # found by name
    found = re.search(r"\) (\d+)", said.stdout)
    return int(found[1]) if found else 0


def _conninfo(place: Place) -> str:
    return make_conninfo(**{name: value for name, value in _given(place).items() if name != "password"})


def _given(place: Place) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(place.url).items() if value is not None}


def _run(place: Place, command: list[str]) -> str:
    """Run one of the programs; return what it printed, or say what it said."""
    password = _given(place).get("password")
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    ended = subprocess.run(  # noqa: S603  # found by name, with arguments of ours
        command, check=False, capture_output=True, text=True, env=environment
    )
    if ended.returncode:
        said = " ".join(ended.stderr.split()) or f"it ended with {ended.returncode}"
        if "No space left" in said:
            said += "; nothing is left of the backup: free space there, or name another file, and repeat"
        raise LedgerUnusable(f"ledger {place.label}: {Path(command[0]).name} failed: {said}")
    return ended.stdout
