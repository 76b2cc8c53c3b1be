import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.log.ledger import Ledger
from ledger.log.replay import jobs_at, position_at, replay, swap
from ledger.terms import State
from tests.ledger.scribe import Scribe


def tamper(path: Path, statement: str, *values: Any) -> None:
    db = sqlite3.connect(path)
    db.execute(statement, values)
    db.commit()
    db.close()


@pytest.fixture
def job(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> str:
    scribe.live(ledger.store, vocabulary.JOB)
    return str(vocabulary.JOB)


def rewrite(ledger: Ledger, path: Path, job: str, **changes: Any) -> None:
    body = json.loads(ledger.job(job).canonical()) | changes
    row = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    tamper(path, "UPDATE jobs SET body = ? WHERE job_id = ?", row, job)


def test_an_untouched_ledger_has_no_drift(ledger: Ledger, job: str) -> None:
    assert replay(ledger).drift == []


def test_replay_folds_the_jobs_that_are_live(ledger: Ledger, job: str) -> None:
    assert (replay(ledger).jobs, jobs_at(ledger, ledger.head().size)) == (1, {job: ledger.job(job)})


def test_an_edited_row_is_drift_in_the_fields_edited(ledger: Ledger, path: Path, job: str) -> None:
    rewrite(ledger, path, job, state="failed", progress=7)
    [drift] = replay(ledger).drift
    assert drift.fields() == {"state": ("failed", "stored"), "progress": (7, 100)}


def test_a_deleted_row_is_drift(ledger: Ledger, path: Path, job: str) -> None:
    tamper(path, "DELETE FROM jobs")
    [drift] = replay(ledger).drift
    assert (drift.job_id, drift.live) == (job, None)


def test_a_row_without_events_is_drift(ledger: Ledger, path: Path, job: str) -> None:
    rewrite(ledger, path, job, job_id="job_x")
    tamper(path, "UPDATE jobs SET job_id = 'job_x'")
    assert [(drift.job_id, drift.replayed is None) for drift in replay(ledger).drift] == [
        (job, False),
        ("job_x", True),
    ]


def test_replaying_changes_nothing(ledger: Ledger, path: Path, job: str) -> None:
    rewrite(ledger, path, job, state="failed")
    before = (ledger.head(), ledger.jobs())
    replay(ledger)
    assert (ledger.head(), ledger.jobs()) == before


def test_swapping_mends_the_rows(
    ledger: Ledger, path: Path, job: str, check: Callable[..., list[tuple[str, int | None]]]
) -> None:
    rewrite(ledger, path, job, state="failed")
    swap(ledger, replay(ledger))
    assert check(path) == []


def test_swapping_is_refused_when_the_ledger_has_grown(ledger: Ledger, scribe: Scribe, job: str) -> None:
    result = replay(ledger)
    ledger.append([scribe.note()])
    with pytest.raises(WrongExpectedVersion, match="folded up to position 10, the ledger is at 11"):
        swap(ledger, result)


@pytest.mark.parametrize(
    ("position", "state"),
    [(2, State.REQUESTED), (5, State.RUNNING), (6, State.COMPLETED), (10, State.STORED)],
)
def test_jobs_stand_as_they_did_at_a_position(ledger: Ledger, job: str, position: int, state: State) -> None:
    assert jobs_at(ledger, position)[job].state is state


@pytest.mark.parametrize("position", [0, 1])
def test_there_are_no_jobs_before_the_first_request(ledger: Ledger, job: str, position: int) -> None:
    assert jobs_at(ledger, position) == {}


@pytest.mark.parametrize(
    ("moment", "position"),
    [
        ("2025-12-31T00:00:00.000000Z", 0),
        ("2026-01-01T12:00:02.999999Z", 3),
        ("2026-01-01T12:00:03.000000Z", 4),
        ("2027-01-01T00:00:00.000000Z", 10),
    ],
)
def test_a_moment_is_the_last_position_recorded_by_then(
    ledger: Ledger, job: str, moment: str, position: int
) -> None:
    assert position_at(ledger, moment) == position


def test_a_job_that_moves_on_during_a_replay_is_no_drift(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ledger.read

    def read_while_others_append(*args: Any, **options: Any) -> Any:
        ledger.append([scribe.batch(job, vocabulary.sample("output.attached"))])
        return read(*args, **options)

    monkeypatch.setattr(ledger, "read", read_while_others_append)
    assert replay(ledger).drift == []


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        ("UPDATE listing SET state = 'failed'", "listing"),
        ("UPDATE listing SET block = 7", "nothing"),
        ("DELETE FROM listing", "listing"),
        ("UPDATE counts SET jobs = jobs + 1", "counts"),
        ("DELETE FROM counts", "counts"),
        ("UPDATE spending SET settled_usd_micros = 1 WHERE jobs > 0", "spending"),
    ],
)
def test_a_list_that_differs_from_the_jobs_is_named_and_made_again(
    ledger: Ledger, path: Path, job: str, damage: str, table: str
) -> None:
    tamper(path, damage)
    result = replay(ledger)
    assert result.drift == []
    assert table in ({drift.table for drift in result.lists} or {"nothing"})
    assert result.is_clean is (table == "nothing")
    swap(ledger, result)
    assert replay(ledger).is_clean


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE jobs SET body = x'ff'",
        "UPDATE events SET record = x'ff' WHERE position = 2",
        "UPDATE events SET payload = x'ff' WHERE position = 2",
        "UPDATE events SET payload = CAST('{}' AS BLOB) WHERE position = 2",
    ],
)
def test_what_cannot_be_read_sends_to_verify(ledger: Ledger, path: Path, job: str, damage: str) -> None:
    tamper(path, "DROP TRIGGER events_no_update")
    tamper(path, damage)
    with pytest.raises(LedgerUnusable, match="sora-ledger verify"):
        replay(ledger)
