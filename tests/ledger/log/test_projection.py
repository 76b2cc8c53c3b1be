"""Recorded digests of the job rows: what they are, and how a replay dates a drift by them."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.events import ProjectionRecorded
from ledger.log.ledger import Ledger
from ledger.log.projection import STREAM, Drifted
from ledger.log.replay import digest_live_rows, jobs_at, replay, swap
from tests.ledger.scribe import Scribe, life

JOBS = [f"job_{number:032x}" for number in range(1, 6)]


def digest_by_hand(rows: list[bytes]) -> str:
    """Compute the digest as docs/FORMAT.md states it."""
    numbers = [
        int.from_bytes(hashlib.shake_256(b"sora-ledger job row\n" + row).digest(256), "big") for row in rows
    ]
    return hashlib.sha256((sum(numbers) % 2**2048).to_bytes(256, "big")).hexdigest()


def stored_rows(path: Path) -> list[bytes]:
    with sqlite3.connect(path) as db:
        return [body for (body,) in db.execute("SELECT body FROM jobs ORDER BY job_id DESC")]


@pytest.fixture
def record(ledger: Ledger, scribe: Scribe) -> Callable[[], int]:
    """Return a function that records the digest of the live rows and returns its position."""

    def now() -> int:
        event = digest_live_rows(ledger)
        ledger.append([scribe.batch(STREAM, event)])
        return event.position

    return now


@pytest.fixture
def grow(ledger: Ledger, scribe: Scribe) -> Callable[[], None]:
    """Return a function that takes each job one step further, and begins another one."""
    lives: dict[str, list[Any]] = {}

    def step() -> None:
        lives[JOBS[len(lives) % len(JOBS)]] = life()
        for job_id, events in lives.items():
            if events:
                ledger.append([scribe.batch(job_id, events.pop(0))])

    return step


def edit(path: Path, **changes: Any) -> None:
    with sqlite3.connect(path) as db:
        [(body,)] = db.execute("SELECT body FROM jobs WHERE job_id = ?", (JOBS[0],)).fetchall()
        row = json.dumps(json.loads(body) | changes, sort_keys=True, separators=(",", ":")).encode()
        db.execute("UPDATE jobs SET body = ? WHERE job_id = ?", (row, JOBS[0]))


def test_the_digest_is_the_one_of_the_format(ledger: Ledger, path: Path, grow: Callable[[], None]) -> None:
    for _ in range(3):
        grow()
    event = digest_live_rows(ledger)
    rows = stored_rows(path)
    assert (event.position, event.jobs) == (ledger.head().size, len(rows))
    assert event.digest == digest_by_hand(rows)


def test_a_ledger_without_jobs_has_a_digest_too(ledger: Ledger) -> None:
    event = digest_live_rows(ledger)
    assert (event.jobs, event.digest) == (0, digest_by_hand([]))


def test_replay_agrees_with_every_recorded_digest(
    ledger: Ledger, grow: Callable[[], None], record: Callable[[], int]
) -> None:
    positions = [record()]
    for _ in range(5):
        grow()
        positions.append(record())
    again = replay(ledger)
    assert (again.compared, again.drifted, again.is_clean) == (len(positions), (), True)
    for entry in ledger.entries(ProjectionRecorded):
        rows = [job.canonical() for job in jobs_at(ledger, entry.event.position).values()]
        assert entry.event.digest == digest_by_hand(rows)


def test_a_drift_is_dated_by_the_digests_around_it(
    ledger: Ledger, path: Path, grow: Callable[[], None], record: Callable[[], int], scribe: Scribe
) -> None:
    grow()
    good = record()
    edit(path, progress=7)
    ledger.append([scribe.note()])
    bad = record()
    found = replay(ledger)
    assert found.drifted == (Drifted(good, bad, None),)
    assert not found.is_clean


def test_a_drift_that_was_mended_stays_on_record(
    ledger: Ledger, path: Path, grow: Callable[[], None], record: Callable[[], int]
) -> None:
    grow()
    edit(path, progress=7)
    bad = record()
    swap(ledger, replay(ledger))
    mended = record()
    found = replay(ledger)
    assert found.drifted == (Drifted(0, bad, mended),)
    assert found.is_clean


def test_a_row_that_was_deleted_is_a_drift_although_no_digest_follows_from_it(
    ledger: Ledger, path: Path, grow: Callable[[], None], record: Callable[[], int]
) -> None:
    grow()
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM jobs")
    bad = record()
    assert replay(ledger).drifted == (Drifted(0, bad, None),)


def test_a_digest_of_rows_of_another_form_is_not_compared(
    ledger: Ledger,
    grow: Callable[[], None],
    record: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    vocabulary: ModuleType,
) -> None:
    grow()
    record()
    monkeypatch.setattr("ledger.log.projection.ROW_FORM", 2)
    found = replay(ledger)
    assert (found.compared, found.not_compared, found.is_clean) == (0, 1, True)


def test_rows_that_change_while_they_are_read_count_as_they_were(
    ledger: Ledger, path: Path, grow: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    grow()
    expected = digest_by_hand(stored_rows(path))
    position = ledger.head().size
    all_jobs = ledger.store.all_jobs
    monkeypatch.setattr(ledger.store, "all_jobs", lambda: (grow(), all_jobs())[1])  # type: ignore[func-returns-value]
    event = digest_live_rows(ledger)
    assert (event.position, event.digest) == (position, expected)
