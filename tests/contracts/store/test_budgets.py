"""Holds follow from the jobs, and no append reserves more of a budget than its limit."""

from contextlib import nullcontext
from types import ModuleType

import pytest
from msgspec import structs

from ledger.errors import BudgetExceeded, WrongExpectedVersion
from ledger.store.interface import EventStore, Hold
from tests.ledger.scribe import Scribe


def test_event_ids_come_before_the_budgets(store: EventStore, scribe: Scribe) -> None:
    batches = [scribe.reserve("job_1", 5)]
    store.append(batches)
    scribe.set_limit(store, 0)
    assert store.append(batches)


def test_the_same_append_again_leaves_the_holds_alone(store: EventStore, scribe: Scribe) -> None:
    batches = [scribe.reserve("job_1", 5)]
    store.append(batches)
    store.append([scribe.settle("job_1", 4)])
    store.append(batches)
    assert store.holds("studio") == [Hold("studio", "job_1", 0, 4)]


def test_the_versions_come_before_the_budgets(store: EventStore, scribe: Scribe) -> None:
    scribe.set_limit(store, 0)
    with pytest.raises(WrongExpectedVersion):
        store.append([scribe.note("a", 7), scribe.reserve("job_1", 1)])


def test_a_hold_is_kept_per_budget_and_job(store: EventStore, scribe: Scribe) -> None:
    batches = [scribe.reserve("job_1", 5), scribe.reserve("job_2", 7), scribe.reserve("job_3", 1, "other")]
    store.append(batches)
    assert store.holds("studio") == [Hold("studio", "job_1", 5, 0), Hold("studio", "job_2", 7, 0)]


def test_a_job_may_hold_of_several_budgets(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    holds = tuple(vocabulary.decided(budget, 5).holds[0] for budget in ("studio", "other"))
    decided = structs.replace(vocabulary.decided(usd_micros=5), holds=holds)
    store.append([scribe.batch("job_1", vocabulary.requested(), decided)])
    assert (store.held("studio"), store.held("other")) == (5, 5)


def test_a_hold_replaces_the_one_before(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.reserve("job_1", 5)])
    store.append([scribe.settle("job_1", 4)])
    assert store.holds("studio") == [Hold("studio", "job_1", 0, 4)]


def test_a_hold_may_fill_its_budget(store: EventStore, scribe: Scribe) -> None:
    scribe.set_limit(store, 10)
    assert store.append([scribe.reserve("job_1", 10)])


def test_a_hold_over_the_limit_refuses_the_whole_append(store: EventStore, scribe: Scribe) -> None:
    scribe.set_limit(store, 10)
    with pytest.raises(
        BudgetExceeded, match="budget studio: 11 micro-dollars would be held, the limit is 10"
    ):
        store.append([scribe.reserve("job_1", 1, "other"), scribe.reserve("job_2", 11)])
    assert (store.head().size, store.holds("other"), store.job("job_1")) == (2, [], None)


def test_the_holds_of_all_jobs_count(store: EventStore, scribe: Scribe) -> None:
    scribe.set_limit(store, 10)
    store.append([scribe.reserve("job_1", 4)])
    store.append([scribe.reserve("job_2", 3)])
    store.append([scribe.settle("job_2", 3)])
    with pytest.raises(BudgetExceeded):
        store.append([scribe.reserve("job_3", 4)])


def test_the_holds_of_one_append_count_together(store: EventStore, scribe: Scribe) -> None:
    scribe.set_limit(store, 10)
    with pytest.raises(BudgetExceeded):
        store.append([scribe.reserve("job_1", 6), scribe.reserve("job_2", 6)])


def test_an_append_may_reserve_what_it_releases(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    scribe.set_limit(store, 10)
    store.append([scribe.reserve("job_1", 10)])
    cancelled = scribe.batch("job_1", vocabulary.sample("render.cancelled"))
    store.append([scribe.reserve("job_2", 10), cancelled])
    assert store.holds("studio") == [Hold("studio", "job_1", 0, 0), Hold("studio", "job_2", 10, 0)]


def test_released_money_can_be_held_again(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    scribe.set_limit(store, 10)
    store.append([scribe.reserve("job_1", 10)])
    store.append([scribe.batch("job_1", vocabulary.sample("render.cancelled"))])
    assert store.append([scribe.reserve("job_2", 10)])


@pytest.mark.parametrize("fits", [True, False])
def test_a_rejected_job_reserves_again_what_only_its_row_names(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType, *, fits: bool
) -> None:
    scribe.set_limit(store, 10)
    intended, again = (vocabulary.sample("submission.intended") for _ in range(2))
    rejected = vocabulary.sample("submission.rejected")
    store.append([scribe.reserve("job_1", 6), scribe.batch("job_1", intended, rejected)])
    assert store.held("studio") == 0
    store.append([scribe.reserve("job_2", 4 if fits else 5)])
    with nullcontext() if fits else pytest.raises(BudgetExceeded):
        store.append([scribe.batch("job_1", again)])
    assert store.held("studio") == (10 if fits else 5)


def test_settling_for_less_goes_through_over_the_limit(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.reserve("job_1", 10)])
    scribe.set_limit(store, 1)
    store.append([scribe.settle("job_1", 9)])
    assert store.holds("studio") == [Hold("studio", "job_1", 0, 9)]


def test_the_last_limit_counts(store: EventStore, scribe: Scribe) -> None:
    scribe.set_limit(store, 10)
    scribe.set_limit(store, 20)
    assert store.append([scribe.reserve("job_1", 15)])


def test_money_that_was_spent_is_recorded_whatever_the_limit(store: EventStore, scribe: Scribe) -> None:
    scribe.set_limit(store, 10)
    store.append([scribe.reserve("job_1", 8)])
    store.append([scribe.settle("job_1", 15)])
    assert store.held("studio") == 15
    with pytest.raises(BudgetExceeded):
        store.append([scribe.reserve("job_2", 1)])


def test_what_is_held_of_a_budget_is_the_sum_over_all_jobs(store: EventStore, scribe: Scribe) -> None:
    store.append(
        [scribe.reserve("job_1", 5), scribe.reserve("job_2", 8), scribe.reserve("job_3", 1, "other")]
    )
    store.append([scribe.settle("job_2", 7)])
    assert (store.held("studio"), store.held("other"), store.held("unknown")) == (12, 1, 0)


def test_a_budget_without_a_limit_has_none(store: EventStore, scribe: Scribe) -> None:
    assert store.append([scribe.reserve("job_1", 2**53 - 1)])
