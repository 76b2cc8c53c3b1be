"""A ledger of format 1, frozen: every later version reads it, verifies it and replays it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from ledger.events import EVENT_TYPES
from ledger.log.ledger import Ledger
from ledger.log.opening import open_ledger
from ledger.log.replay import jobs_at, replay
from ledger.private import private_values
from ledger.record import ActorSource, Authority, Provenance, draft, new_event_id
from ledger.store.interface import ANY, Batch
from ledger.store.sqlite import SqliteStore
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify

V1 = Path(__file__).parent / "v1"
EXPECTED: dict[str, Any] = json.loads((V1 / "expected.json").read_text(encoding="utf-8"))
TYPES_OF_V1 = 31


@pytest.fixture
def path(tmp_path: Path) -> Path:
    copyfile(V1 / "ledger.db", tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with open_ledger(str(path)) as opened:
        yield opened


def test_it_has_its_size_and_root(ledger: Ledger) -> None:
    assert (ledger.head().size, ledger.head().root.hex()) == (EXPECTED["size"], EXPECTED["root"])


def test_it_verifies_with_that_root(path: Path) -> None:
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
    assert (report.findings, report.root) == ([], EXPECTED["root"])


def test_it_holds_every_event_of_its_time(ledger: Ledger) -> None:
    assert len({record.type for record in ledger.read()}) == TYPES_OF_V1


def test_every_event_of_it_is_still_read(ledger: Ledger) -> None:
    assert {type(record.event) for record in ledger.read()} <= set(EVENT_TYPES.values())


@pytest.mark.parametrize("job_id", EXPECTED["jobs"])
def test_a_job_of_it_stands_where_it_stood(ledger: Ledger, job_id: str) -> None:
    """Fields may be added to a job later; none of these changes."""
    now = json.loads(ledger.job(job_id).canonical())
    assert {name: now[name] for name in EXPECTED["jobs"][job_id]} == EXPECTED["jobs"][job_id]


def test_it_replays_without_drift(ledger: Ledger) -> None:
    assert replay(ledger).drift == []


def test_it_replays_to_the_jobs_it_had(ledger: Ledger) -> None:
    assert jobs_at(ledger, EXPECTED["size"]).keys() == EXPECTED["jobs"].keys()


def test_its_private_text_is_read_except_what_was_erased(ledger: Ledger) -> None:
    values = [(path, value.text) for record in ledger.read() for path, value in private_values(record.event)]
    assert [path for path, text in values if text is None] == ["prompt"]


def test_its_text_is_what_was_written(ledger: Ledger) -> None:
    [name] = [
        value.text
        for record in ledger.read()
        for path, value in private_values(record.event)
        if path == "input_reference.name"
    ]
    assert name == "Grüße aus Köln.png"


def test_it_can_be_imported_with_the_same_root(ledger: Ledger, tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "copy.db") as copy:
        for record in ledger.read():
            row = ledger.store.event(record.event_id)
            assert row
            copy.import_rows([(row, list(ledger.store.bodies([record.position]).values()))])
        assert copy.head().root().hex() == EXPECTED["root"]


def test_it_goes_on(path: Path) -> None:
    who = Provenance("bo", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)
    with SqliteStore(path) as store:
        ledger = Ledger(store)
        event = next(record for record in ledger.read() if record.type == "output.attached")
        now = datetime(2027, 1, 1, tzinfo=UTC)
        store.append([Batch("notes", ANY, [draft(event.event, who, now, event_id=new_event_id())])])
    with SqliteSnapshot(path) as tables:
        assert verify(tables).findings == []


def test_it_is_small() -> None:
    assert (V1 / "ledger.db").stat().st_size < 200_000
