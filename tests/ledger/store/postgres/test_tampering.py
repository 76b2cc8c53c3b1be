"""One thing tampered with by plain SQL, as a superuser can, and what verification finds on PostgreSQL."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from ledger.events import PrivateErased
from ledger.store.postgres import PostgresStore
from ledger.store.postgres.snapshot import PostgresTail
from ledger.verify.incremental import verify_since
from tests.ledger.scribe import Scribe

Findings = list[tuple[str, int | None]]
HEAD: Findings = [("HEAD_SIZE", None), ("HEAD_ROOT", None)]
UNGUARDED = ("ALTER TABLE events DISABLE TRIGGER ALL", "ALTER TABLE private_bodies DISABLE TRIGGER ALL")


@pytest.fixture
def tamper(
    execute: Callable[..., list[Any]], store: PostgresStore, scribe: Scribe, vocabulary: ModuleType
) -> Callable[..., list[Any]]:
    """Record a job that ends well (2 to 10), one that began and an erasure; return how to tamper with it."""
    records = scribe.live(store, vocabulary.JOB)
    scribe.live(store, vocabulary.OTHER_JOB, vocabulary.life()[:2])  # 11 and 12
    erased = PrivateErased(commitments=(records[0].event.prompt.commitment,), reason_code="subject_request")
    store.append([scribe.batch(vocabulary.JOB, erased)])  # 13
    return lambda *statements: execute(*UNGUARDED, *statements)


def replaced(table: str, column: str, old: str, new: str, where: str) -> str:
    """Return the statement that edits text in a column of bytes."""
    edited = f"replace(convert_from({column}, 'UTF8'), '{old}', '{new}')"
    return f"UPDATE {table} SET {column} = convert_to({edited}, 'UTF8') WHERE {where}"


TAMPERED: dict[str, tuple[tuple[str, ...], Findings]] = {
    "nothing": ((), []),
    "an edited time": (
        ("UPDATE events SET recorded_at = '2020-01-01T00:00:00.000000Z' WHERE position = 5",),
        [("COLUMN_MISMATCH", 5)],
    ),
    "an edited actor": (
        ("UPDATE events SET actor = 'mallory' WHERE position = 5",),
        [("COLUMN_MISMATCH", 5)],
    ),
    "an edited payload": (
        (replaced("events", "payload", "auto", "best", "position = 2"),),
        [("PAYLOAD_DIGEST", 2), ("JOB_ROW", 13)],
    ),
    "an edited record": (
        (replaced("events", "record", '"ana"', '"bob"', "position = 5"),),
        [("LEAF_MISMATCH", 5), ("COLUMN_MISMATCH", 5), ("HEAD_ROOT", None)],
    ),
    "an edited leaf": (("UPDATE events SET leaf = sha256('') WHERE position = 5",), [("LEAF_MISMATCH", 5)]),
    "a deleted row": (
        ("DELETE FROM events WHERE position = 12",),
        [
            ("POSITION_NOT_DENSE", 13),
            ("HEAD_SIZE", None),
            ("HEAD_ROOT", None),
            ("JOB_ROW", 11),
            ("JOB_COLUMN", 11),
            ("JOB_COLUMN", 11),
            ("JOB_COLUMN", 11),
            ("HOLD", None),
        ],
    ),
    "an inserted row": (
        (
            "CREATE TABLE copied AS SELECT * FROM events WHERE position = 1",
            "UPDATE copied SET position = 14, event_id = 'new', stream = 'notes'",
            "INSERT INTO events SELECT * FROM copied",
        ),
        [
            ("COLUMN_MISMATCH", 14),
            ("COLUMN_MISMATCH", 14),
            ("COLUMN_MISMATCH", 14),
            ("VERSION_NOT_DENSE", 14),
            ("GENESIS", 14),
            ("EVENT_ID_TWICE", 14),
            ("HEAD_SIZE", None),
            ("HEAD_ROOT", None),
        ],
    ),
    "swapped rows": (
        (
            "UPDATE events SET position = 99 WHERE position = 5",
            "UPDATE events SET position = 5 WHERE position = 6",
            "UPDATE events SET position = 6 WHERE position = 99",
        ),
        [
            ("COLUMN_MISMATCH", 5),
            ("VERSION_NOT_DENSE", 5),
            ("ILLEGAL_TRANSITION", 5),
            ("COLUMN_MISMATCH", 6),
            ("VERSION_NOT_DENSE", 6),
            ("VERSION_NOT_DENSE", 7),
            ("ILLEGAL_TRANSITION", 7),
            ("ILLEGAL_TRANSITION", 8),
            ("ILLEGAL_TRANSITION", 9),
            ("HEAD_ROOT", None),
            ("JOB_ROW", 13),
            ("JOB_COLUMN", 13),
        ],
    ),
    "a cut tail": (
        ("DELETE FROM events WHERE position > 10",),
        [
            ("HEAD_SIZE", None),
            ("HEAD_ROOT", None),
            ("BODY_UNKNOWN", 11),
            ("BODY_UNKNOWN", 11),
            ("BODY_UNKNOWN", 11),
            ("BODY_UNKNOWN", 11),
            ("BODY_MISSING", 2),
            ("JOB_ROW", 10),
            ("JOB_COLUMN", 10),
            ("JOB_COLUMN", 10),
            ("JOB_ROW_EXTRA", None),
            ("HOLD", None),
        ],
    ),
    "a head that is gone": (("DELETE FROM head",), [("HEAD_SIZE", None), ("HEAD_ROOT", None)]),
    "a head that is none": (("UPDATE head SET frontier = '\\x00'",), [("HEAD_ROOT", None)]),
    "a tile too many": (("INSERT INTO tiles VALUES (8, 0, sha256(''))",), [("TILE_MISMATCH", None)]),
    "an edited job": (
        (replaced("jobs", "body", "stored", "failed", "position = 13"),),
        [("JOB_ROW", 13)],
    ),
    "an edited column of a job": (
        ("UPDATE jobs SET state = 'failed' WHERE position = 13",),
        [("JOB_COLUMN", 13)],
    ),
    "a job row that is gone": (("DELETE FROM jobs WHERE position = 13",), [("JOB_ROW_MISSING", 13)]),
    "an edited text": (
        ("UPDATE private_bodies SET text = 'other' WHERE position = 11 AND field = 'prompt'",),
        [("BODY_MISMATCH", 11)],
    ),
    "an edited salt": (
        ("UPDATE private_bodies SET salt = sha256('') WHERE position = 11 AND field = 'prompt'",),
        [("BODY_MISMATCH", 11)],
    ),
    "a text that is gone without an erasure": (
        ("DELETE FROM private_bodies WHERE position = 11 AND field = 'prompt'",),
        [("BODY_MISSING", 11)],
    ),
    "a hold nobody decided": (("INSERT INTO holds VALUES ('b', 'job_x', 1, 0)",), [("HOLD", None)]),
    "an edited document": (("INSERT INTO documents VALUES ('00', 'x')",), [("DOCUMENT", None)]),
}


@pytest.mark.parametrize(("statements", "expected"), TAMPERED.values(), ids=TAMPERED.keys())
def test_what_was_tampered_with_is_found(
    tamper: Callable[..., list[Any]],
    postgres: ModuleType,
    url: str,
    statements: tuple[str, ...],
    expected: Findings,
) -> None:
    tamper(*statements)
    assert sorted(postgres.findings(url), key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("name", ["an edited text", "a deleted row", "an edited job", "a head that is none"])
def test_what_is_new_and_was_tampered_with_is_found_without_the_rest(
    tamper: Callable[..., list[Any]], url: str, name: str
) -> None:
    statements, expected = TAMPERED[name]
    tamper(*statements)
    with PostgresTail(url, 10) as tail:
        assert [(found.code, found.position) for found in verify_since(tail, 10).findings] == expected
