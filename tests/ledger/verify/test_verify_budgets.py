"""What jobs hold of a budget never passed its limit."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import structs

from ledger.log.ledger import Ledger
from ledger.store import append
from ledger.verify import permissions, spill
from tests.ledger.scribe import Scribe

Check = Callable[..., list[tuple[str, int | None]]]
LIMIT = 1_000_000
IDS = [f"job_{number:032x}" for number in range(1, 9)]


@pytest.fixture
def record(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Record events of a job; `unchecked` by a writer that does not ask the budget."""
    ledger.append([scribe.batch("budget_studio", vocabulary.sample("budget.set"))])  # 2: at most 1,000,000

    def append_events(job_id: str, *events: Any, unchecked: bool = False) -> None:
        with monkeypatch.context() as writer:
            if unchecked:
                writer.setattr(append, "_check_budgets", lambda *_: None)
            ledger.append([scribe.batch(job_id, *events)])

    return append_events


def reserve(vocabulary: ModuleType, usd_micros: int = 400_000) -> tuple[Any, Any]:
    return vocabulary.requested(), vocabulary.decided(usd_micros=usd_micros)


def test_a_budget_within_its_limit_is_no_finding(
    record: Callable[..., None], path: Path, vocabulary: ModuleType, check: Check
) -> None:
    for job_id in IDS[:2]:
        record(job_id, *reserve(vocabulary))
    assert check(path) == []


def test_money_that_was_reserved_past_the_limit_is_found(
    record: Callable[..., None], path: Path, vocabulary: ModuleType, check: Check
) -> None:
    for job_id in IDS[:2]:
        record(job_id, *reserve(vocabulary))  # 3 to 6
    record(IDS[2], *reserve(vocabulary), unchecked=True)  # 7 and 8, without asking the budget
    assert check(path) == [("BUDGET_OVER", 8)]


def test_money_that_is_free_again_much_later_was_over_the_limit_all_the_same(
    record: Callable[..., None],
    path: Path,
    vocabulary: ModuleType,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record(IDS[0], *reserve(vocabulary, LIMIT))  # 3 and 4
    record(IDS[1], *reserve(vocabulary), unchecked=True)  # 5 and 6, without asking the budget
    record(IDS[1], vocabulary.sample("render.cancelled"))  # 7
    assert check(path, hesitate=True) == []  # it may have been one append
    monkeypatch.setattr(permissions, "ONE_APPEND", 0)
    assert check(path) == [("BUDGET_OVER", 6)]


def test_an_append_may_take_money_before_it_frees_some(
    record: Callable[..., None],
    ledger: Ledger,
    scribe: Scribe,
    path: Path,
    vocabulary: ModuleType,
    check: Check,
) -> None:
    record(IDS[0], *reserve(vocabulary, LIMIT))
    batches = [
        scribe.batch(IDS[1], *reserve(vocabulary)),
        scribe.batch(IDS[0], vocabulary.sample("render.cancelled")),
    ]
    ledger.append(batches)
    assert check(path, hesitate=True) == []


def test_a_limit_that_is_lowered_later_is_no_finding(
    record: Callable[..., None],
    ledger: Ledger,
    scribe: Scribe,
    path: Path,
    vocabulary: ModuleType,
    check: Check,
) -> None:
    record(IDS[0], *reserve(vocabulary, LIMIT))
    lower = structs.replace(vocabulary.sample("budget.set"), limit_usd_micros=1)
    ledger.append([scribe.batch("budget_studio", lower)])
    assert check(path) == []


def test_what_was_spent_may_pass_the_limit(
    record: Callable[..., None], path: Path, vocabulary: ModuleType, check: Check
) -> None:
    *before, settled, closed, _ = vocabulary.life()
    dear = structs.replace(settled, cost_usd_micros=LIMIT + 1, difference_usd_micros=600_001)
    record(IDS[0], *before)
    record(IDS[0], dear, closed)
    assert check(path) == []


def test_sums_are_kept_however_many_streams_there_are(
    record: Callable[..., None],
    path: Path,
    vocabulary: ModuleType,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spill, "NEAR", 1)
    for job_id in IDS[:2]:
        record(job_id, *reserve(vocabulary))
    record(IDS[2], *reserve(vocabulary), unchecked=True)
    assert check(path) == [("BUDGET_OVER", 8)]
