"""Several processes that verify one ledger on PostgreSQL report what the full verification reports."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from ledger.log.verification import verify_ledger, verify_ranges
from ledger.store.postgres import PostgresStore
from ledger.store.postgres.snapshot import PostgresSnapshot
from ledger.verify import Report, verify
from tests.ledger.scribe import Scribe

JOBS = [f"job_0190000000007000800000000000{number:04x}" for number in range(70)]
NO_TRIGGERS = "ALTER TABLE events DISABLE TRIGGER USER"


@pytest.fixture
def long(store: PostgresStore, url: str, scribe: Scribe, vocabulary: ModuleType) -> str:
    """Return the URL of a ledger of 634 records, whose jobs all cross the edges between the ranges."""
    scribe.set_limit(store, 1_000_000_000)
    lives = {job_id: vocabulary.life() for job_id in JOBS}
    for step in range(len(vocabulary.life())):
        store.append([scribe.batch(job_id, life[step]) for job_id, life in lives.items()])
    scribe.erase(store, scribe.spoken(store))
    return url


def full(url: str) -> Report:
    with PostgresSnapshot(url) as tables:
        return verify(tables, [5, 256, 300])


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_report_what_the_full_verification_does(long: str, processes: int) -> None:
    report = full(long)
    assert (report.clean, report.size, report.jobs) == (True, 634, len(JOBS))
    assert verify_ranges(long, [5, 256, 300], processes) == report


def test_an_append_after_the_snapshot_is_not_seen_by_any_process(
    long: str, store: PostgresStore, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    share, report = PostgresSnapshot.share, full(long)

    def then_append(self: PostgresSnapshot) -> str | None:
        exported = share(self)
        store.append([scribe.note()])
        return exported

    monkeypatch.setattr(PostgresSnapshot, "share", then_append)
    assert verify_ranges(long, [5, 256, 300], 3) == report


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE events SET actor = 'bob' WHERE position = 300",
        "UPDATE jobs SET state = 'lost' WHERE position = (SELECT MAX(position) FROM jobs)",
        "DELETE FROM tiles",
        "UPDATE holds SET settled_usd_micros = 1 WHERE job_id = (SELECT MIN(job_id) FROM holds)",
    ],
)
def test_what_one_process_finds_odd_the_full_verification_explains(
    long: str, execute: Callable[..., list[Any]], tampering: str
) -> None:
    execute(NO_TRIGGERS, tampering)
    found = verify_ledger(long, [5, 256, 300], 3)
    assert not found.clean
    assert found == full(long)
