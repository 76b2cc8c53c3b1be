"""The rights of a role that runs the product and owns nothing: enough to record, not enough to rewrite."""

from contextlib import closing
from typing import NamedTuple

from psycopg import sql

from ledger.errors import LedgerUnusable
from ledger.store.postgres.connection import Connection, Place, connect, make_writable, recognise
from ledger.store.postgres.errors import usable
from ledger.store.postgres.search import rebuild

RIGHTS = {
    "sora_ledger_schema": "SELECT",
    "events": "SELECT, INSERT",
    "head": "SELECT, UPDATE",
    "tiles": "SELECT, INSERT",
    "private_bodies": "SELECT, INSERT, DELETE",
    "documents": "SELECT, INSERT",
    "jobs": "SELECT, INSERT, UPDATE, DELETE",
    "holds": "SELECT, INSERT, UPDATE",
    "listing": "SELECT, INSERT, UPDATE, DELETE",
    "counts": "SELECT, INSERT, UPDATE, DELETE",
    "spending": "SELECT, INSERT, UPDATE, DELETE",
    "search": "SELECT, INSERT, DELETE",
    "work": "SELECT, INSERT, UPDATE",
    "turns": "SELECT, INSERT, UPDATE",
    "slots": "SELECT, INSERT, UPDATE, DELETE",
    "deliveries": "SELECT, INSERT, UPDATE, DELETE",
    "cursors": "SELECT, INSERT, UPDATE",
    "readers": "SELECT, INSERT, UPDATE",
    "alerts": "SELECT, INSERT",
}
"""An erasure deletes bodies and their words; a replay replaces job rows and their lists; the owner of the
tables can do everything.
"""

_OWNER = "SELECT relowner FROM pg_class WHERE oid = 'events'::regclass"
MAY_GRANT = f"SELECT pg_has_role(({_OWNER}), 'USAGE'), current_user"
_ROLE = f"SELECT rolsuper, pg_has_role(oid, ({_OWNER}), 'MEMBER') FROM pg_roles WHERE rolname = %s"


def grants(role: str, *, schema: str = "public") -> str:
    """Return SQL that gives `role` only these rights on a ledger; the tables' owner runs it."""
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
    lines = [sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role};").format(**names)]
    for table, rights in RIGHTS.items():
        identifiers = names | {"table": sql.Identifier(schema, table)}
        lines.append(sql.SQL("REVOKE ALL ON {table} FROM {role};").format(**identifiers))
        lines.append(sql.SQL(f"GRANT {rights} ON {{table}} TO {{role}};").format(**identifiers))
    return "".join(line.as_string() + "\n" for line in lines)


def grants_at(url: str, role: str, *, run: bool) -> str:
    """Return the grants for `role` on the ledger at `url`, after running them if `run` is set.

    `LedgerUnusable` if the role does not exist, or if no grant restricts it.
    """
    place = Place.at(url)
    with usable(place.label), closing(connect(place, read_only=False)) as db:
        make_writable(db, place, rebuild)
        (schema,) = db.execute("SELECT current_schema()").fetchone() or ("public",)
        script = grants(role, schema=schema)
        if run:
            _check(db, place, role)
            with db.transaction():
                db.execute(script.encode())
    return script


def _check(db: Connection, place: Place, role: str) -> None:
    may_grant, user = db.execute(MAY_GRANT).fetchone() or (False, "")
    if not may_grant:  # PostgreSQL would only warn that nothing was granted
        raise LedgerUnusable(
            f"ledger {place.label}: {user!r} does not own the tables of the ledger, so it cannot "
            "grant anything: connect as their owner"
        )
    row = db.execute(_ROLE, (role,)).fetchone()
    if row is None:
        make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD '…'").format(sql.Identifier(role)).as_string()
        raise LedgerUnusable(
            f"ledger {place.label}: the role {role!r} does not exist: create it "
            f"(psql -c {make!r}), then repeat"
        )
    if any(row):
        why = "is a superuser" if row[0] else "owns the tables of the ledger, or may act as their owner"
        raise LedgerUnusable(
            f"ledger {place.label}: role {role!r} {why}, so no grant prevents it from changing "
            "records: name a role that exists for this purpose alone"
        )


_HERE = """
SELECT current_setting('server_version'), current_user,
    current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE')
"""


class Standing(NamedTuple):
    """The user and the server, whether a ledger exists, and which rights are missing.

    `missing` are the rights that recording needs and the user lacks, such as ``INSERT on events``;
    `may_rewrite` is True if the user owns the tables, or may act as their owner.
    """

    server: str
    user: str
    has_ledger: bool
    missing: tuple[str, ...]
    may_rewrite: bool


def standing(url: str) -> Standing:
    """Return what the user of `url` may do with the ledger there; `LedgerUnusable` if that is unknown."""
    place = Place.at(url)
    with usable(place.label), closing(connect(place, read_only=True)) as db:
        server, user, may_create = db.execute(_HERE).fetchone() or ("", "", False)
        if not recognise(db, place):
            missing = () if may_create else ("CREATE on the schema",)
            return Standing(server, user, has_ledger=False, missing=missing, may_rewrite=True)
        wanted = [(table, right) for table, rights in RIGHTS.items() for right in rights.split(", ")]
        names = [list(column) for column in zip(*wanted, strict=True)]
        query = (
            "SELECT name, wanted FROM unnest(%s::text[], %s::text[]) AS required (name, wanted) "
            "WHERE NOT has_table_privilege(quote_ident(current_schema()) || '.' || name, wanted)"
        )
        lacking = tuple(f"{right} on {table}" for table, right in db.execute(query, names))
        may_rewrite, _ = db.execute(MAY_GRANT).fetchone() or (False, "")
    return Standing(server, user, has_ledger=True, missing=lacking, may_rewrite=may_rewrite)
