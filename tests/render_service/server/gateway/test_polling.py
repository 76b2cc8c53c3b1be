"""A client may poll a video twice a second; one that polls more often is asked to wait."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger.job import Job
from ledger.record import timestamp
from ledger.terms import State
from render_service.runtime.errors import TooManyRequests
from render_service.server.gateway import gets
from render_service.server.gateway.gets import BURST, INTERVAL_S, PollingLimit
from render_service.server.gateway.headers import job_headers

BORN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def admitted(limit: PollingLimit, key: str = "one", name: str = "video_a") -> bool:
    try:
        limit.admit(key, name)
    except TooManyRequests:
        return False
    return True


def test_a_client_that_polls_ten_times_a_second_is_admitted_twice_a_second() -> None:
    clock = Clock()
    limit = PollingLimit(clock)
    count = 0
    for _ in range(100):
        count += admitted(limit)
        clock.now += 0.1
    assert count == BURST + round(10 / INTERVAL_S) - 1


def test_a_client_that_polls_twice_a_second_is_never_refused() -> None:
    clock = Clock()
    limit = PollingLimit(clock)
    for _ in range(200):
        assert admitted(limit)
        clock.now += INTERVAL_S


def test_a_refused_client_is_told_how_long_to_wait_and_is_admitted_then() -> None:
    clock = Clock()
    limit = PollingLimit(clock)
    while admitted(limit):
        pass
    with pytest.raises(TooManyRequests) as refused:
        limit.admit("one", "video_a")
    clock.now += refused.value.retry_after_s
    assert admitted(limit)


def test_other_keys_and_other_videos_are_not_slowed_down() -> None:
    limit = PollingLimit(Clock())
    while admitted(limit):
        pass
    assert (admitted(limit, key="two"), admitted(limit, name="video_b")) == (True, True)


def test_only_a_bounded_number_of_videos_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gets, "MOST_WATCHED", 3)
    limit = PollingLimit(Clock())
    while admitted(limit):
        pass
    assert all(admitted(limit, name=f"video_{number}") for number in range(3))
    assert admitted(limit), "the oldest is forgotten"


def test_a_young_render_is_to_be_polled_soon_and_an_old_one_seldom() -> None:
    job = Job(
        job_id="job_1",
        version=1,
        position=1,
        state=State.RUNNING,
        created_at=timestamp(BORN),
        updated_at=timestamp(BORN),
        actor="ana",
        trace_id="0" * 32,
    )
    ages = (0, 5, 30, 60, 600)
    after = [job_headers(job, now=BORN + timedelta(seconds=age))["openai-poll-after-ms"] for age in ages]
    assert after == ["1000", "1000", "3000", "6000", "10000"]


@pytest.mark.parametrize("state", [State.STORED, State.FAILED, State.CANCELLED])
def test_a_video_about_which_nothing_will_change_has_no_next_poll(state: State) -> None:
    job = Job(
        job_id="job_1",
        version=1,
        position=1,
        state=state,
        created_at=timestamp(BORN),
        updated_at=timestamp(BORN),
        actor="ana",
        trace_id="0" * 32,
    )
    assert "openai-poll-after-ms" not in job_headers(job, now=BORN)
