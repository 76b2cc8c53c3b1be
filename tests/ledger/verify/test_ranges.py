"""A ledger is called sound in ranges of positions, by several processes, only if nothing is wrong with it."""

import itertools
import json
import sqlite3
from pathlib import Path
from shutil import copyfile
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.log import verification
from ledger.log.verification import verify_ledger, verify_ranges
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import ranges, verify
from ledger.verify.elsewhere import is_at
from ledger.verify.shapes import Shapes, Unlearnable, encode
from ledger.verify.slim_fold import NotSound
from ledger.verify.strict import NotCanonicalError, parse_payload
from ledger.verify.tree import Tree, leaf
from tests.ledger.verify.test_fast_path import DOCUMENTS, canonical

TRIGGERS = ("events_only_extend", "events_no_update", "events_no_delete", "private_bodies_no_update")
JOBS = [f"job_0190000000007000800000000000{number:04x}" for number in range(40)]
TAMPERING = [
    "UPDATE events SET actor = 'bob' WHERE position = {at}",
    "UPDATE events SET event_id = 'x' WHERE position = {at}",
    "UPDATE events SET leaf = zeroblob(32) WHERE position = {at}",
    "UPDATE events SET record = CAST(replace(record, 'ana', 'bob') AS BLOB) WHERE position = {at}",
    "UPDATE events SET payload = CAST(payload || ' ' AS BLOB) WHERE position = {at}",
    "UPDATE events SET version = version + 1 WHERE position = {at} AND version > 8",
    "DELETE FROM events WHERE position = {at}",
    "UPDATE head SET size = size + 1 WHERE {at} > 0",
    "DELETE FROM jobs WHERE job_id = (SELECT stream FROM events WHERE position = {at})",
    "UPDATE jobs SET state = 'lost' WHERE job_id = (SELECT stream FROM events WHERE position = {at})",
    "UPDATE jobs SET body = replace(body, 'progress', 'Progress') WHERE position >= {at}",
    "INSERT INTO jobs SELECT 'job_x', 1, {at}, state, '', '', body, '', '' FROM jobs LIMIT 1",
    "UPDATE holds SET settled_usd_micros = {at}",
    "DELETE FROM holds WHERE job_id = (SELECT stream FROM events WHERE position = {at})",
    "INSERT INTO holds SELECT 'other', job_id, 1, 0 FROM jobs WHERE position >= {at} LIMIT 1",
    "DELETE FROM private_bodies WHERE position = {at}",
    "UPDATE private_bodies SET text = text || '.' WHERE position = {at}",
    "UPDATE private_bodies SET position = position + 1 WHERE position = {at}",
    "UPDATE private_bodies SET position = 9999 WHERE position = {at}",
    "DELETE FROM tiles WHERE number = {at} % 1",
    "UPDATE tiles SET hash = zeroblob(32) WHERE {at} > 0",
    "UPDATE documents SET body = body || ' ' WHERE {at} > 0",
]


@pytest.fixture(scope="module")
def original(vocabulary: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger of jobs that live side by side, one event each in turn, and are reviewed much later."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    scribe = vocabulary.Scribe()
    with scribe.ledger(path) as ledger:
        scribe.set_limit(ledger.store, 20_000_000)
        for some in (JOBS[at : at + 8] for at in range(0, len(JOBS), 8)):
            lives = [(job_id, vocabulary.life()) for job_id in some]
            for step in range(len(lives[0][1]) - 1):
                ledger.append([scribe.batch(job_id, life[step]) for job_id, life in lives])
        ledger.append([scribe.batch(job_id, vocabulary.sample("review.recorded")) for job_id in JOBS])
        record = scribe.spoken(ledger.store)
        scribe.erase(ledger.store, record)
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """Return a copy of the original to tamper with."""
    copyfile(original, tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


def tamper(path: Path, statement: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    for trigger in TRIGGERS:
        db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    db.execute(statement)
    db.close()


@settings(deadline=None)
@given(st.data())
def test_what_was_tampered_with_is_never_called_sound(
    original: Path, vocabulary: ModuleType, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("tampered") / "ledger.db"
    copyfile(original, path)
    with SqliteSnapshot(path) as tables:
        size, _ = tables.head()
    tamper(path, data.draw(st.sampled_from(TAMPERING)).format(at=data.draw(st.integers(1, size))))
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=3)))
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
    sound = vocabulary.in_ranges(path, [0, *cuts, size])
    assert sound == (report if report.clean else None)
    path.unlink()


@settings(deadline=None, max_examples=settings.default.max_examples * 50 // 100)
@given(st.data())
def test_a_sound_ledger_is_called_sound_wherever_it_is_cut(
    original: Path, vocabulary: ModuleType, data: st.DataObject
) -> None:
    with SqliteSnapshot(original) as tables:
        size, _ = tables.head()
        roots_at = data.draw(st.sets(st.integers(0, size), max_size=3))
        report = verify(tables, roots_at)
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=4)))
    assert vocabulary.in_ranges(original, [0, *cuts, size], roots_at) == report


def test_a_job_that_left_sight_is_read_again_when_it_continues(
    original: Path, vocabulary: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "NEAR", 1)
    with SqliteSnapshot(original) as tables:
        size, _ = tables.head()
        assert vocabulary.in_ranges(original, [0, size]) == verify(tables)


def test_a_job_whose_record_is_left_out_of_the_index_is_not_called_sound(
    path: Path, vocabulary: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "NEAR", 1)
    monkeypatch.setattr(SqliteSnapshot, "history", lambda *_: [])
    with SqliteSnapshot(path) as tables:
        size, _ = tables.head()
    assert vocabulary.in_ranges(path, [0, size]) is None


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_report_what_the_full_verification_does(original: Path, processes: int) -> None:
    with SqliteSnapshot(original) as tables:
        assert verify_ranges(str(original), [5, 256, 300], processes) == verify(tables, [5, 256, 300])


def test_what_a_process_finds_odd_is_explained_by_the_full_verification(path: Path) -> None:
    tamper(path, "UPDATE events SET actor = 'bob' WHERE position = 300")
    found = verify_ledger(str(path), processes=2).findings
    assert [(finding.code, finding.position) for finding in found] == [("COLUMN_MISMATCH", 300)]


def test_an_event_id_that_two_ranges_have_is_not_called_sound(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("CREATE TABLE loose AS SELECT * FROM events")
    db.execute("DROP TABLE events")
    db.execute("ALTER TABLE loose RENAME TO events")
    db.close()
    doubled = "(SELECT event_id FROM events WHERE position = 3)"
    tamper(path, f"UPDATE events SET event_id = {doubled} WHERE position = 300")
    forge_event_id(path, 300)
    with pytest.raises(NotSound):
        verify_ranges(str(path), (), 2)
    assert "EVENT_ID_TWICE" in {finding.code for finding in verify_ledger(str(path), processes=2).findings}


def forge_event_id(path: Path, position: int) -> None:
    """Make the rest of the ledger fit to an event's id that was changed in its column."""
    db = sqlite3.connect(path, isolation_level=None)
    record, event_id = db.execute(
        "SELECT record, event_id FROM events WHERE position = ?", (position,)
    ).fetchone()
    forged = canonical(json.loads(record) | {"event_id": event_id})
    db.execute("UPDATE events SET record = ?, leaf = ? WHERE position = ?", (forged, leaf(forged), position))
    tree = Tree()
    for (each,) in db.execute("SELECT record FROM events ORDER BY position"):
        for level, number, value in tree.add(leaf(each)):
            db.execute("UPDATE tiles SET hash = ? WHERE level = ? AND number = ?", (value, level, number))
    db.execute("UPDATE head SET frontier = ?", (tree.frontier(),))
    db.close()


def test_processes_that_cannot_be_started_leave_it_to_this_one(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification.sys, "executable", "/nowhere/python")  # type: ignore[attr-defined]
    with SqliteSnapshot(original) as tables:
        assert verify_ledger(str(original), processes=2) == verify(tables)


def test_an_appending_process_makes_the_others_open_the_ledger_again(
    path: Path, vocabulary: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe = vocabulary.Scribe(10_000)
    opened = verification._Processes.open
    heads = list[tuple[int, bytes]]()

    def append_in_between(self: Any, url: str, exported: str | None, head: tuple[int, bytes]) -> bool:
        if not heads:
            with scribe.ledger(path) as ledger:
                ledger.append([scribe.note()])
        heads.append(head)
        return opened(self, url, exported, head)

    monkeypatch.setattr(verification._Processes, "open", append_in_between)
    report = verify_ranges(str(path), (), 2)
    assert (report.clean, report.size) == (True, heads[0][0] + 1)
    assert len(heads) == 2


def test_every_process_reads_whole_blocks() -> None:
    assert verification.cut(1_000, 3) == [(0, 512), (512, 1_000)]
    assert verification.cut(0, 3) == []
    assert verification.cut(100, 3) == [(0, 100)]


@given(st.lists(DOCUMENTS, min_size=1, max_size=6))
@settings(deadline=None)
def test_a_shape_accepts_only_what_is_canonical_and_finds_all_its_commitments(documents: list[Any]) -> None:
    shapes = Shapes()
    for document in documents:
        try:
            payload = canonical(document)
            shapes.parse("type", payload)
        except (NotCanonicalError, UnicodeEncodeError):
            continue
    for document, other in itertools.product(documents, documents):
        try:
            payload = canonical(document)
            parse_payload(payload)
            expected = parse_payload(canonical(other))[1]
            found = shapes.parse("type", canonical(other))
        except (NotCanonicalError, UnicodeEncodeError):
            continue
        commitments: dict[str, str] = {}
        collect = shapes.collectors.get(type(found))
        try:
            if collect:
                collect(found, "", commitments)
        except Unlearnable:
            continue
        assert sorted(commitments.values()) == sorted(expected)
        assert all(is_at(other, path, found) for path, found in commitments.items() if path)


@given(DOCUMENTS, st.binary(max_size=6), st.integers(0, 60), st.integers(0, 6))
@settings(deadline=None)
def test_spoilt_bytes_are_refused_by_a_shape_that_was_learned_from_the_right_ones(
    document: Any, noise: bytes, start: int, length: int
) -> None:
    try:
        payload = canonical(document)
        shapes = Shapes()
        shapes.parse("type", payload)
    except (NotCanonicalError, UnicodeEncodeError):
        return
    spoilt = payload[:start] + noise + payload[start + length :]
    try:
        shapes.parse("type", spoilt)
    except NotCanonicalError:
        return
    parse_payload(spoilt)


def test_a_payload_like_one_before_is_read_by_its_shape() -> None:
    shapes = Shapes()
    payloads = [canonical({"a": number, "b": {"c": [None, "\u2028\x7f"]}}) for number in range(2)]
    shapes.parse("type", payloads[0])
    assert encode(shapes.known["type"](payloads[1])) == payloads[1]
