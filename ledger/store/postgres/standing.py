"""What a user may do with the ledger at a URL, for whoever sets one up; nothing is changed by asking."""

from contextlib import closing
from typing import NamedTuple

from ledger.store.postgres.connection import Place, connect, recognise
from ledger.store.postgres.grants import MAY_GRANT, RIGHTS
from ledger.store.postgres.trouble import usable

_HERE = """
SELECT current_setting('server_version'), current_user,
    current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE')
"""


class Standing(NamedTuple):
    """Who is connected to which server, whether there is a ledger yet, and what stands in the way.

    `missing` are the rights that recording needs and the user lacks, such as ``INSERT on events``;
    `may_rewrite` says that the user owns the tables, or may act as who does.
    """

    server: str
    user: str
    has_ledger: bool
    missing: tuple[str, ...]
    may_rewrite: bool


def standing(url: str) -> Standing:
    """Return how the user of `url` stands to the ledger there; `LedgerUnusable` if nobody can tell."""
    place = Place.at(url)
    with usable(place.label), closing(connect(place, read_only=True)) as db:
        server, user, may_create = db.execute(_HERE).fetchone() or ("", "", False)
        if not recognise(db, place):
            missing = () if may_create else ("CREATE on the schema",)
            return Standing(server, user, has_ledger=False, missing=missing, may_rewrite=True)
        asked = [(table, right) for table, rights in RIGHTS.items() for right in rights.split(", ")]
        names = [list(each) for each in zip(*asked, strict=True)]
        query = (
            "SELECT name, wanted FROM unnest(%s::text[], %s::text[]) AS asked (name, wanted) "
            "WHERE NOT has_table_privilege(quote_ident(current_schema()) || '.' || name, wanted)"
        )
        lacking = tuple(f"{right} on {table}" for table, right in db.execute(query, names))
        may_rewrite, _ = db.execute(MAY_GRANT).fetchone() or (False, "")
    return Standing(server, user, has_ledger=True, missing=lacking, may_rewrite=may_rewrite)
