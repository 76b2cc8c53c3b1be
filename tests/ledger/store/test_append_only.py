"""The database itself refuses to change the log, whoever asks: here the plain `sqlite3` module."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.scribe import Scribe

COLUMNS = "position, event_id, stream, version, type, actor, trace_id, recorded_at, record, payload, leaf"
INSERT = "INTO events VALUES (?, ?, 'notes', ?, 't', 'a', 'b', 'c', x'00', x'00', x'00')"
FIRST_NOTE, LAST, NEXT = 2, 4, 5


@pytest.fixture
def db(path: Path, scribe: Scribe) -> Iterator[sqlite3.Connection]:
    """Yield a plain connection to a ledger of four records, three of them in the stream ``notes``."""
    with scribe.ledger(path) as ledger:
        ledger.append([scribe.note(), scribe.note(), scribe.note()])
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def content(db: sqlite3.Connection) -> list[Any]:
    return db.execute("SELECT * FROM events ORDER BY position").fetchall()


def event_id(db: sqlite3.Connection) -> str:
    return str(db.execute("SELECT event_id FROM events WHERE position = ?", (FIRST_NOTE,)).fetchone()[0])


CHANGES = {
    "update": "UPDATE events SET actor = 'x' WHERE position = 2",
    "update or ignore": "UPDATE OR IGNORE events SET actor = 'x' WHERE position = 2",
    "update or replace": "UPDATE OR REPLACE events SET position = 2 WHERE position = 3",
    "delete one": "DELETE FROM events WHERE position = 4",
    "delete all": "DELETE FROM events",
}
INSERTS = {
    "replace by position": ("INSERT OR REPLACE", (FIRST_NOTE, "new", 9), ""),
    "replace": ("REPLACE", (FIRST_NOTE, "new", 9), ""),
    "replace by event id": ("INSERT OR REPLACE", (NEXT, None, 4), ""),
    "replace by stream and version": ("INSERT OR REPLACE", (NEXT, "new", 1), ""),
    "ignore by position": ("INSERT OR IGNORE", (FIRST_NOTE, "new", 9), ""),
    "ignore by event id": ("INSERT OR IGNORE", (NEXT, None, 4), ""),
    "upsert by position": (
        "INSERT",
        (FIRST_NOTE, "new", 9),
        "ON CONFLICT (position) DO UPDATE SET actor = 'x'",
    ),
    "upsert by event id": ("INSERT", (NEXT, None, 4), "ON CONFLICT (event_id) DO UPDATE SET actor = 'x'"),
    "upsert by stream and version": (
        "INSERT",
        (NEXT, "new", 1),
        "ON CONFLICT (stream, version) DO UPDATE SET actor = 'x'",
    ),
    "upsert doing nothing": ("INSERT", (FIRST_NOTE, "new", 9), "ON CONFLICT DO NOTHING"),
    "insert with a gap": ("INSERT", (NEXT + 1, "new", 4), ""),
    "insert at zero": ("INSERT", (0, "new", 4), ""),
    "insert below zero": ("INSERT", (-1, "new", 4), ""),
    "insert without a position": ("INSERT", (None, "new", 4), ""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_database_refuses_a_change(db: sqlite3.Connection, change: str) -> None:
    before = content(db)
    with pytest.raises(sqlite3.IntegrityError, match="events is append-only"):
        db.execute(change)
    assert content(db) == before


@pytest.mark.parametrize(("verb", "values", "clause"), INSERTS.values(), ids=INSERTS.keys())
def test_the_database_refuses_an_insert_that_does_not_extend(
    db: sqlite3.Connection, verb: str, values: tuple[Any, Any, Any], clause: str
) -> None:
    before = content(db)
    position, new_id, version = values
    with pytest.raises(sqlite3.IntegrityError, match="events is append-only"):
        db.execute(f"{verb} {INSERT} {clause}", (position, new_id or event_id(db), version))
    assert content(db) == before


def test_recursive_triggers_do_not_open_a_way(db: sqlite3.Connection) -> None:
    before = content(db)
    db.execute("PRAGMA recursive_triggers = OFF")
    with pytest.raises(sqlite3.IntegrityError, match="events is append-only"):
        db.execute(f"INSERT OR REPLACE INTO events ({COLUMNS}) SELECT {COLUMNS} FROM events")
    assert content(db) == before


def test_a_refused_insert_takes_back_its_transaction(db: sqlite3.Connection) -> None:
    before = content(db)
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"INSERT {INSERT}", (NEXT, "new", 4))
    with pytest.raises(sqlite3.IntegrityError, match="events is append-only"):
        db.execute(f"INSERT {INSERT}", (NEXT + 2, "newer", 5))
    assert (db.in_transaction, content(db)) == (False, before)


def test_the_next_position_is_taken(db: sqlite3.Connection) -> None:
    db.execute(f"INSERT {INSERT}", (NEXT, "new", 4))
    assert len(content(db)) == NEXT


def test_a_private_body_cannot_be_changed(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO private_bodies VALUES ('c', 1, 'why', x'00', 'text')")
    with pytest.raises(sqlite3.IntegrityError, match="can be erased, not changed"):
        db.execute("UPDATE private_bodies SET text = 'other'")
