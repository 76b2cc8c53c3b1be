"""What a process remembers of a ledger file is never older than what its other threads did to the file."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.errors import BudgetExceeded, WrongExpectedVersion
from ledger.log.ledger import Ledger
from ledger.log.replay import replay, swap
from ledger.store.interface import NEW
from ledger.store.sqlite import SqliteStore
from tests.ledger.scribe import Scribe

JOBS = [f"job_0190000000007000800000000000{number:04x}" for number in range(60)]


class Meanwhile:
    """The lock of the writer, and what another thread does before it is taken or after it is released."""

    def __init__(self, lock: Any, moment: str, run: Callable[[], object]) -> None:
        self.lock = lock
        self.before = run if moment == "before" else None
        self.after = run if moment == "after" else None

    def __enter__(self) -> None:
        before, self.before = self.before, None
        in_a_thread(before)
        self.lock.__enter__()

    def __exit__(self, *error: object) -> None:
        self.lock.__exit__(*error)
        after, self.after = self.after, None
        in_a_thread(after)


def in_a_thread(run: Callable[[], object] | None) -> None:
    if run is not None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_swap_of_the_job_rows_by_another_thread_is_not_forgotten(
    ledger: Ledger,
    scribe: Scribe,
    vocabulary: ModuleType,
    path: Path,
    check: Callable[..., list[tuple[str, int | None]]],
    moment: str,
) -> None:
    store, life = ledger.store, vocabulary.life()[:4]
    assert isinstance(store, SqliteStore)
    ledger.append([scribe.batch(vocabulary.JOB, life[0])])
    damage = "UPDATE jobs SET body = CAST(replace(CAST(body AS TEXT), 'draft', 'final') AS BLOB)"
    with sqlite3.connect(path) as db:
        db.execute(damage)
    db.close()
    ledger.append([scribe.batch(vocabulary.JOB, life[1])])  # is decided on the damaged row

    def repair() -> None:
        swap(ledger, replay(ledger))

    store._writing = Meanwhile(store._writing, moment, repair)  # type: ignore[assignment]
    for event in life[2:]:
        ledger.append([scribe.batch(vocabulary.JOB, event)])
    assert ledger.job(vocabulary.JOB).purpose == "draft"
    assert (replay(ledger).drift, check(path)) == ([], [])


def in_threads(*runs: Callable[[], object]) -> None:
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def elsewhere(ledger: Ledger, path: Path) -> Iterator[SqliteStore]:
    """Yield the same ledger as another process has it open."""
    with SqliteStore(path) as opened:
        yield opened


def test_threads_and_processes_that_append_and_swap_spend_a_budget_once(
    ledger: Ledger,
    elsewhere: SqliteStore,
    vocabulary: ModuleType,
    scribe: Scribe,
    path: Path,
    check: Callable[..., list[tuple[str, int | None]]],
) -> None:
    scribe.set_limit(ledger.store, 37 * 20 + 36)
    done: list[str] = []
    ended: list[int] = []

    def spend(number: int) -> None:
        own = vocabulary.Scribe(first=10_000 * (number + 1))
        store = elsewhere if number % 2 else ledger.store
        for job_id in JOBS[number::4]:
            try:
                store.append([own.reserve(job_id, 37)._replace(expected_version=NEW)])
                store.append([own.batch(job_id, vocabulary.sample("submission.intended"))])
                done.append(job_id)
            except BudgetExceeded:
                store.append([own.note()])
        ended.append(number)

    def make_again() -> None:
        while len(ended) < 4:
            try:
                swap(ledger, replay(ledger))
            except WrongExpectedVersion:
                continue

    in_threads(*(lambda number=number: spend(number) for number in range(4)), make_again)
    assert (len(done), ledger.store.held("studio")) == (20, 37 * 20)
    assert {job.version for job in ledger.jobs()} == {3}
    assert (replay(ledger).drift, check(path)) == ([], [])
