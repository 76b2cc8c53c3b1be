"""What PostgreSQL's errors mean to people: `LedgerUnusable` with the cause and the next step.

The server's own words are kept; the URL is named without its password.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import LedgerUnusable

NO_SCHEMA = "the schema it is to live in does not exist: create it, or set search_path to one that does"
_NOTHING = "nothing of this append was recorded"
_SERVER_SAYS = {
    "28": "the server does not let this user in ({error}): check user and password in SORA_LEDGER_URL",
    "3D000": "there is no such database: create it (createdb) or name another in SORA_LEDGER_URL",
    "3F000": NO_SCHEMA,
    "42501": "the user lacks a right ({error}): have the database's owner run the grants of a ledger role",
    "25006": "it is read-only here ({error}): connect to the primary server, as a user who may write",
    "53100": f"the server's disk is full; {_NOTHING}: free space there",
    "53300": "the server takes no more connections ({error}): close some or raise max_connections",
    "55P03": "another program kept it locked ({error}): wait for it or stop it",
    "57P": "the server is going down or starting up ({error}): wait for it",
    "58": f"the server cannot read or write its files ({{error}}); {_NOTHING}: check its disk",
    "XX": "the database is damaged ({error}): restore a backup, then run `sora-ledger verify`",
}
"""By the first characters of SQLSTATE."""

_LIBPQ_SAYS = {
    "password authentication failed": _SERVER_SAYS["28"],
    "no password supplied": _SERVER_SAYS["28"],
    "no pg_hba.conf entry": _SERVER_SAYS["28"],
    "permission denied for database": _SERVER_SAYS["42501"],
    "too many": _SERVER_SAYS["53300"],
    "remaining connection slots": _SERVER_SAYS["53300"],
    "the database system is": _SERVER_SAYS["57P"],
    'role "': _SERVER_SAYS["28"],
    'database "': _SERVER_SAYS["3D000"],
}
"""By what a connection that was refused says, the first that fits: libpq gives no SQLSTATE there."""

_UNREACHABLE = "the server cannot be reached ({error}): start it, or check host and port in SORA_LEDGER_URL"
_BROKEN = "the connection to the server broke ({error}): check that it runs and can be reached"


def label(url: str) -> str:
    """Return how messages name the ledger at `url`: without password and options."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        raise LedgerUnusable(
            "ledger URL postgresql://…: it cannot be read: expected "
            "postgresql://user:password@host:5432/database, with %40 for an @ in the password and so on"
        ) from None  # the cause may repeat the password
    user, port = parts.get("user"), parts.get("port")
    where = f"{user}@" if user else ""
    where += f"{parts.get('host') or 'localhost'}"
    where += f":{port}" if port else ""
    return f"postgresql://{where}/{parts.get('dbname') or user or ''}"


@contextmanager
def usable(name: str) -> Iterator[None]:
    """Turn psycopg's errors into `LedgerUnusable` about the ledger called `name`."""
    try:
        yield
    except psycopg.Error as error:
        raise LedgerUnusable(f"ledger {name}: {meaning(error)}") from error


def meaning(error: psycopg.Error) -> str:
    """Return cause and next step of `error`."""
    said = " ".join(str(error).split())
    state = error.sqlstate
    if state:
        text = next((text for prefix, text in _SERVER_SAYS.items() if state.startswith(prefix)), "{error}")
    elif isinstance(error, psycopg.OperationalError):
        otherwise = _BROKEN if _was_connected(error) else _UNREACHABLE
        text = next((text for words, text in _LIBPQ_SAYS.items() if words in said), otherwise)
    else:
        text = "{error}"
    return text.format(error=said)


_NEVER_CONNECTED = ("connection failed", "connection timeout", "resolve", "Is the server running")


def _was_connected(error: psycopg.Error) -> bool:
    said = str(error)
    return not any(words in said for words in _NEVER_CONNECTED)
