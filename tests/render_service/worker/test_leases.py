"""One worker that is refused slows all of them down, and a line of waiting jobs is not asked every second."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.store.queue import Limit
from ledger.store.sqlite import SqliteStore
from render_service.worker.leases import LONGEST_PAUSE_S, Capacity
from tests.ledger.scribe import Scribe

pytestmark = pytest.mark.anyio

LIMIT = Limit("openai/sora-2")
Made = Callable[..., Capacity]


@dataclass
class Clock:
    """Monotonic seconds that move when they are told to."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, scribe: Scribe) -> Iterator[SqliteStore]:
    """Yield the store that workers share."""
    opened = SqliteStore(tmp_path / "ledger.db")
    scribe.begin(opened)
    yield opened
    opened.close()


@pytest.fixture
def capacity(store: SqliteStore, clock: Clock) -> Made:
    """Return what one worker knows of servers; chance takes off and adds `chance` of the most."""
    return lambda chance=0.0: Capacity(store.queue, now=clock, jitter=lambda: chance)


async def test_a_refusal_keeps_every_worker_from_asking(capacity: Made) -> None:
    limits, other = capacity(), capacity()
    assert await limits.turn("job_1", LIMIT) == 0.0
    assert await limits.refused("job_1", LIMIT, 7.0) == 7.0
    assert 6.5 < await limits.turn("job_1", LIMIT) <= 7.0
    assert 6.5 < await other.turn("job_2", LIMIT) <= 7.0


async def test_another_model_is_asked_all_the_same(capacity: Made) -> None:
    limits = capacity()
    await limits.refused("job_1", LIMIT, 7.0)
    assert await limits.turn("job_2", Limit("openai/sora-2-pro")) == 0.0


async def test_pauses_double_up_to_a_minute(capacity: Made, clock: Clock) -> None:
    limits, pauses = capacity(), []
    for _ in range(7):
        pauses.append(await limits.refused("job_1", LIMIT, 2.0))
        clock.now += pauses[-1]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


async def test_refusals_of_requests_that_were_under_way_together_count_once(capacity: Made) -> None:
    limits = capacity()
    assert {await limits.refused(f"job_{number}", LIMIT, 2.0) for number in range(16)} == {2.0}


async def test_an_acceptance_ends_the_doubling(capacity: Made, clock: Clock) -> None:
    limits = capacity()
    for _ in range(3):
        clock.now += await limits.refused("job_1", LIMIT, 2.0)
    limits.accepted(LIMIT)
    assert await limits.refused("job_1", LIMIT, 2.0) == 2.0


async def test_chance_shortens_a_pause_but_not_below_what_the_server_demands(
    capacity: Made, clock: Clock
) -> None:
    limits, always = capacity(chance=0.5), []
    for _ in range(3):
        always.append(await limits.refused("job_1", LIMIT, 2.0))
        clock.now += always[-1]
    assert always == [2.0, 3.0, 6.0]
    assert await limits.refused("job_1", LIMIT, 300.0) == 300.0


async def test_a_server_that_refused_is_tried_with_one_job_at_a_time(
    capacity: Made, store: SqliteStore
) -> None:
    limits = capacity()
    await limits.refused("job_1", LIMIT, 0.0)
    assert await limits.turn("job_1", LIMIT) == 0.0
    assert 0.5 < await limits.turn("job_2", LIMIT) <= 1.0
    assert store.queue.acquire_slot("job_3", LIMIT) > 500


async def test_jobs_that_wait_for_a_turn_stand_in_line(capacity: Made) -> None:
    ours, limit = capacity(), Limit("openai/sora-2", per_minute=60)
    waits = [await ours.turn(f"job_{number}", limit) for number in range(5)]
    assert [round(wait_s) for wait_s in waits] == [0, 1, 2, 3, 4]


async def test_who_waits_in_a_long_line_asks_again_after_a_minute(capacity: Made) -> None:
    ours, limit = capacity(), Limit("openai/sora-2", per_minute=1)
    waits = [await ours.turn(f"job_{number}", limit) for number in range(5)]
    assert max(waits) == pytest.approx(LONGEST_PAUSE_S, rel=0.01)


async def test_a_job_that_no_longer_runs_frees_its_slot_for_the_next(capacity: Made, clock: Clock) -> None:
    ours, limit = capacity(), Limit("openai/sora-2", running=1)
    assert [await ours.turn("job_1", limit), await ours.turn("job_2", limit) > 0] == [0.0, True]
    await ours.free("job_1")
    clock.now += 1.0
    assert await ours.turn("job_2", limit) == 0.0


async def test_a_job_that_was_refused_keeps_no_slot(capacity: Made, store: SqliteStore) -> None:
    ours, limit = capacity(), Limit("openai/sora-2", running=1)
    assert await ours.turn("job_1", limit) == 0.0
    await ours.refused("job_1", limit, 0.0)
    assert store.queue.acquire_slot("job_2", limit) == 0
