"""Connecting to a ledger on PostgreSQL: session settings, recognition, numbered migrations.

A ledger lives in the first schema of the connection's search path (``public`` unless the URL says
``?options=-csearch_path%3Dname``), and is known by its table ``sora_ledger_schema``, one row per migration.
An empty schema becomes a ledger; one with other tables, a newer ledger or an old server is refused.
Migrations run in one transaction: after a crash the schema is as before, and the next process that writes
migrates it.
"""

import select
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import LedgerUnusable
from ledger.store.postgres.errors import NO_SCHEMA, label

SCHEMA_VERSION = 18
OLDEST_READABLE = 1
"""Later migrations only added tables that reading does not need."""
OLDEST_SERVER = 140_000
LOCK_TIMEOUT_MS = 15_000
ANSWER_S = 20.0
"""Longest wait for one answer: a frozen server still acknowledges packets but never answers. Longer than
`LOCK_TIMEOUT_MS`, so that a server that is only busy reports that first."""
LONG_ANSWER_S = 600.0
"""The same for a statement that reads or rewrites a whole ledger."""
DOUBT_S = 2.0
"""After this long without an answer, a new connection shows whether the server is reachable at all."""
PROBE_S = 3
"""Time-out of such a connection, and of one to a server that was silent before."""

_DEFAULTS: dict[str, Any] = {
    "application_name": "sora-ledger",
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_LISTED = ("host", "hostaddr", "port")
_SESSION = {
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(LOCK_TIMEOUT_MS),
    "default_transaction_isolation": "read committed",
    "client_min_messages": "warning",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
}
"""The statements of an append are planned once, which saves a fifth of a single append. They are planned
while the tables are still small, when a sequential scan would look cheaper than an index.
"""
_SYNCHRONOUS = """
SELECT set_config('synchronous_commit', 'on', %s) WHERE current_setting('synchronous_commit') = 'off'
"""
_POOLED = "SELECT pg_backend_pid() <> %s"
_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                AND deptype = 'e')
"""
_MIGRATING = 0x534C4447  # "SLDG", the advisory lock that one migration at a time takes

Result = TypeVar("Result")


class ServerSilent(psycopg.OperationalError):
    """The server accepted a statement and did not answer in time."""


class ServerGone(psycopg.OperationalError):
    """The server neither answered a statement nor accepted another connection."""


class Standby(psycopg.OperationalError):
    """The server is a standby; it may be about to be promoted."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection with a deadline for every answer; if it is missed, the connection is closed.

    `is_silent`, if set, says that the server accepts no other connection either. It is called while an answer
    is late: a frozen or unreachable server is noticed after five seconds, and a long statement continues.

    `pooled` is True behind a pooler such as pgbouncer: each transaction may run in another session of the
    server, so no session state may be relied on.
    """

    answer_s = ANSWER_S
    is_silent: Callable[["Connection"], bool] | None = None
    pooled = False
    generation = 0

    @cached_property
    def schema(self) -> int:
        """The number of the ledger's last migration when it was first asked for.

        Another process may migrate the ledger later. The tables and columns that older schemas read from
        remain.
        """
        return _version(self)

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """Wait at most `answer_s` for an answer; a caller with its own `timeout` handles it itself."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        started = time.monotonic()
        try:
            return super().wait(self._doubting(gen), interval, self.answer_s)
        except ServerGone:
            self.pgconn.finish()
            raise
        except psycopg.OperationalError:
            if time.monotonic() - started < self.answer_s:
                raise
            self.pgconn.finish()
            raise ServerSilent(f"it has not answered for {self.answer_s:g} s") from None

    def _doubting(self, gen: PQGen[Result]) -> PQGen[Result]:
        """Yield what `gen` yields; raise `ServerGone` if neither an answer nor the server is there."""
        started = checked_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and self.is_silent is not None and time.monotonic() - checked_at >= DOUBT_S:
                    if self.is_silent(self) and is_quiet(self):
                        waited_s = time.monotonic() - started
                        raise ServerGone(f"it has not answered for {waited_s:.0f} s, nor a new connection")
                    checked_at = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as done:
            return cast("Result", done.value)


class Place(NamedTuple):
    """The location of a ledger: the URL to connect to, and its name in messages."""

    url: str
    label: str

    @classmethod
    def at(cls, url: str) -> "Place":
        """Return the location `url`; `LedgerUnusable` if it cannot be parsed."""
        return cls(url, label(url))


def connect(
    place: Place,
    *,
    read_only: bool,
    hosts: Sequence[int] = (),
    timeout_s: int | None = None,
    is_silent: Callable[[Connection], bool] | None = None,
) -> Connection:
    """Open a connection with the settings of a ledger, trying the hosts with these indexes in this order.

    The caller turns psycopg's errors into messages.
    """
    parameters = {**_DEFAULTS, **conninfo_to_dict(place.url), "client_encoding": "utf8"}
    if timeout_s is not None:
        parameters["connect_timeout"] = timeout_s
    for name in _LISTED:
        values = str(parameters.get(name) or "").split(",")
        if len(values) > 1:
            parameters[name] = ",".join(values[host] for host in hosts or range(len(values)))
            if not read_only:
                parameters.setdefault("target_session_attrs", "read-write")  # the others are standbys
    db = Connection.connect(**parameters, autocommit=True)
    db.is_silent = is_silent
    try:
        _check_server(db, place)
        if not read_only:
            _check_primary(db)
        _begin_session(db, read_only=read_only)
    except BaseException:
        db.close()
        raise
    return db


def accepts(db: Connection, place: Place) -> bool:
    """Return False if the server of `db` keeps a new connection waiting `PROBE_S`; a refusal is an answer."""
    parameters: dict[str, Any] = conninfo_to_dict(place.url)
    parameters |= {"host": db.info.host, "port": db.info.port, "connect_timeout": PROBE_S}
    if db.info.hostaddr:
        parameters["hostaddr"] = db.info.hostaddr
    try:
        psycopg.Connection.connect(**parameters).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.Error:
        return True
    return True


def hosts_of(place: Place) -> list[tuple[str, str]]:
    """Return the name and the port of each host of `place`, in the order of its URL; "" is the default."""
    parts = conninfo_to_dict(place.url)
    names = str(parts.get("host") or parts.get("hostaddr") or "").split(",")
    ports = str(parts.get("port") or "").split(",")
    return list(zip(names, ports if len(ports) == len(names) else ports[:1] * len(names), strict=True))


def position_of(place: Place, db: Connection) -> int:
    """Return the index of the host of `place` that a connection is connected to."""
    there = {db.info.host, db.info.hostaddr}
    fits = (name in there and port in ("", str(db.info.port)) for name, port in hosts_of(place))
    return next((number for number, fit in enumerate(fits) if fit), 0)


def _check_primary(db: Connection) -> None:
    if db.info.parameter_status("in_hot_standby") == "on":
        raise Standby("it is a standby and has not been promoted")


def _begin_session(db: Connection, *, read_only: bool) -> None:
    """Apply the settings every statement relies on, unless the session is shared through a pooler.

    A pooler invents the process id that its clients see, so the server reports another one.
    """
    (db.pooled,) = db.execute(_POOLED, (db.info.backend_pid,)).fetchone() or (True,)
    if db.pooled:
        db.prepare_threshold = None  # prepared statements belong to a session
        return
    settings = {**_SESSION, **({"default_transaction_read_only": "on"} if read_only else {})}
    _set(db, settings, is_local=False)


def begin_transaction(db: Connection) -> None:
    """Begin the transaction of an append; inside a pipeline this costs no round trip."""
    db.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    if db.pooled:
        _set(db, _SESSION, is_local=True)


def _set(db: Connection, settings: Mapping[str, str], *, is_local: bool) -> None:
    names, values = list(settings), list(settings.values())
    query = "SELECT set_config(name, value, %s) FROM unnest(%s::text[], %s::text[]) AS setting (name, value)"
    db.execute(query, (is_local, names, values))
    db.execute(_SYNCHRONOUS, (is_local,))


def is_alive(db: Connection) -> bool:
    """Return True if an idle connection is still open; costs no round trip.

    A server sends nothing on an idle connection except the reason before it closes it.
    """
    return not db.closed and is_quiet(db)


def is_quiet(db: Connection) -> bool:
    """Return True if nothing has arrived from the server."""
    readable = select.poll()
    readable.register(db.pgconn.socket, select.POLLIN)
    return not readable.poll(0)


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
            "create one with createdb --encoding=UTF8 --template=template0",
            param="ledger",
            expected="UTF8: create one with createdb --encoding=UTF8 --template=template0",
        )


def recognise(db: Connection, place: Place, *, reading: bool = False) -> bool:
    """Return True if `db` has a ledger of this version, False if it is empty or older."""
    tables = {name for (name,) in db.execute(_TABLES)}
    if "sora_ledger_schema" in tables:
        version = _version(db)
        refuse_newer(version, place.label)
        return version >= (OLDEST_READABLE if reading else SCHEMA_VERSION)
    if tables:
        raise LedgerUnusable(
            f"ledger {place.label}: it is another program's database: "
            "create an empty one (createdb) and name it in SORA_LEDGER_URL",
            param="ledger",
            expected="a ledger or an empty database",
            found="another program's database",
        )
    if db.execute("SELECT current_schema()").fetchone() == (None,):
        raise LedgerUnusable(
            f"ledger {place.label}: {NO_SCHEMA}", param="ledger", expected="a schema to work in", found="none"
        )
    return False


def refuse_newer(version: int, label: str) -> None:
    """Raise `LedgerUnusable` if the schema is newer than this program."""
    if version > SCHEMA_VERSION:
        raise LedgerUnusable(
            f"ledger {label}: its schema is version {version}, this sora-ledger knows up to "
            f"version {SCHEMA_VERSION}: upgrade sora-ledger (pip install --upgrade sora-ledger)",
            param="ledger",
            expected=f"a schema up to version {SCHEMA_VERSION}",
            found=f"version {version}",
        )


def check_readable(db: Connection, place: Place) -> None:
    """Raise `LedgerUnusable` if there is no ledger."""
    if not recognise(db, place, reading=True):
        raise LedgerUnusable(
            f"ledger {place.label}: it is empty: `sora-ledger create` or `demo` begins a ledger",
            param="ledger",
            expected="a ledger with records",
            found="an empty one",
        )


def make_writable(db: Connection, place: Place, fill: Callable[[Connection], object]) -> None:
    """Turn an empty schema or an older ledger into a ledger of this version.

    `fill` creates the tables that migrations cannot, in the same transaction.
    """
    if not recognise(db, place):
        migrate(db, place, fill)


def migrate(db: Connection, place: Place, fill: Callable[[Connection], object]) -> None:
    """Upgrade the schema to `SCHEMA_VERSION`, in one transaction that other processes wait for."""
    with db.transaction():
        db.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
        if recognise(db, place):
            return  # another process migrated it first
        # The search path that functions keep: temporary tables, which anyone may create, come last.
        db.execute("SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)")
        done = _version(db) if db.execute(_TABLES).fetchone() else 0
        if done:  # an append waits here before it takes a snapshot, and then updates the tables as filled
            db.execute("LOCK TABLE head IN EXCLUSIVE MODE")
            db.execute("UPDATE head SET size = size")  # an older process must not append from its memory
        for number, name, script in _migrations():
            if number > done:
                db.execute(script)
                db.execute("INSERT INTO sora_ledger_schema VALUES (%s, %s)", (number, name))
        fill(db)


def _version(db: Connection) -> int:
    row = db.execute("SELECT COALESCE(MAX(version), 0) FROM sora_ledger_schema").fetchone()
    return int(row[0]) if row else 0


def _migrations() -> list[tuple[int, str, bytes]]:
    files = sorted((Path(__file__).parent / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [(int(file.name[:4]), file.stem, file.read_bytes()) for file in files]
