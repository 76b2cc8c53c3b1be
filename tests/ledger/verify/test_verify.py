"""One thing tampered with by plain SQL, one finding with its code and position."""

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger.events import InputReference, NoteRecorded
from ledger.private import Private
from ledger.store.interface import Document
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.tree.merkle import root_at
from ledger.verify import report as report_module
from ledger.verify import rules, spill, strict, verify
from ledger.verify.tree import Tree, leaf
from tests.ledger.scribe import Scribe

Check = Callable[[Path], list[tuple[str, int | None]]]
TRIGGERS = ("events_only_extend", "events_no_update", "events_no_delete", "private_bodies_no_update")


@pytest.fixture(scope="module")
def original(vocabulary: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger of 14 records: creation, budget, a job that ends well, a second one, an erasure."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    scribe = vocabulary.Scribe()
    with scribe.ledger(path) as ledger:
        budget = vocabulary.sample("budget.set")
        ledger.append([scribe.batch("budget_studio", budget)], documents=[Document(b"policy")])  # 2
        records = scribe.live(ledger.store, vocabulary.JOB)  # 3 to 11
        scribe.live(ledger.store, vocabulary.OTHER_JOB, vocabulary.life()[:2])  # 12 and 13
        erased = {
            "commitments": (records[0].event.prompt.commitment,),
            "reason_code": "subject_request",
        }
        event = structs.replace(vocabulary.sample("private.erased"), **erased)
        ledger.append([scribe.batch(vocabulary.JOB, event)])  # 14
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """Return a copy of the original to tamper with."""
    copyfile(original, tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a plain connection to the copy, with the triggers out of the way."""
    connection = sqlite3.connect(path, isolation_level=None)
    for trigger in TRIGGERS:
        connection.execute(f"DROP TRIGGER {trigger}")
    yield connection
    connection.close()


def forge(db: sqlite3.Connection, place: int, /, *, payload: Any = None, **changes: Any) -> None:
    """Rewrite one record and everything that is hashed from it, as somebody with the tools would."""
    record, old_payload = db.execute(
        "SELECT record, payload FROM events WHERE position = ?", (place,)
    ).fetchone()
    if payload is not None:
        old_payload = canonical(json.loads(old_payload) | payload)
        changes["payload_sha256"] = hashlib.sha256(old_payload).hexdigest()
    forged = canonical(json.loads(record) | changes)
    db.execute(
        "UPDATE events SET record = ?, payload = ?, leaf = ? WHERE position = ?",
        (forged, old_payload, leaf(forged), place),
    )
    rebuild_tree(db)


def rebuild_tree(db: sqlite3.Connection) -> None:
    tree = Tree()
    for (record,) in db.execute("SELECT record FROM events ORDER BY position"):
        list(tree.add(leaf(record)))
    db.execute("UPDATE head SET size = ?, frontier = ?", (tree.size, tree.frontier()))


def canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_clean_ledger_has_no_findings(path: Path, check: Check) -> None:
    assert check(path) == []


def test_the_report_counts_what_it_saw(path: Path) -> None:
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
    assert (report.size, report.jobs, report.clean) == (14, 2, True)


def test_the_root_is_recomputed(path: Path, scribe: Scribe) -> None:
    with SqliteSnapshot(path) as tables, scribe.ledger(path) as ledger:
        assert verify(tables).root == ledger.head().root.hex()


def test_the_root_of_an_earlier_size_is_recomputed_on_the_way(path: Path, scribe: Scribe) -> None:
    with SqliteSnapshot(path) as tables, scribe.ledger(path) as ledger:
        roots = verify(tables, roots_at=[0, 5, 99]).roots
        assert roots == {0: root_at(ledger.store, 0), 5: root_at(ledger.store, 5)}


EDITS: dict[str, tuple[str, list[tuple[str, int | None]]]] = {
    "an edited payload": (
        "UPDATE events SET payload = CAST(replace(payload, 'auto', 'best') AS BLOB) WHERE position = 3",
        [("PAYLOAD_DIGEST", 3), ("JOB_ROW", 14)],
    ),
    "a payload stored as text": (
        "UPDATE events SET payload = CAST(payload AS TEXT) WHERE position = 2",
        [("PAYLOAD_NOT_CANONICAL", 2)],
    ),
    "an edited column for time": (
        "UPDATE events SET recorded_at = '2020-01-01T00:00:00.000000Z' WHERE position = 5",
        [("COLUMN_MISMATCH", 5)],
    ),
    "an edited column for the actor": (
        "UPDATE events SET actor = 'mallory' WHERE position = 5",
        [("COLUMN_MISMATCH", 5)],
    ),
    "an edited column for the stream": (
        "UPDATE events SET stream = 'elsewhere' WHERE position = 5",
        [("COLUMN_MISMATCH", 5)],
    ),
    "an edited leaf": ("UPDATE events SET leaf = zeroblob(32) WHERE position = 5", [("LEAF_MISMATCH", 5)]),
    "a head of another size": ("UPDATE head SET size = 15", [("HEAD_SIZE", None)]),
    "a head with another edge": ("UPDATE head SET frontier = zeroblob(96)", [("HEAD_ROOT", None)]),
    "a head that is gone": ("DELETE FROM head", [("HEAD_SIZE", None), ("HEAD_ROOT", None)]),
    "a tile that should not be there": (
        "INSERT INTO tiles VALUES (8, 0, zeroblob(32))",
        [("TILE_MISMATCH", None)],
    ),
    "an edited job": (
        "UPDATE jobs SET body = CAST(replace(body, 'stored', 'failed') AS BLOB) WHERE version = 10",
        [("JOB_ROW", 14)],
    ),
    "a job that is no JSON": ("UPDATE jobs SET body = x'ff' WHERE version = 10", [("JOB_ROW", 14)]),
    "an edited column of a job": (
        "UPDATE jobs SET state = 'failed' WHERE version = 10",
        [("JOB_COLUMN", 14)],
    ),
    "a job given to another team": (
        "UPDATE jobs SET team = 'news' WHERE version = 10",
        [("JOB_COLUMN", 14)],
    ),
    "a job given to another actor": (
        "UPDATE jobs SET actor = 'eve' WHERE version = 10",
        [("JOB_COLUMN", 14)],
    ),
    "a job row that is gone": ("DELETE FROM jobs WHERE version = 10", [("JOB_ROW_MISSING", 14)]),
    "a job row without events": (
        "INSERT INTO jobs SELECT 'x', 1, 2, state, profile, video_id, body, actor, team FROM jobs LIMIT 1",
        [("JOB_ROW_EXTRA", None)],
    ),
    "an edited text": (
        "UPDATE private_bodies SET text = 'other' WHERE position = 12 AND field = 'prompt'",
        [("BODY_MISMATCH", 12)],
    ),
    "an edited salt": (
        "UPDATE private_bodies SET salt = zeroblob(32) WHERE position = 12 AND field = 'prompt'",
        [("BODY_MISMATCH", 12)],
    ),
    "a body that is gone without an erasure": (
        "DELETE FROM private_bodies WHERE position = 12 AND field = 'prompt'",
        [("BODY_MISSING", 12)],
    ),
    "a body at another position": (
        "UPDATE private_bodies SET position = 11 WHERE position = 12 AND field = 'prompt'",
        [("BODY_UNKNOWN", 11)],
    ),
    "a body between two positions": (
        "UPDATE private_bodies SET position = 11.5 WHERE position = 12 AND field = 'prompt'",
        [("BODY_UNKNOWN", None)],
    ),
    "a body nobody committed to": (
        "INSERT INTO private_bodies VALUES ('c', 12, 'why', zeroblob(32), 'x')",
        [("BODY_UNKNOWN", 12)],
    ),
    "more money held than decided": (
        "UPDATE holds SET reserved_usd_micros = 1 WHERE job_id LIKE '%2'",
        [("HOLD", None)],
    ),
    "a hold that is gone": ("DELETE FROM holds WHERE job_id LIKE '%2'", [("HOLD", None)]),
    "a hold nobody decided": ("INSERT INTO holds VALUES ('b', 'job_x', 1, 0)", [("HOLD", None)]),
    "an edited document": ("UPDATE documents SET body = x'00'", [("DOCUMENT", None)]),
}


@pytest.mark.parametrize("near", [1, spill.NEAR], ids=["from disk", "from memory"])
@pytest.mark.parametrize(("statement", "findings"), EDITS.values(), ids=EDITS.keys())
def test_an_edit_by_sql_is_found(  # one argument per fixture
    db: sqlite3.Connection,
    path: Path,
    check: Check,
    statement: str,
    findings: list[Any],
    near: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spill, "NEAR", near)
    assert db.execute(statement).rowcount == 1
    assert check(path) == findings


HEAD: list[tuple[str, int | None]] = [("HEAD_SIZE", None), ("HEAD_ROOT", None)]
MOVED: dict[str, tuple[str, list[tuple[str, int | None]]]] = {
    "an edited actor": (
        """UPDATE events SET record = CAST(replace(record, '"ana"', '"bob"') AS BLOB) WHERE position = 2""",
        [("LEAF_MISMATCH", 2), ("COLUMN_MISMATCH", 2), ("HEAD_ROOT", None)],
    ),
    "an edited time": (
        (
            "UPDATE events SET record = CAST(replace(record, '2026-01-01T12', '2026-01-01T11') AS BLOB) "
            "WHERE position = 2"
        ),
        [("LEAF_MISMATCH", 2), ("COLUMN_MISMATCH", 2), ("HEAD_ROOT", None)],
    ),
    "an edited time, in the column too": (
        (
            "UPDATE events SET record = CAST(replace(record, '2026-01-01T12', '2026-01-01T11') AS BLOB), "
            "recorded_at = replace(recorded_at, 'T12', 'T11') WHERE position = 2"
        ),
        [("LEAF_MISMATCH", 2), ("HEAD_ROOT", None)],
    ),
    "a deleted row": (
        "DELETE FROM events WHERE position = 11",  # the review, which has two texts
        [
            *[("POSITION_NOT_DENSE", 12), ("VERSION_NOT_DENSE", 14), *HEAD],
            *[("BODY_UNKNOWN", 11), ("BODY_UNKNOWN", 11), ("JOB_ROW", 14)],
        ],
    ),
    "an inserted row": (
        (
            "INSERT INTO events SELECT 15, 'new', 'new', 1, type, actor, trace_id, recorded_at, record, "
            "payload, leaf FROM events WHERE position = 2"
        ),
        [*[("COLUMN_MISMATCH", 15)] * 3, ("VERSION_NOT_DENSE", 15), *HEAD, ("EVENT_ID_TWICE", 15)],
    ),
    "swapped rows": (
        (
            "UPDATE events SET position = 99 WHERE position = 12; "
            "UPDATE events SET position = 12 WHERE position = 2; "
            "UPDATE events SET position = 2 WHERE position = 99"
        ),
        [("COLUMN_MISMATCH", 2), ("COLUMN_MISMATCH", 12), ("HEAD_ROOT", None), *[("BODY_UNKNOWN", 12)] * 4],
    ),
    "a cut tail": (
        "DELETE FROM events WHERE position > 12",
        [
            *HEAD,
            ("BODY_MISSING", 3),
            ("JOB_ROW", 11),
            *[("JOB_COLUMN", 11)] * 2,
            ("JOB_ROW", 12),
            *[("JOB_COLUMN", 12)] * 3,
            ("HOLD", None),
        ],
    ),
}


@pytest.mark.parametrize(("statements", "findings"), MOVED.values(), ids=MOVED.keys())
def test_what_was_done_to_the_log_by_sql_is_found(
    db: sqlite3.Connection, path: Path, check: Check, statements: str, findings: list[Any]
) -> None:
    db.executescript(statements)
    assert check(path) == findings


def test_an_erased_body_put_back_is_found(
    db: sqlite3.Connection, path: Path, check: Check, vocabulary: ModuleType
) -> None:
    payload = json.loads(db.execute("SELECT payload FROM events WHERE position = 3").fetchone()[0])
    commitment = payload["prompt"]["commitment"]
    db.execute("INSERT INTO private_bodies VALUES (?, 3, 'prompt', x'00', 'x')", (commitment,))
    assert check(path) == [("BODY_NOT_ERASED", 3)]


def test_a_cut_tail_is_found_even_where_the_head_was_cut_with_it(
    db: sqlite3.Connection, path: Path, check: Check
) -> None:
    db.execute("DELETE FROM events WHERE position > 13")
    rebuild_tree(db)
    assert check(path) == [("BODY_MISSING", 3), ("JOB_ROW", 11), ("JOB_COLUMN", 11), ("JOB_COLUMN", 11)]


FORGERIES: dict[str, tuple[int, dict[str, Any], list[tuple[str, int | None]]]] = {
    "an illegal step": (
        13,
        {"type": "cost.settled", "kind": "OBSERVATION"},
        [("COLUMN_MISMATCH", 13), ("ILLEGAL_TRANSITION", 13)],
    ),
    "a second creation": (
        2,
        {"type": "ledger.created"},
        [("COLUMN_MISMATCH", 2), ("GENESIS", 2)],
    ),
    "no creation": (1, {"type": "budget.set"}, [("COLUMN_MISMATCH", 1), ("GENESIS", 1)]),
    "a kind that is not the type's": (2, {"kind": "DENY"}, [("KIND", 2)]),
    "a type nobody knows": (
        2,
        {"type": "budget.gone"},
        [("COLUMN_MISMATCH", 2), ("KIND", 2)],
    ),
    "a version with a gap": (2, {"version": 7}, [("COLUMN_MISMATCH", 2), ("VERSION_NOT_DENSE", 2)]),
    "a position that is true": (2, {"position": True}, [("RECORD_FIELDS", 2)]),
    "a time without microseconds": (2, {"occurred_at": "2026-01-01T12:00:00Z"}, [("RECORD_FIELDS", 2)]),
    "a trace id in capitals": (2, {"trace_id": "A" * 32}, [("RECORD_FIELDS", 2)]),
    "an actor that is a list": (2, {"actor": []}, [("RECORD_FIELDS", 2)]),
    "a key too many": (2, {"extra": 1}, [("RECORD_KEYS", 2)]),
    "a payload that is not what the digest says": (
        2,
        {"payload_sha256": "ab" * 32},
        [("PAYLOAD_DIGEST", 2)],
    ),
    "a step whose fields are missing": (
        12,
        {"payload": {"operation": "edit"}},
        [("JOB_ROW", 13)],
    ),
    "a decision without its basis": (13, {"payload": {"basis": None}}, [("PAYLOAD_FIELDS", 13)]),
    "a key in capitals": (2, {"payload": {"Upper": 1}}, [("PAYLOAD_NOT_CANONICAL", 2)]),
    "a float": (2, {"payload": {"limit_usd_micros": 1.5}}, [("PAYLOAD_NOT_CANONICAL", 2)]),
    "an integer beyond 2**53": (2, {"payload": {"limit_usd_micros": 2**53}}, [("PAYLOAD_NOT_CANONICAL", 2)]),
    "a payload over its limit": (2, {"payload": {"budget": "b" * 1_048_577}}, [("PAYLOAD_TOO_LARGE", 2)]),
    "a commitment that is a list": (
        2,
        {"payload": {"why": {"commitment": []}}},
        [("BODY_MISSING", 2)],
    ),
}


@pytest.mark.parametrize(("position", "changes", "findings"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_record_is_found_though_its_hashes_fit(
    db: sqlite3.Connection,
    path: Path,
    check: Check,
    position: int,
    changes: dict[str, Any],
    findings: list[Any],
) -> None:
    forge(db, position, **changes)
    found = check(path)
    assert found[: len(findings)] == findings


def test_a_record_over_its_limit_is_found(db: sqlite3.Connection, path: Path, check: Check) -> None:
    forge(db, 2, actor="a" * 65_536)
    assert check(path)[0] == ("RECORD_TOO_LARGE", 2)


def test_bytes_that_mean_the_same_are_not_canonical(db: sqlite3.Connection, path: Path, check: Check) -> None:
    record = db.execute("SELECT record FROM events WHERE position = 2").fetchone()[0]
    spaced = record.replace(b'":', b'": ', 1)
    db.execute("UPDATE events SET record = ?, leaf = ? WHERE position = 2", (spaced, leaf(spaced)))
    rebuild_tree(db)
    assert check(path) == [("RECORD_NOT_CANONICAL", 2)]


def test_a_tile_is_checked(path: Path, scribe: Scribe, check: Check) -> None:
    with scribe.ledger(path) as ledger:
        scribe = type(scribe)(first=1_000)
        ledger.append([scribe.note() for _ in range(256)])
        ledger.store._writer.execute("UPDATE tiles SET hash = zeroblob(32)")  # type: ignore[attr-defined]
    assert check(path) == [("TILE_MISMATCH", None)]


def test_a_missing_tile_is_found(path: Path, scribe: Scribe, check: Check) -> None:
    with scribe.ledger(path) as ledger:
        scribe = type(scribe)(first=1_000)
        ledger.append([scribe.note() for _ in range(256)])
        ledger.store._writer.execute("DELETE FROM tiles")  # type: ignore[attr-defined]
    assert check(path) == [("TILE_MISMATCH", None)]


def test_findings_beyond_the_limit_are_counted(
    db: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "MAX_FINDINGS", 3)
    db.execute("UPDATE events SET leaf = x'00'")
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
    assert (len(report.findings), report.more_findings) == (3, 12 - 1)


def test_a_finding_does_not_repeat_private_text(db: sqlite3.Connection, path: Path) -> None:
    db.execute("UPDATE private_bodies SET salt = zeroblob(32)")
    with SqliteSnapshot(path) as tables:
        findings_text = repr(verify(tables).findings)
    texts = [text for (text,) in db.execute("SELECT text FROM private_bodies")]
    assert [text for text in texts if text in findings_text] == []


COLUMNS = [
    (table, column)
    for table, columns in {
        "events": "event_id stream version type actor trace_id recorded_at record payload leaf",
        "head": "size frontier",
        "private_bodies": "commitment position field salt text",
        "documents": "sha256 body",
        "jobs": "job_id version position state profile video_id body",
        "holds": "budget job_id reserved_usd_micros settled_usd_micros",
    }.items()
    for column in columns.split()
]
VALUES = st.binary(max_size=40) | st.text(max_size=20) | st.integers(0, 2**63 - 1) | st.floats(0, 9)


@given(
    st.lists(
        st.tuples(st.sampled_from(COLUMNS), VALUES, st.booleans(), st.integers(0, 20)), min_size=1, max_size=4
    )
)
@settings(max_examples=settings.default.max_examples * 80 // 100, deadline=None)
def test_garbage_in_any_column_never_makes_verify_raise(original: Path, garbage: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        copyfile(original, path)
        db = sqlite3.connect(path, isolation_level=None)
        for trigger in TRIGGERS:
            db.execute(f"DROP TRIGGER {trigger}")
        for (table, column), value, as_text, skip in garbage:
            cast = f"CAST(? AS {'TEXT' if as_text else 'BLOB'})" if isinstance(value, bytes) else "?"
            key = "rowid" if table in {"events", "head"} else column
            db.execute(
                f"UPDATE OR IGNORE {table} SET {column} = {cast} WHERE {key} = "
                f"(SELECT {key} FROM {table} LIMIT 1 OFFSET ?)",
                (value, skip),
            )
        db.close()
        with SqliteSnapshot(path) as tables:
            verify(tables)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    "basis holds cost_usd_micros denial_trace error expires_at status variant commitments outcome budget "
    "prompt progress attempt_id".split()
)


def forged(original: Path, place: int, /, **changes: Any) -> None:
    """Verify a copy of `original` in which one record was forged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        copyfile(original, path)
        db = sqlite3.connect(path, isolation_level=None)
        for trigger in TRIGGERS:
            db.execute(f"DROP TRIGGER {trigger}")
        forge(db, place, **changes)
        db.close()
        with SqliteSnapshot(path) as tables:
            verify(tables)


@given(st.integers(1, 14), st.dictionaries(FIELDS, JSON, min_size=1), st.sampled_from(sorted(rules.KINDS)))
@settings(max_examples=settings.default.max_examples * 80 // 100, deadline=None)
def test_a_forged_payload_never_makes_verify_raise(
    original: Path, position: int, payload: dict[str, Any], type_: str
) -> None:
    forged(original, position, payload=payload, type=type_)


@given(st.integers(1, 14), st.dictionaries(st.sampled_from(sorted(strict.RECORD_KEYS)), JSON, min_size=1))
@settings(max_examples=settings.default.max_examples * 80 // 100, deadline=None)
def test_a_record_of_odd_values_never_makes_verify_raise(
    original: Path, position: int, changes: dict[str, Any]
) -> None:
    forged(original, position, **changes)


def test_deeply_nested_json_never_makes_verify_raise(
    db: sqlite3.Connection, path: Path, check: Check
) -> None:
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    db.execute("UPDATE events SET payload = ? WHERE position = 2", (deep,))
    assert ("PAYLOAD_DIGEST", 2) in check(path)


def test_a_swapped_hold_is_checked_against_the_decision(
    db: sqlite3.Connection, path: Path, check: Check
) -> None:
    db.execute("UPDATE holds SET reserved_usd_micros = 0 WHERE job_id LIKE '%2'")
    assert check(path) == [("HOLD", None)]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("text\0We never rendered this.", "I signed off on it."),
        ("comment", "We never rendered this.\0I signed off on it."),
    ],
    ids=["a field that takes in half of the text", "the field of another text"],
)
def test_a_commitment_opens_in_one_way_only(
    path: Path, vocabulary: ModuleType, check: Check, db: sqlite3.Connection, field: str, text: str
) -> None:
    scribe = vocabulary.Scribe(100)
    with scribe.ledger(path) as ledger:
        sealed = Private.seal("text", "We never rendered this.\0I signed off on it.")
        ledger.append([scribe.batch("job_01900000000070008000000000000002", NoteRecorded(text=sealed))])
    assert check(path) == []
    db.execute("UPDATE private_bodies SET field = ?, text = ? WHERE position = 15", (field, text))
    assert check(path) == [("BODY_UNKNOWN", 15)]


def test_a_text_in_a_list_is_found_at_its_number(path: Path, vocabulary: ModuleType, check: Check) -> None:
    scribe = vocabulary.Scribe(100)
    names = [Private.seal(f"further_images.{number}.name", f"{number}.png") for number in range(2)]
    images = [
        InputReference(name=name, sha256="ab" * 32, media_type="image/png", width=1, height=1, bytes=1)
        for name in names
    ]
    with scribe.ledger(path) as ledger:
        event = structs.replace(vocabulary.requested(), further_images=tuple(images))
        ledger.append([scribe.batch("job_01900000000070008000000000000003", event)])
    assert check(path) == []


@pytest.mark.parametrize("number", ["01", "001", "\u0661", "-1", "+1", " 1", "2", "x"])
def test_the_number_of_a_text_in_a_list_is_written_in_one_way(
    path: Path, vocabulary: ModuleType, check: Check, db: sqlite3.Connection, number: str
) -> None:
    names = [Private.seal(f"further_images.{at}.name", f"{at}.png") for at in range(2)]
    images = [
        InputReference(name=name, sha256="ab" * 32, media_type="image/png", width=1, height=1, bytes=1)
        for name in names
    ]
    scribe = vocabulary.Scribe(100)
    with scribe.ledger(path) as ledger:
        event = structs.replace(vocabulary.requested(), further_images=tuple(images))
        ledger.append([scribe.batch("job_01900000000070008000000000000003", event)])
    last = "UPDATE private_bodies SET field = ? WHERE field = 'further_images.1.name'"
    assert db.execute(last, (f"further_images.{number}.name",)).rowcount == 1
    assert check(path) == [("BODY_UNKNOWN", 15)]


def test_a_job_row_in_other_bytes_is_reported_as_not_canonical(db: sqlite3.Connection, path: Path) -> None:
    db.execute("UPDATE jobs SET body = CAST(replace(body, '\":', '\": ') AS BLOB) WHERE version = 10")
    with SqliteSnapshot(path) as tables:
        [finding] = verify(tables).findings
    assert (finding.code, finding.expected, finding.found) == ("JOB_ROW", "canonical JSON", "other bytes")


def test_texts_deleted_from_the_end_are_missed(db: sqlite3.Connection, path: Path, check: Check) -> None:
    [last] = db.execute("SELECT MAX(position) FROM private_bodies").fetchone()
    [texts] = db.execute("SELECT COUNT(*) FROM private_bodies WHERE position = ?", (last,)).fetchone()
    db.execute("DELETE FROM private_bodies WHERE position = ?", (last,))
    assert check(path) == [("BODY_MISSING", last)] * texts


def test_texts_that_are_all_deleted_are_missed(db: sqlite3.Connection, path: Path, check: Check) -> None:
    [texts] = db.execute("SELECT COUNT(*) FROM private_bodies").fetchone()
    db.execute("DELETE FROM private_bodies")
    assert [code for code, _ in check(path)] == ["BODY_MISSING"] * texts


def test_unknown_texts_beyond_the_limit_are_counted(
    db: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.executemany(
        "INSERT INTO private_bodies VALUES (?, 9, 'text', x'00', 'planted')",
        [(f"{n:064x}",) for n in range(5)],
    )
    monkeypatch.setattr(report_module, "MAX_FINDINGS", 2)
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
    assert ([finding.code for finding in report.findings], report.more_findings) == (["BODY_UNKNOWN"] * 2, 3)


@pytest.mark.parametrize("causation_id", ["a b", "", "\u00e9", 7, [], "x" * 129])
def test_what_caused_an_event_has_the_shape_of_an_id(
    db: sqlite3.Connection, path: Path, check: Check, causation_id: Any
) -> None:
    forge(db, 2, causation_id=causation_id)
    assert check(path) == [("RECORD_FIELDS", 2)]


def test_a_row_of_a_job_whose_id_is_no_text_is_one_too_many(
    db: sqlite3.Connection, path: Path, check: Check
) -> None:
    columns = "version, position, state, profile, video_id, body, actor, team"
    db.execute(f"INSERT INTO jobs SELECT CAST(x'eda080' AS TEXT), {columns} FROM jobs LIMIT 1")
    assert check(path) == [("JOB_ROW_EXTRA", None)]


@pytest.mark.parametrize("at_hand", [1, 5, 1 << 18])
def test_an_event_id_that_stands_twice_is_found(
    db: sqlite3.Connection, path: Path, check: Check, monkeypatch: pytest.MonkeyPatch, at_hand: int
) -> None:
    monkeypatch.setattr(spill, "_IDS_AT_HAND", at_hand)
    assert check(path) == []
    db.executescript(
        "CREATE TABLE log AS SELECT * FROM events; DROP TABLE events; ALTER TABLE log RENAME TO events"
    )
    [event_id] = db.execute("SELECT event_id FROM events WHERE position = 5").fetchone()
    for position in (12, 13):
        db.execute("UPDATE events SET event_id = ? WHERE position = ?", (event_id, position))
        forge(db, position, event_id=event_id)
    assert check(path) == [("EVENT_ID_TWICE", 12), ("EVENT_ID_TWICE", 13)]


def test_the_first_cause_is_distinguished_from_what_may_follow_from_it(
    db: sqlite3.Connection, path: Path
) -> None:
    with SqliteSnapshot(path) as tables:
        assert verify(tables).first_cause() is None
    db.execute("UPDATE events SET record = CAST(replace(record, 'kind', 'kinds') AS BLOB) WHERE position = 4")
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
    cause = report.first_cause()
    assert cause
    assert (cause[0].code, cause[0].position, cause[1]) == ("LEAF_MISMATCH", 4, len(report.findings) - 1)


def test_a_finding_that_stands_alone_has_no_others(db: sqlite3.Connection, path: Path) -> None:
    db.execute("UPDATE events SET leaf = zeroblob(32) WHERE position = 5")
    with SqliteSnapshot(path) as tables:
        assert verify(tables).first_cause() is None
