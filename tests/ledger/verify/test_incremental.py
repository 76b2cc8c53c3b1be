"""Checking what is new: nothing more is read than that, and what is wrong with it is found."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from types import ModuleType
from typing import Any

import pytest

from ledger.log.opening import open_ledger
from ledger.store.sqlite.snapshot import SqliteTail
from ledger.tree.merkle import root_at
from ledger.verify.incremental import verify_since

Found = list[tuple[str, int | None]]
SIZE = 540


@pytest.fixture(scope="module")
def original(vocabulary: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger whose first job, of position 3 on, goes on at its end, after 500 other records."""
    path = tmp_path_factory.mktemp("since") / "ledger.db"
    scribe = vocabulary.Scribe()
    with scribe.ledger(path) as ledger:
        ledger.append([scribe.batch("budget_studio", vocabulary.sample("budget.set"))])
        life = vocabulary.life()
        scribe.live(ledger.store, vocabulary.JOB, life[:8])  # 3 to 10
        scribe.live(ledger.store, vocabulary.OTHER_JOB)  # 11 to 19
        ledger.append([scribe.note() for _ in range(SIZE - 20)])
        ledger.append([scribe.batch(vocabulary.JOB, life[8])])
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    copyfile(original, tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
def edit(path: Path) -> Callable[[str], None]:
    """Change the ledger by SQL, with the triggers out of the way."""

    def run(statement: str) -> None:
        db = sqlite3.connect(path, isolation_level=None)
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(statement).rowcount == 1
        db.close()

    return run


def found(path: Path, since: int) -> Found:
    with SqliteTail(path, since) as tail:
        return [(finding.code, finding.position) for finding in verify_since(tail, since).findings]


@pytest.mark.parametrize("since", [1, 2, 5, 10, 19, 255, 256, 257, 511, 512, 539, 540])
def test_a_clean_ledger_has_no_findings_from_anywhere_on(original: Path, since: int) -> None:
    assert found(original, since) == []


@pytest.mark.parametrize("since", [1, 256, 300, 540])
def test_the_root_is_the_ledgers(original: Path, since: int) -> None:
    with SqliteTail(original, since) as tail, open_ledger(str(original)) as ledger:
        report = verify_since(tail, since, [7, 256, 530, SIZE])
        assert (report.size, report.root) == (SIZE, ledger.head().root.hex())
        assert report.roots == {size: root_at(ledger.store, size) for size in (7, 256, 530, SIZE)}


TAMPERED: dict[str, tuple[str, Found]] = {
    "an edited payload of what is new": (
        "UPDATE events SET payload = CAST(replace(payload, 'trailer', 't') AS BLOB) WHERE position = 400",
        [("PAYLOAD_DIGEST", 400)],
    ),
    "an edited column of what is new": (
        "UPDATE events SET actor = 'mallory' WHERE position = 400",
        [("COLUMN_MISMATCH", 400)],
    ),
    "a row too few": (
        "DELETE FROM events WHERE position = 400",
        [
            ("POSITION_NOT_DENSE", 401),
            ("VERSION_NOT_DENSE", 401),
            ("HEAD_SIZE", None),
            ("HEAD_ROOT", None),
            ("TILE_MISMATCH", None),
        ],
    ),
    "an edited record of a job that goes on": (
        "UPDATE events SET payload = CAST(replace(payload, 'draft', 'final') AS BLOB) WHERE position = 3",
        [("PAYLOAD_DIGEST", 3), ("JOB_ROW", 540)],
    ),
    "an edited text of a job that goes on": (
        "UPDATE private_bodies SET text = 'x' WHERE position = 3 AND field = 'prompt'",
        [("BODY_MISMATCH", 3)],
    ),
    "an edited row of a job that goes on": (
        "UPDATE jobs SET state = 'failed' WHERE position = 540",
        [("JOB_COLUMN", 540)],
    ),
    "an edited hold of a job that goes on": (
        "UPDATE holds SET settled_usd_micros = 1 WHERE job_id LIKE '%1'",
        [("HOLD", None)],
    ),
    "an edited tile of what is new": (
        "UPDATE tiles SET hash = zeroblob(32) WHERE number = 1",
        [("TILE_MISMATCH", None)],
    ),
    "a missing tile of what was before": ("DELETE FROM tiles WHERE number = 0", [("TILE_MISMATCH", None)]),
    "a head of another size": ("UPDATE head SET size = 9", [("HEAD_SIZE", None)]),
    "an edited leaf of what was before": (
        "UPDATE events SET leaf = zeroblob(32) WHERE position = 300",
        [("HEAD_ROOT", None), ("TILE_MISMATCH", None)],
    ),
    "an edited record of what was before": (
        "UPDATE events SET payload = x'00' WHERE position = 200",
        [],
    ),
}


@pytest.mark.parametrize(("statement", "findings"), TAMPERED.values(), ids=TAMPERED.keys())
def test_what_was_tampered_with_is_found_where_it_is_read(
    path: Path, edit: Callable[[str], None], statement: str, findings: Found
) -> None:
    edit(statement)
    assert found(path, 301) == findings


def test_little_of_a_long_log_is_read(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    select = SqliteTail._select

    def counting(tail: SqliteTail, query: str) -> Any:
        for row in select(tail, query):
            read.append(row)
            yield row

    monkeypatch.setattr(SqliteTail, "_select", counting)
    found(original, SIZE - 1)
    assert len(read) < 256
