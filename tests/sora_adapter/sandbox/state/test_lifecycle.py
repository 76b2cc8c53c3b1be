"""A job's life is a function of the clock."""

import pytest

from sora_adapter.sandbox.state.lifecycle import Moment, moment_of


def after(elapsed: float, *, render_seconds: float = 100, will_fail: bool = False) -> Moment:
    return moment_of(created_at=1000, render_seconds=render_seconds, will_fail=will_fail, now=1000 + elapsed)


def test_a_job_waits_in_the_queue_for_the_first_tenth() -> None:
    assert after(9.9).status == "queued"


def test_a_job_is_in_progress_after_the_first_tenth() -> None:
    assert after(10).status == "in_progress"


def test_progress_never_falls_and_stays_below_100_until_the_end() -> None:
    observations = [after(tenths / 10).progress for tenths in range(1000)]
    assert (observations == sorted(observations), observations[-1]) == (True, 99)


def test_a_job_completes_exactly_when_its_time_is_over() -> None:
    assert (after(99.999).status, after(100).status) == ("in_progress", "completed")


def test_a_job_that_takes_no_time_is_completed_at_once() -> None:
    assert after(0, render_seconds=0).status == "completed"


def test_a_clock_that_was_set_back_puts_a_job_back_in_the_queue() -> None:
    assert after(-50).status == "queued"


def test_a_failing_job_fails_when_it_would_have_completed() -> None:
    assert (after(99, will_fail=True).status, after(100, will_fail=True).status) == ("in_progress", "failed")


def test_a_failed_job_was_never_done() -> None:
    assert after(200, will_fail=True).done_at is None


@pytest.mark.parametrize(("elapsed", "wait_ms"), [(0, 1000), (99.5, 500), (99.9999, 1)])
def test_the_next_poll_is_in_a_second_or_when_the_job_is_over(elapsed: float, wait_ms: int) -> None:
    assert after(elapsed).poll_after_ms == wait_ms
