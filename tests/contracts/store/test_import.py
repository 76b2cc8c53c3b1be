"""Rows of another ledger are taken verbatim, or refused."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from ledger.errors import (
    AppendRefused,
    WrongExpectedVersion,
)
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import EventStore
from tests.contracts.store.conftest import Kit

ALL = RecordFilter()


def export(store: EventStore) -> list[Any]:
    rows = store.rows(0, 10_000, ALL)
    return [(row, list(store.bodies([position]).values())) for position, row in enumerate(rows, 1)]


@pytest.fixture
def source(kit: Kit, vocabulary: ModuleType) -> Iterator[EventStore]:
    """Yield another store with a job, its holds and an erasure."""
    opened = kit.open("source")
    scribe = vocabulary.Scribe(first=5_000)
    scribe.begin(opened)
    scribe.live(opened, vocabulary.JOB)
    scribe.erase(opened, scribe.spoken(opened))
    yield opened
    opened.close()


@pytest.fixture
def target(kit: Kit) -> Iterator[EventStore]:
    """Yield an empty store, the one that `clean` looks at."""
    opened = kit.open("one")
    yield opened
    opened.close()


def test_an_import_gives_the_same_root(source: EventStore, target: EventStore) -> None:
    target.import_rows(export(source))
    assert target.head().root() == source.head().root()


def test_an_import_gives_the_same_rows_jobs_and_holds(source: EventStore, target: EventStore) -> None:
    target.import_rows(export(source))
    shown = [
        (store.rows(0, 99, ALL), store.jobs(JobFilter()), store.holds("studio")) for store in (source, target)
    ]
    assert shown[0] == shown[1]


def test_an_import_verifies(source: EventStore, target: EventStore, clean: Callable[[], bool]) -> None:
    target.import_rows(export(source))
    assert clean()


def test_an_import_counts_what_was_new(source: EventStore, target: EventStore) -> None:
    rows = export(source)
    assert [target.import_rows(rows[:4]), target.import_rows(rows)] == [4, len(rows) - 4]


def test_an_import_over_a_gap_is_refused(source: EventStore, target: EventStore) -> None:
    with pytest.raises(WrongExpectedVersion, match="expected position 1, got 2"):
        target.import_rows(export(source)[1:])


def test_an_import_of_another_ledger_is_refused(source: EventStore, store: EventStore) -> None:
    with pytest.raises(WrongExpectedVersion, match="position 1 is already recorded with other content"):
        store.import_rows(export(source))


@pytest.mark.parametrize("column", ["record", "payload", "leaf"])
def test_an_import_of_damaged_rows_is_refused(source: EventStore, target: EventStore, column: str) -> None:
    [(row, bodies), *_] = export(source)
    damaged = row._replace(**{column: getattr(row, column) + b" "})
    with pytest.raises(AppendRefused, match="position 1 does not match its hashes"):
        target.import_rows([(damaged, bodies)])
