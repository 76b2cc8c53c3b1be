"""The work queue: due jobs, leases with fencing tokens, slots and rate limits."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest
from freezegun import freeze_time

from ledger.errors import (
    StaleFence,
)
from ledger.events import RenderAdopted
from ledger.store.interface import NEW, Batch, EventStore, Fence
from ledger.store.queue import Lease, Limit, Release
from ledger.terms import State, Status
from tests.ledger.scribe import Scribe


@pytest.fixture
def lease(store: EventStore) -> Lease:
    """Return a live lease on ``job_1``."""
    store.queue.schedule("job_1")
    [claimed] = store.queue.claim("w1", 60_000)
    return claimed


def test_a_cancelled_job_is_due_no_more(store: EventStore) -> None:
    store.queue.schedule("job_1")
    store.queue.schedule("job_2", 60_000)
    for job_id in ("job_1", "job_2", "job_unknown"):
        store.queue.cancel(job_id)
    assert store.queue.claim("w1", 60_000, 10) == []
    assert store.queue.depth() == (0, 0, 0, 0)
    store.queue.schedule("job_1")
    assert [lease.job_id for lease in store.queue.claim("w1", 60_000, 10)] == ["job_1"]


def test_a_cancelled_job_stays_with_its_worker_and_is_not_due_after_it(
    store: EventStore, lease: Lease
) -> None:
    store.queue.schedule("job_1")
    store.queue.cancel("job_1")
    assert store.queue.leases() == [lease]
    store.queue.release(lease, None)
    assert store.queue.claim("w2", 60_000) == []


def test_a_cancelled_job_of_a_dead_worker_is_not_taken_over(store: EventStore) -> None:
    store.queue.schedule("job_1")
    [_] = store.queue.claim("w1", -1)
    store.queue.cancel("job_1")
    assert store.queue.claim("w2", 60_000) == []


def writes(store: EventStore, scribe: Scribe, lease: Lease) -> bool:
    with suppress(StaleFence):
        return bool(store.append([scribe.note()], fence=Fence(lease.job_id, lease.token)))
    return False


def test_a_due_job_is_claimed(lease: Lease) -> None:
    assert (lease.job_id, lease.holder, lease.token) == ("job_1", "w1", 1)


def test_a_job_that_is_not_due_is_not_claimed(store: EventStore) -> None:
    store.queue.schedule("job_1", 60_000)
    assert store.queue.claim("w1", 60_000) == []


def test_jobs_that_are_woken_are_due_at_once_whenever_they_were_to_be(store: EventStore) -> None:
    store.queue.schedule("job_1", 60_000)
    store.queue.wake(["job_2", "job_1"])
    assert {claimed.job_id for claimed in store.queue.claim("w1", 60_000, limit=9)} == {"job_1", "job_2"}


def test_hastened_jobs_are_due_at_once_if_they_were_due_later_and_not_otherwise(store: EventStore) -> None:
    store.queue.schedule("job_1", 60_000)
    store.queue.schedule("job_2", -1_000)
    store.queue.schedule("job_4")
    store.queue.cancel("job_4")
    store.queue.hasten(["job_4", "job_3", "job_2", "job_1"])
    assert [claimed.job_id for claimed in store.queue.claim("w1", 60_000, limit=9)] == ["job_2", "job_1"]


def test_a_job_that_is_woken_keeps_its_place_before_younger_ones(store: EventStore) -> None:
    store.queue.schedule("job_1", -5_000)
    store.queue.schedule("job_2", -1_000)
    store.queue.wake(["job_1"])
    assert [claimed.job_id for claimed in store.queue.claim("w1", 60_000, limit=9)] == ["job_1", "job_2"]


def test_a_job_that_is_woken_while_it_is_held_is_due_after_its_release(
    store: EventStore, lease: Lease
) -> None:
    store.queue.wake(["job_1"])
    store.queue.release(lease, None)
    assert [claimed.job_id for claimed in store.queue.claim("w2", 60_000)] == ["job_1"]


def test_a_claimed_job_is_not_claimed_again(store: EventStore, lease: Lease) -> None:
    assert store.queue.claim("w2", 60_000) == []


@pytest.mark.parametrize("year", [2001, 2099])
def test_a_lease_ends_by_the_time_of_the_database(store: EventStore, year: int) -> None:
    store.queue.schedule("job_1")
    with freeze_time(datetime(year, 1, 1, tzinfo=UTC)):
        [lease] = store.queue.claim("w1", 60_000)
        assert store.queue.claim("w2", 60_000) == []
    assert abs(lease.until_ms / 1000 - 60 - datetime.now(UTC).timestamp()) < 30


@pytest.mark.parametrize("year", [2001, 2099])
def test_the_time_is_that_of_the_database(store: EventStore, year: int) -> None:
    with freeze_time(datetime(year, 1, 1, tzinfo=UTC)):
        shown = store.now()
    assert abs(shown - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_lease_that_ran_out_is_claimed_with_a_higher_token(store: EventStore, lease: Lease) -> None:
    store.queue.renew(lease, -1_000)
    [taken] = store.queue.claim("w2", 60_000)
    assert (taken.holder, taken.token) == ("w2", 2)


def test_a_released_job_is_claimed_with_a_higher_token(store: EventStore, lease: Lease) -> None:
    store.queue.release(lease, 0)
    assert [taken.token for taken in store.queue.claim("w2", 60_000)] == [2]


def test_a_job_released_for_later_waits(store: EventStore, lease: Lease) -> None:
    store.queue.release(lease, 60_000)
    assert store.queue.claim("w2", 60_000) == []


def test_a_job_released_for_good_is_not_due(store: EventStore, lease: Lease) -> None:
    store.queue.release(lease, None)
    assert store.queue.claim("w2", 60_000) == []


def test_a_job_done_for_good_can_be_scheduled_again(store: EventStore, lease: Lease) -> None:
    store.queue.release(lease, None)
    store.queue.schedule("job_1")
    assert [taken.token for taken in store.queue.claim("w2", 60_000)] == [2]


def test_leases_are_released_together_each_as_it_asks_and_lost_ones_are_named(
    store: EventStore, lease: Lease
) -> None:
    store.queue.wake(["job_2", "job_3", "job_4"])
    lost, later, done = store.queue.claim("w1", 60_000, limit=9)
    store.queue.renew(lost, -1_000)
    [taken] = store.queue.claim("w2", 60_000)
    assert taken.job_id == lost.job_id
    delays_ms: list[tuple[Lease, int | None]] = [(lease, 0), (lost, 0), (later, 60_000), (done, None)]
    assert store.queue.release_all([Release(*each) for each in delays_ms]) == [lost]
    assert [each.job_id for each in store.queue.claim("w3", 60_000, limit=9)] == [lease.job_id]
    assert [each.job_id for each in store.queue.leases() if each.holder == "w2"] == [lost.job_id]
    assert store.tally().waiting == store.queue.depth().waiting == 1


def test_no_lease_is_released_in_an_empty_group(store: EventStore, lease: Lease) -> None:
    assert store.queue.release_all([]) == []
    assert store.queue.leases() == [lease]


@pytest.mark.parametrize("delay_ms", [60_000, None])
def test_a_job_made_due_while_it_is_held_is_due_once_it_is_released(
    store: EventStore, lease: Lease, delay_ms: int | None
) -> None:
    store.queue.schedule("job_1")
    store.queue.renew(lease, 60_000)
    store.queue.release(lease, delay_ms)
    assert [taken.token for taken in store.queue.claim("w2", 60_000)] == [2]


@pytest.mark.parametrize("delays_ms", [(0, 60_000), (60_000, 0)])
def test_the_earliest_of_what_is_asked_for_while_a_job_is_held_counts(
    store: EventStore, lease: Lease, delays_ms: tuple[int, int]
) -> None:
    for delay_ms in delays_ms:
        store.queue.schedule("job_1", delay_ms)
    store.queue.release(lease, None)
    assert [taken.token for taken in store.queue.claim("w2", 60_000)] == [2]


def test_a_release_that_is_sooner_than_what_was_asked_for_counts(store: EventStore, lease: Lease) -> None:
    store.queue.schedule("job_1", 60_000)
    store.queue.release(lease, 0)
    assert [taken.token for taken in store.queue.claim("w2", 60_000)] == [2]


def test_what_was_asked_for_later_while_a_job_is_held_waits(store: EventStore, lease: Lease) -> None:
    store.queue.schedule("job_1", 60_000)
    store.queue.release(lease, None)
    assert store.queue.claim("w2", 60_000) == []


def test_a_job_made_due_while_it_is_held_is_not_claimed_before(store: EventStore, lease: Lease) -> None:
    store.queue.schedule("job_1")
    assert store.queue.claim("w2", 60_000) == []


def test_what_a_claim_answers_is_not_due_again(store: EventStore, lease: Lease) -> None:
    store.queue.schedule("job_1")
    store.queue.release(lease, None)
    [again] = store.queue.claim("w2", 60_000)
    store.queue.release(again, None)
    assert store.queue.claim("w3", 60_000) == []


def test_a_released_job_can_be_put_off(store: EventStore, lease: Lease) -> None:
    store.queue.release(lease, 0)
    store.queue.schedule("job_1", 60_000)
    assert store.queue.claim("w2", 60_000) == []


def test_a_renewed_lease_lasts_longer_under_the_same_token(store: EventStore, lease: Lease) -> None:
    renewed = store.queue.renew(lease, 120_000)
    assert (renewed.token, renewed.until_ms > lease.until_ms) == (lease.token, True)


def test_claims_take_at_most_the_limit(store: EventStore) -> None:
    for number in range(3):
        store.queue.schedule(f"job_{number}", number - 10)
    assert [taken.job_id for taken in store.queue.claim("w1", 60_000, limit=2)] == ["job_0", "job_1"]


def test_keeping_extends_every_live_lease_of_a_holder(store: EventStore, lease: Lease) -> None:
    store.queue.schedule("job_2")
    [other] = store.queue.claim("w2", 60_000)
    [extended] = store.queue.keep("w1", 120_000)
    assert (extended.job_id, extended.token) == (lease.job_id, lease.token)
    assert extended.until_ms > lease.until_ms
    assert {live.until_ms for live in store.queue.leases()} == {extended.until_ms, other.until_ms}


def test_keeping_brings_back_no_lease_that_ran_out(store: EventStore, lease: Lease) -> None:
    store.queue.renew(lease, -1_000)
    assert store.queue.keep("w1", 60_000) == []


def test_the_live_leases_are_those_not_released(store: EventStore, lease: Lease) -> None:
    assert store.queue.leases() == [lease]
    store.queue.release(lease, 0)
    assert store.queue.leases() == []


def adopted(scribe: Scribe, job_id: str) -> Batch:
    """Return a job that runs."""
    event = RenderAdopted(profile="sandbox", video_id=f"video_of_{job_id}", status=Status.QUEUED)
    return Batch(job_id, NEW, [scribe.draft(event)])


def test_what_nobody_scheduled_is_enlisted_once(store: EventStore, scribe: Scribe) -> None:
    store.append([adopted(scribe, f"job_{number}") for number in (1, 2, 3)])
    store.queue.schedule("job_2", 60_000)
    assert [store.queue.enqueue_stale([State.RUNNING], "job_3") for _ in range(2)] == [1, 0]
    assert [claimed.job_id for claimed in store.queue.claim("w1", 60_000, limit=9)] == ["job_1"]


def test_what_was_done_and_begun_again_is_enlisted(store: EventStore, scribe: Scribe) -> None:
    store.append([adopted(scribe, "job_1")])
    store.queue.schedule("job_1")
    (lease,) = store.queue.claim("w1", 60_000)
    assert store.queue.enqueue_stale([State.RUNNING], "job_2") == 0
    store.queue.release(lease, None)
    assert [store.queue.enqueue_stale([State.RUNNING], "job_2") for _ in range(2)] == [1, 0]


def test_only_the_states_that_are_named_are_enlisted(store: EventStore, scribe: Scribe) -> None:
    store.append([adopted(scribe, "job_1")])
    assert store.queue.enqueue_stale([State.COMPLETED, State.UNKNOWN], "job_2") == 0


def test_where_nothing_is_limited_every_turn_is_given(store: EventStore) -> None:
    assert [store.queue.acquire_slot(f"job_{number}", Limit("here")) for number in range(5)] == [0] * 5


def test_requests_per_minute_are_evenly_spaced(store: EventStore) -> None:
    limit = Limit("here", per_minute=60)
    assert store.queue.acquire_slot("job_1", limit) == 0
    assert 500 < store.queue.acquire_slot("job_2", limit) <= 1_000


def test_a_limit_concerns_its_own_name_only(store: EventStore) -> None:
    store.queue.acquire_slot("job_1", Limit("here", per_minute=1))
    assert store.queue.acquire_slot("job_1", Limit("there", per_minute=1)) == 0


def test_as_many_jobs_run_as_there_are_slots(store: EventStore) -> None:
    limit = Limit("here", running=2)
    acquired = [store.queue.acquire_slot(f"job_{number}", limit) == 0 for number in range(4)]
    assert acquired == [True, True, False, False]


def test_a_job_that_has_a_slot_needs_no_second(store: EventStore) -> None:
    limit = Limit("here", running=1)
    assert [store.queue.acquire_slot("job_1", limit) for _ in range(2)] == [0, 0]


def test_a_slot_that_was_given_back_is_free(store: EventStore) -> None:
    limit = Limit("here", running=1)
    store.queue.acquire_slot("job_1", limit)
    store.queue.release_slots(["job_1", "job_without"])
    assert store.queue.acquire_slot("job_2", limit) == 0


@pytest.mark.parametrize(("delay_ms", "is_free"), [(None, True), (0, False)])
def test_a_job_that_is_given_back_as_done_has_no_slot(
    store: EventStore, lease: Lease, delay_ms: int | None, *, is_free: bool
) -> None:
    limit = Limit("here", running=1)
    store.queue.acquire_slot(lease.job_id, limit)
    store.queue.release(lease, delay_ms)
    assert (store.queue.acquire_slot("job_2", limit) == 0) is is_free


def test_a_lost_lease_frees_no_slot_of_its_next_holder(store: EventStore, lease: Lease) -> None:
    limit = Limit("here", running=1)
    store.queue.acquire_slot(lease.job_id, limit)
    store.queue.renew(lease, -1_000)
    store.queue.claim("w2", 60_000)
    assert store.queue.release_all([Release(lease, None)]) == [lease]
    assert store.queue.acquire_slot("job_2", limit) > 0


def test_who_has_to_wait_for_a_request_takes_no_slot(store: EventStore) -> None:
    store.queue.acquire_slot("job_1", Limit("here", per_minute=1, running=2))
    assert store.queue.acquire_slot("job_2", Limit("here", per_minute=1, running=2)) > 0
    store.queue.release_slots(["job_1"])
    assert store.queue.acquire_slot("job_3", Limit("there", running=1)) == 0


def test_nobody_takes_a_turn_while_it_is_held_back(store: EventStore) -> None:
    store.queue.back_off("here", 60_000)
    store.queue.back_off("here", 1_000)
    assert 50_000 < store.queue.acquire_slot("job_1", Limit("here")) <= 60_000


def test_sixteen_who_want_the_last_slots_get_no_more_than_there_are(store: EventStore) -> None:
    limit = Limit("here", running=3)
    with ThreadPoolExecutor(16) as threads:
        waits = list(threads.map(lambda number: store.queue.acquire_slot(f"job_{number}", limit), range(16)))
    assert waits.count(0) == 3


def test_the_tally_counts_records_jobs_and_the_queue(store: EventStore, scribe: Scribe) -> None:
    before = store.tally()
    store.append([scribe.note()])
    store.queue.schedule("job_1", -5_000)
    store.queue.schedule("job_2", 60_000)
    store.queue.schedule("job_3", -9_000)
    store.queue.claim("w1", 60_000)
    after = store.tally()
    assert (before.due, before.waiting, before.leased, before.overdue_ms) == (0, 0, 0, 0)
    assert sum(after.events.values()) == sum(before.events.values()) + 1
    assert (after.due, after.waiting, after.leased, after.overdue_ms // 1_000) == (1, 1, 1, 5)


def test_a_job_that_is_over_no_longer_counts_as_due(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    store.queue.wake([vocabulary.JOB])
    counted = []
    for events in (vocabulary.life()[:4], vocabulary.life()[4:]):
        scribe.live(store, vocabulary.JOB, events)
        counted.append(store.tally().due)
    assert counted == [1, 0]


def test_a_live_lease_writes(store: EventStore, scribe: Scribe, lease: Lease) -> None:
    assert writes(store, scribe, lease)


def test_a_released_lease_no_longer_writes(store: EventStore, scribe: Scribe, lease: Lease) -> None:
    store.queue.release(lease, 0)
    assert not writes(store, scribe, lease)


def test_a_lease_that_ran_out_no_longer_writes(store: EventStore, scribe: Scribe, lease: Lease) -> None:
    store.queue.renew(lease, -1_000)
    assert not writes(store, scribe, lease)


def test_a_lease_that_was_taken_over_no_longer_writes(
    store: EventStore, scribe: Scribe, lease: Lease
) -> None:
    store.queue.renew(lease, -1_000)
    store.queue.claim("w2", 60_000)
    assert not writes(store, scribe, lease)


@pytest.mark.parametrize("use", ["renew", "release"])
def test_a_lease_that_was_taken_over_cannot_be_used(store: EventStore, lease: Lease, use: str) -> None:
    store.queue.renew(lease, -1_000)
    store.queue.claim("w2", 60_000)
    with pytest.raises(StaleFence):
        getattr(store.queue, use)(lease, 1_000)


def test_a_lease_is_no_event(store: EventStore, lease: Lease) -> None:
    assert store.head().size == 1


def test_times_that_are_too_late_after_the_clock_was_set_back_are_brought_forward(store: EventStore) -> None:
    hour_ms = 3_600_000
    store.queue.schedule("job_held")
    store.queue.claim("dead", hour_ms)
    store.queue.schedule("job_waiting", hour_ms)
    store.queue.back_off("here", hour_ms)
    assert store.queue.claim("other", 1_000) == []
    store.queue.bring_forward(60_000)
    assert [lease.job_id for lease in store.queue.claim("other", 1_000, limit=9)] == ["job_waiting"]
    [held] = [lease for lease in store.queue.leases() if lease.holder == "dead"]
    assert held.until_ms - store.now().timestamp() * 1_000 <= 60_000
    assert 0 < store.queue.acquire_slot("job_waiting", Limit("here")) <= 60_000


def test_times_that_are_right_stay_when_others_are_brought_forward(store: EventStore, lease: Lease) -> None:
    store.queue.schedule("job_2", -1_000)
    store.queue.bring_forward(120_000)
    assert [claimed.job_id for claimed in store.queue.claim("w2", 60_000, limit=9)] == ["job_2"]
    store.queue.release(lease, None)
    assert store.queue.claim("w2", 60_000) == []


def test_the_limits_say_what_runs_under_them_and_when_the_next_request_may_be_made(store: EventStore) -> None:
    assert store.queue.paces() == []
    store.queue.acquire_slot("job_1", Limit("slots", running=2))
    store.queue.acquire_slot("job_2", Limit("both", per_minute=1, running=1))
    store.queue.back_off("held back", 60_000)
    both, held_back, slots = store.queue.paces()
    assert [(each.name, each.running) for each in (both, held_back, slots)] == [
        ("both", 1),
        ("held back", 0),
        ("slots", 1),
    ]
    assert 50_000 < both.wait_ms <= 60_000
    assert 50_000 < held_back.wait_ms <= 60_000
    assert slots.wait_ms == 0
