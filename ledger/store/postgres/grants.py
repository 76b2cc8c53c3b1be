"""The rights of a role that runs the product and owns nothing: enough to record, too few to rewrite."""

from contextlib import closing

from psycopg import sql

from ledger.errors import LedgerUnusable
from ledger.store.postgres.connection import Connection, Place, connect, make_writable
from ledger.store.postgres.trouble import usable

RIGHTS = {
    "sora_ledger_schema": "SELECT",
    "events": "SELECT, INSERT",
    "head": "SELECT, UPDATE",
    "tiles": "SELECT, INSERT",
    "private_bodies": "SELECT, INSERT, DELETE",
    "documents": "SELECT, INSERT",
    "jobs": "SELECT, INSERT, UPDATE, DELETE",
    "holds": "SELECT, INSERT, UPDATE",
    "work": "SELECT, INSERT, UPDATE",
    "turns": "SELECT, INSERT, UPDATE",
    "slots": "SELECT, INSERT, UPDATE, DELETE",
}
"""Erasing deletes bodies, replaying swaps job rows; whoever owns the tables can do everything."""

_OWNER = "SELECT relowner FROM pg_class WHERE oid = 'events'::regclass"
MAY_GRANT = f"SELECT pg_has_role(({_OWNER}), 'USAGE'), current_user"
_ROLE = f"SELECT rolsuper, pg_has_role(oid, ({_OWNER}), 'MEMBER') FROM pg_roles WHERE rolname = %s"


def grants(role: str, *, schema: str = "public") -> str:
    """Return SQL that gives `role` these rights on a ledger and no others; its tables' owner runs it."""
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
    lines = [sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role};").format(**names)]
    for table, rights in RIGHTS.items():
        given = names | {"table": sql.Identifier(schema, table)}
        lines.append(sql.SQL("REVOKE ALL ON {table} FROM {role};").format(**given))
        lines.append(sql.SQL(f"GRANT {rights} ON {{table}} TO {{role}};").format(**given))
    return "".join(line.as_string() + "\n" for line in lines)


def grants_at(url: str, role: str, *, run: bool) -> str:
    """Return the grants for `role` on the ledger at `url`, after running them if `run` is set.

    `LedgerUnusable` if there is no such role to run them for, or it is one that no grant restricts.
    """
    place = Place.at(url)
    with usable(place.label), closing(connect(place, read_only=False)) as db:
        make_writable(db, place)
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
            f"ledger {place.label}: {user!r} does not own the ledger's tables, so it can grant nothing: "
            "connect as their owner"
        )
    found = db.execute(_ROLE, (role,)).fetchone()
    if found is None:
        make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD '…'").format(sql.Identifier(role)).as_string()
        raise LedgerUnusable(
            f"ledger {place.label}: there is no role {role!r}: make it (psql -c {make!r}), then repeat"
        )
    if any(found):
        why = "is a superuser" if found[0] else "owns the ledger's tables, or may act as who does"
        raise LedgerUnusable(
            f"ledger {place.label}: role {role!r} {why}, so no grant keeps it from changing what is "
            "recorded: name a role that is made for this alone"
        )
