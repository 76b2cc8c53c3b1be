"""Opening a ledger file: pragmas, recognition, numbered migrations, and messages for SQLite's errors.

A ledger file carries an application id and, as ``user_version``, the number of its last migration. An empty
file becomes a ledger; a foreign database, a newer ledger or a file that is no database is refused.

Migrations run in one transaction together with the new version number. A crash in between leaves the file as
it was, and the next process that opens it for writing migrates it.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import LedgerUnusable
from ledger.private_files import begin_private

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x534C4447  # "SLDG"
SCHEMA_VERSION = 22
OLDEST_READABLE = 1
"""Reading does not need the tables, columns and indexes of later migrations."""
BUSY_TIMEOUT_MS = 30_000
BUSY_PAUSE_S = 0.01

_MEANINGS = {
    "SQLITE_FULL": "the disk is full{undone}: free space on it",
    "SQLITE_IOERR": "reading or writing failed ({error}){undone}: check disk and quota",
    "SQLITE_BUSY": f"another program kept it locked for {BUSY_TIMEOUT_MS // 1000} s: wait for it or stop it",
    "SQLITE_LOCKED": "it is locked by another connection: wait until that one has finished",
    "SQLITE_READONLY": "it is read-only: make file and folder writable, or name another with --ledger",
    "SQLITE_NOTADB": "it is not a SQLite database: name another file with --ledger",
    "SQLITE_CORRUPT": "the file is damaged ({error}): restore a backup, then run `sora-ledger verify`",
    "SQLITE_CANTOPEN": "it cannot be opened: check that the folder exists and that you may read and write it",
    "SQLITE_PERM": "access is denied: check the permissions of file and folder",
}


class Connection(sqlite3.Connection):
    """A connection to a ledger."""

    @cached_property
    def schema(self) -> int:
        """The number of the ledger's last migration when it was first asked for.

        Another process may migrate the ledger later. The tables and columns that older schemas read from
        remain.
        """
        version: int = self.execute("PRAGMA user_version").fetchone()[0]
        return version


@contextmanager
def usable(path: Path, *, what: str = "ledger", undone: str = "") -> Iterator[None]:
    """Turn SQLite's errors into `LedgerUnusable` with the file, the cause and the next step.

    `undone` describes the state after a failure, if the caller knows it; `what` is what the file should be.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise unusable(error, path, what=what, undone=undone) from error


def unusable(error: sqlite3.Error, path: Path, *, what: str = "ledger", undone: str = "") -> LedgerUnusable:
    """Return what `usable` raises for an error of SQLite."""
    name = getattr(error, "sqlite_errorname", None) or ""
    meaning = next((text for prefix, text in _MEANINGS.items() if name.startswith(prefix)), "{error}")
    if str(error).startswith("Could not decode"):  # the error repeats the text, which may be private
        meaning = "it contains text that is not UTF-8: `sora-ledger verify` says where"
    undone = f"; {undone}" if undone else ""
    return LedgerUnusable(f"{what} {path}: {meaning.format(error=error, undone=undone)}")


def roll_back(db: sqlite3.Connection) -> None:
    """Roll back the open transaction; after some errors, SQLite has already done so."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def connect(path: Path, *, read_only: bool) -> Connection:
    """Open `path` and set the pragmas; the caller checks that it is a ledger."""
    if not read_only:
        begin_private(path)  # SQLite gives its -wal and -shm files the same permissions
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    connection = _connect(uri)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
    return connection


def _connect(uri: str) -> Connection:
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0, factory=Connection
    )


def use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, waiting for other connections up to the busy timeout.

    If two connections to a new file switch at the same time, each would wait for the other, so SQLite gives
    one of them SQLITE_BUSY immediately.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE_S)
        else:
            return


def connect_reading(path: Path) -> Connection:
    """Open `path` for reading, even if its folder is not writable.

    WAL needs a writable ``-shm`` next to the file. Without a ``-wal`` nothing is pending and the file is the
    whole ledger, so it can be read as immutable.
    """
    connection = connect(path, read_only=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        needs_shm = error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))
        if not needs_shm or path.with_name(path.name + "-wal").exists() or not path.exists():
            raise
        return _connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1")
    return connection


def open_reading(path: Path) -> Connection:
    """Open the ledger at `path` for reading; `LedgerUnusable` if the file is not a ledger."""
    connection = connect_reading(path)
    try:
        is_ledger = recognise(connection, path, reading=True)
    except BaseException:
        connection.close()
        raise
    if not is_ledger:
        connection.close()
        raise LedgerUnusable(
            f"ledger {path}: it is empty: `sora-ledger create` or `demo` begins a ledger",
            param="ledger",
            expected="a ledger with records",
            found="an empty file",
        )
    return connection


def recognise(connection: sqlite3.Connection, path: Path, *, reading: bool = False) -> bool:
    """Return True if `connection` has a ledger of this version, False if it is empty or older."""
    # Tables first: another process that creates the ledger now commits them together with the application id.
    has_tables = bool(connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])
    application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id == APPLICATION_ID:
        _refuse_newer(version, path)
        return version >= (OLDEST_READABLE if reading else SCHEMA_VERSION)
    if has_tables:
        raise LedgerUnusable(
            f"ledger {path}: it is another program's SQLite database: name another file with --ledger",
            param="ledger",
            expected="a ledger or a new file",
            found="another program's SQLite database",
        )
    return False


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `LedgerUnusable` if a newer program has upgraded the ledger in the meantime."""
    _refuse_newer(connection.execute("PRAGMA user_version").fetchone()[0], path)


def _refuse_newer(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise LedgerUnusable(
            f"ledger {path}: its schema is version {version}, this sora-ledger knows up to version "
            f"{SCHEMA_VERSION}: upgrade sora-ledger (pip install --upgrade sora-ledger)",
            param="ledger",
            expected=f"a schema up to version {SCHEMA_VERSION}",
            found=f"version {version}",
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Upgrade the schema to `SCHEMA_VERSION`, inside the caller's transaction."""
    from sqlite_utils import Database  # takes 0.1 s, and only a new or old file needs it
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("sora-ledger")
    for file in _migration_files():
        migrations(name=file.stem)(_runner(file.read_text(encoding="utf-8")))
    migrations.apply(Database(connection))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migration_files() -> list[Path]:
    return sorted((Path(__file__).parent / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))


def _runner(sql: str) -> "Callable[[Database], None]":
    def run(db: "Database") -> None:
        for statement in _statements(sql):
            db.execute(statement)

    return run


def _statements(sql: str) -> Iterator[str]:
    """Split a script; `executescript` would commit the caller's transaction."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
