"""Connecting to a ledger on PostgreSQL: session settings, recognition, numbered migrations.

A ledger lives in the first schema of the connection's search path (``public`` unless the URL says
``?options=-csearch_path%3Dname``), and is known by its table ``sora_ledger_schema``, one row per migration.
An empty schema becomes a ledger; one with other tables, a newer ledger or an old server is refused.
"""

import selectors
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import LedgerUnusable
from ledger.store.postgres.trouble import NO_SCHEMA, label

SCHEMA_VERSION = 5
OLDEST_READABLE = 1
"""What came later are tables that reading does not need."""
OLDEST_SERVER = 140_000
LOCK_TIMEOUT_MS = 30_000
RECONNECT_S = 20.0
RECONNECT_PAUSE_S = 0.1

_DEFAULTS: dict[str, Any] = {
    "application_name": "sora-ledger",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_SESSION = f"""
SET lock_timeout = {LOCK_TIMEOUT_MS};
SET idle_in_transaction_session_timeout = {LOCK_TIMEOUT_MS};
SET default_transaction_isolation = 'read committed';
SET client_min_messages = 'warning';
SET plan_cache_mode = 'force_generic_plan';
SET enable_seqscan = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""
"""The statements of an append are planned once, not each time: that is a fifth of a single append. They are
planned while the tables are still small, where reading them whole would look cheaper than their indexes."""
_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                AND deptype = 'e')
"""
_MIGRATING = 0x534C4447  # "SLDG", the advisory lock that one migration at a time takes

Found = TypeVar("Found")
Connection = psycopg.Connection[tuple[Any, ...]]


class Place(NamedTuple):
    """Where a ledger is: the URL to connect to, and the name it has in messages."""

    url: str
    label: str

    @classmethod
    def at(cls, url: str) -> "Place":
        """Return the place `url` names, or `LedgerUnusable` if it cannot be read."""
        return cls(url, label(url))


def connect(place: Place, *, read_only: bool) -> Connection:
    """Open a connection with our settings; the caller turns psycopg's errors into words."""
    given = {**_DEFAULTS, **conninfo_to_dict(place.url), "client_encoding": "utf8"}
    db = psycopg.connect(**given, autocommit=True)
    try:
        _check_server(db, place)
        db.execute(_SESSION)
        if read_only:
            db.execute("SET default_transaction_read_only = on")
    except BaseException:
        db.close()
        raise
    return db


def patiently(place: Place, look: Callable[[Connection], Found]) -> Found:
    """Return what `look` finds over a new connection; a server may take `RECONNECT_S` to come back."""

    def try_once() -> Found:
        with closing(connect(place, read_only=False)) as db:
            return look(db)

    return _retried(try_once)


def connect_patiently(place: Place) -> Connection:
    """Open a connection for reading; a server may take `RECONNECT_S` to come back."""
    return _retried(lambda: connect(place, read_only=True))


def _retried(try_once: Callable[[], Found]) -> Found:
    deadline = time.monotonic() + RECONNECT_S
    while True:
        try:
            return try_once()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RECONNECT_PAUSE_S)


def is_alive(db: Connection) -> bool:
    """Say whether an idle connection still stands; costs no round trip.

    A server has nothing to say to one unless it hangs up, and then there is its reason to read.
    """
    if db.closed:
        return False
    with selectors.DefaultSelector() as readable:
        readable.register(db.pgconn.socket, selectors.EVENT_READ)
        return not readable.select(0)


def _check_server(db: Connection, place: Place) -> None:
    found = db.info.server_version
    if found < OLDEST_SERVER:
        raise LedgerUnusable(
            f"ledger {place.label}: the server is PostgreSQL {found // 10_000}, a ledger needs "
            f"{OLDEST_SERVER // 10_000} or newer: upgrade it or name another in SORA_LEDGER_URL"
        )
    encoding = db.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise LedgerUnusable(
            f"ledger {place.label}: the database's encoding is {encoding}, expected UTF8: "
            "create one with createdb --encoding=UTF8 --template=template0"
        )


def recognise(db: Connection, place: Place, *, reading: bool = False) -> bool:
    """Say whether `db` holds a ledger of this version; False means it is empty or older."""
    tables = {name for (name,) in db.execute(_TABLES)}
    if "sora_ledger_schema" in tables:
        version = _version(db)
        if version > SCHEMA_VERSION:
            raise LedgerUnusable(
                f"ledger {place.label}: its schema is version {version}, this sora-ledger knows up to "
                f"version {SCHEMA_VERSION}: upgrade sora-ledger (pip install --upgrade sora-ledger)"
            )
        return version >= (OLDEST_READABLE if reading else SCHEMA_VERSION)
    if tables:
        raise LedgerUnusable(
            f"ledger {place.label}: it is a database of another program: "
            "create an empty one (createdb) and name it in SORA_LEDGER_URL"
        )
    if db.execute("SELECT current_schema()").fetchone() == (None,):
        raise LedgerUnusable(f"ledger {place.label}: {NO_SCHEMA}")
    return False


def open_reading(place: Place) -> Connection:
    """Connect for reading; `LedgerUnusable` if there is no ledger."""
    db = connect(place, read_only=True)
    try:
        is_ledger = recognise(db, place, reading=True)
    except BaseException:
        db.close()
        raise
    if not is_ledger:
        db.close()
        raise LedgerUnusable(
            f"ledger {place.label}: it is empty: `sora-ledger create` or `demo` begins a ledger"
        )
    return db


def open_writing(place: Place) -> Connection:
    """Connect for writing; an empty schema becomes a ledger."""
    db = connect(place, read_only=False)
    try:
        if not recognise(db, place):
            migrate(db, place)
    except BaseException:
        db.close()
        raise
    return db


def migrate(db: Connection, place: Place) -> None:
    """Bring the schema to `SCHEMA_VERSION`, in one transaction that others wait for."""
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
        if recognise(db, place):
            return  # another process did it in between
        # What functions keep as their own search path: temporary tables, which anyone may make, come last.
        db.execute("SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)")
        done = _version(db) if db.execute(_TABLES).fetchone() else 0
        for number, name, script in _migrations():
            if number > done:
                db.execute(script)
                db.execute("INSERT INTO sora_ledger_schema VALUES (%s, %s)", (number, name))


def _version(db: Connection) -> int:
    row = db.execute("SELECT COALESCE(MAX(version), 0) FROM sora_ledger_schema").fetchone()
    return int(row[0]) if row else 0


def _migrations() -> list[tuple[int, str, bytes]]:
    files = sorted((Path(__file__).parent / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [(int(file.name[:4]), file.stem, file.read_bytes()) for file in files]
