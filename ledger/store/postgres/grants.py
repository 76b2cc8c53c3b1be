"""The rights of a role that runs the product and owns nothing: enough to record, too few to rewrite."""

from psycopg import sql

_RIGHTS = {
    "sora_ledger_schema": "SELECT",
    "events": "SELECT, INSERT",
    "head": "SELECT, UPDATE",
    "tiles": "SELECT, INSERT",
    "private_bodies": "SELECT, INSERT, DELETE",
    "documents": "SELECT, INSERT",
    "jobs": "SELECT, INSERT, UPDATE, DELETE",
    "holds": "SELECT, INSERT, UPDATE",
    "work": "SELECT, INSERT, UPDATE",
}
"""Erasing deletes bodies, replaying swaps job rows; whoever owns the tables can do everything."""


def grants(role: str, *, schema: str = "public") -> str:
    """Return SQL that gives `role` these rights on a ledger and no others; its tables' owner runs it."""
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
    lines = [sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role};").format(**names)]
    for table, rights in _RIGHTS.items():
        given = names | {"table": sql.Identifier(schema, table)}
        lines.append(sql.SQL("REVOKE ALL ON {table} FROM {role};").format(**given))
        lines.append(sql.SQL(f"GRANT {rights} ON {{table}} TO {{role}};").format(**given))
    return "".join(line.as_string() + "\n" for line in lines)
