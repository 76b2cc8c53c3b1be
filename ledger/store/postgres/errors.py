"""Messages for PostgreSQL's errors: `LedgerUnusable` with the cause and the next step.

The message repeats the server's own words; the URL appears without its password.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import LedgerUnusable

NO_SCHEMA = "its schema does not exist: create it, or set search_path to one that does"
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
    "57014": "the server ended a statement that took longer than its statement_timeout allows ({error}): "
    "raise it for this user (ALTER ROLE … SET statement_timeout = '60s')",
    "XX": "the database is damaged ({error}): restore a backup, then run `sora-ledger verify`",
}
"""By SQLSTATE prefix."""

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
"""By the text of a refused connection, first match wins: libpq gives no SQLSTATE there."""

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # whatever psycopg logs is raised as well

_LIBPQ_SAYS |= {
    "unsupported startup parameter": (
        "a connection pooler refuses what the URL asks for ({error}): take `options` out of it and set "
        "the schema with ALTER ROLE … SET search_path, or name the PostgreSQL server itself"
    ),
}
_NEEDS_A_PERSON = (
    *(words for words in _LIBPQ_SAYS if words != "the database system is"),
    "could not translate host name",
    "resolve host",
    "SSL",
    "certificate",
)

_UNREACHABLE = "the server cannot be reached ({error}): start it, or check host and port in SORA_LEDGER_URL"
_STANDBY = (
    "the server cannot be reached for writing ({error}): has a fail-over not been finished? Promote a "
    "standby, or name the primary server in SORA_LEDGER_URL, or all of them (host1:5432,host2:5432)"
)
_SILENT = "the server is silent ({error}): it may be frozen or failing over: check it"
_BROKEN = "the connection to the server broke ({error}): check that it runs and can be reached"


def label(url: str) -> str:
    """Return the name of the ledger at `url` for messages, without password and options."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        raise LedgerUnusable(
            "ledger URL postgresql://…: it cannot be read: expected "
            "postgresql://user:password@host:5432/database, with %40 for an @ in the password and so on",
            param="ledger",
            expected="postgresql://user:password@host:5432/database",
        ) from None  # the cause may repeat the password
    user = parts.get("user")
    where = f"{user}@" if user else ""
    return f"postgresql://{where}{hosts(url)}/{parts.get('dbname') or user or ''}"


def hosts(url: str) -> str:
    """Return the hosts of `url` with their ports, as in a URL."""
    parts = conninfo_to_dict(url)
    names = str(parts.get("host") or parts.get("hostaddr") or "localhost").split(",")
    ports = str(parts.get("port") or "").split(",")
    ports = ports if len(ports) == len(names) else ports[:1] * len(names)
    return ",".join(f"{name}:{port}" if port else name for name, port in zip(names, ports, strict=True))


@contextmanager
def usable(name: str) -> Iterator[None]:
    """Turn psycopg's errors into `LedgerUnusable` about the ledger called `name`."""
    try:
        yield
    except psycopg.Error as error:
        raise LedgerUnusable(f"ledger {name}: {meaning(error)}") from error


def meaning(error: psycopg.Error, *, advise: bool = True) -> str:
    """Return the cause and the next step of `error`, or only the cause."""
    message = _message(error)
    state = error.sqlstate
    if state:
        text = next((text for prefix, text in _SERVER_SAYS.items() if state.startswith(prefix)), "{error}")
    elif isinstance(error, psycopg.OperationalError):
        text = next(
            (text for words, text in _LIBPQ_SAYS.items() if words in message), _otherwise(error, message)
        )
    else:
        text = "{error}"
    if not advise:
        text = text.partition("):")[0] + ")" if "):" in text else text
    return text.format(error=message)


def may_pass(error: psycopg.Error) -> bool:
    """Return True if a server that failed with `error` may become reachable later."""
    return not any(words in str(error) for words in _NEEDS_A_PERSON)


def is_broken(error: psycopg.OperationalError) -> bool:
    """Return True if `error` is a broken connection rather than a refusal by the server."""
    return error.sqlstate is None or error.sqlstate.startswith(("57P", "08"))


def was_timed_out(error: psycopg.OperationalError, host: str, port: str, *, of: int) -> bool:
    """Return True if `error` is due to the silence of `host`, one of as many as were tried."""
    if of == 1:
        return isinstance(error, psycopg.errors.ConnectionTimeout)
    begins = f"- host: {host or None!r}, port: {port or None!r}, "
    lines = str(error).splitlines()
    return any(line.startswith(begins) and line.endswith("connection timeout expired") for line in lines)


_NEVER_CONNECTED = ("connection failed", "connection timeout", "resolve", "Is the server running")
_INNER_WORDS = ("pipeline", "sending query", "another command", "the connection is")


def _otherwise(error: psycopg.OperationalError, message: str) -> str:
    if "it has not answered" in message:
        return _SILENT
    if "session is read-only" in message or "standby" in message:
        return _STANDBY
    return _UNREACHABLE if any(words in str(error) for words in _NEVER_CONNECTED) else _BROKEN


def _message(error: psycopg.Error) -> str:
    """Return the message of the server or the system, once per host, without psycopg's additions."""
    lines = str(error).splitlines()
    of_hosts = [line for line in lines if line.startswith("- host: ")]
    reasons = [re.sub(r"^- host: .*?, hostaddr: [^:]*: ", "", line) for line in of_hosts]
    message = " ".join("; ".join(reasons).split() if reasons else " ".join(lines).split())
    message = message.replace("connection failed: connection to server", "connection to server")
    if error.sqlstate is None and any(words in message for words in _INNER_WORDS):
        return "it was cut off"
    return message
