"""The database itself refuses to change the log, whoever asks: here the owner of everything, in plain SQL."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ledger.store.postgres import PostgresStore
from tests.ledger.scribe import Scribe

ROW = "'notes', {version}, 't', 'a', 'b', 'c', '\\x00', '\\x00', '\\x00'"
CHANGES = {
    "update": "UPDATE events SET actor = 'x' WHERE position = 2",
    "update of a position": "UPDATE events SET position = 9 WHERE position = 3",
    "delete one": "DELETE FROM events WHERE position = 3",
    "delete all": "DELETE FROM events",
    "truncate": "TRUNCATE events",
    "truncate with others": "TRUNCATE head, events CASCADE",
    "insert with a gap": f"INSERT INTO events VALUES (5, 'new', {ROW})",
    "insert at zero": f"INSERT INTO events VALUES (0, 'new', {ROW})",
    "insert over another": f"INSERT INTO events VALUES (2, 'new', {ROW})",
    "insert without a position": f"INSERT INTO events VALUES (NULL, 'new', {ROW})",
    "insert a gap among others": f"INSERT INTO events VALUES (4, 'n', {ROW}), (6, 'm', {ROW})",
    "upsert": f"INSERT INTO events VALUES (2, 'new', {ROW}) ON CONFLICT (position) DO UPDATE SET actor = 'x'",
    "insert or nothing": f"INSERT INTO events VALUES (2, 'new', {ROW}) ON CONFLICT DO NOTHING",
    "merge": "MERGE INTO events USING (SELECT 2 AS p) AS s ON position = p WHEN MATCHED THEN DELETE",
}


@pytest.fixture
def content(
    store: PostgresStore, scribe: Scribe, execute: Callable[..., list[Any]]
) -> Callable[[], list[Any]]:
    """Return what the log holds: three records, two of them in the stream ``notes``."""
    store.append([scribe.note(), scribe.note()])
    return lambda: execute("SELECT * FROM events ORDER BY position")


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_the_database_refuses_a_change(
    content: Callable[[], list[Any]], execute: Callable[..., list[Any]], role: str
) -> None:
    before = content()
    for change, statement in CHANGES.items():
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="events is append-only"):
            execute(f"SET session_replication_role = {role}", statement.format(version=7))
        assert content() == before, change


def test_the_next_position_is_taken(
    content: Callable[[], list[Any]], execute: Callable[..., list[Any]]
) -> None:
    execute(f"INSERT INTO events VALUES (4, 'new', {ROW})".format(version=3))
    assert len(content()) == 4


def test_several_rows_of_one_statement_extend_the_log(
    content: Callable[[], list[Any]], execute: Callable[..., list[Any]]
) -> None:
    rows = [ROW.format(version=version) for version in (3, 4)]
    execute(f"INSERT INTO events VALUES (4, 'n', {rows[0]}), (5, 'm', {rows[1]})")
    assert len(content()) == 5


def test_an_event_id_or_version_is_taken_once(
    content: Callable[[], list[Any]], execute: Callable[..., list[Any]]
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(f"INSERT INTO events VALUES (4, 'new', {ROW})".format(version=1))


def test_a_temporary_table_does_not_stand_in_for_the_log(
    content: Callable[[], list[Any]], execute: Callable[..., list[Any]]
) -> None:
    before = content()
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        execute(
            "CREATE TEMPORARY TABLE shadow (position BIGINT)",
            "ALTER TABLE shadow RENAME TO events",
            "SET search_path = pg_temp, pg_catalog",
            f"INSERT INTO {schema_of(execute)}.events VALUES (1, 'new', {ROW})".format(version=9),
        )
    assert content() == before


def schema_of(execute: Callable[..., list[Any]]) -> str:
    return str(execute("SELECT current_schema()")[0][0])


@pytest.mark.parametrize("change", ["UPDATE private_bodies SET text = 'other'", "TRUNCATE private_bodies"])
def test_a_private_body_can_be_erased_but_not_changed(
    content: Callable[[], list[Any]], execute: Callable[..., list[Any]], change: str
) -> None:
    execute("INSERT INTO private_bodies VALUES ('c', 1, 'why', '\\x00', 'text')")
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="can be erased, not changed"):
        execute(change)
