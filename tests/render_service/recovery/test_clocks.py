"""A server's times are believed once its clock is shown to agree with ours, and never after it was wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from render_service.recovery.search import Flight, doubt_times

SENT = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)
NOW = SENT + timedelta(hours=1)
NOTHING_SHOWS_IT = "none of this ledger's videos in its list proves that its clock agrees with ours"


def flight(shown_s: int, until_s: float = 2, *, is_answered: bool = True) -> Flight:
    """Return the flight of a submission whose video shows `shown_s` after it was sent."""
    created_at = int(SENT.timestamp()) + shown_s
    return Flight("job_1", "video_1", created_at, SENT, SENT + timedelta(seconds=until_s), is_answered)


def doubt(*flights: Flight) -> str | None:
    return doubt_times(flights, [one.created_at for one in flights], NOW)


@pytest.mark.parametrize("shown_s", [-238, 0, 2, 240])
def test_times_are_believed_once_one_of_ours_shows_the_right_time(shown_s: int) -> None:
    assert doubt(flight(shown_s)) is None


@pytest.mark.parametrize("shown_s", [-7200, -301, 303, 7200])
def test_one_time_that_cannot_be_right_makes_all_of_them_prove_nothing(shown_s: int) -> None:
    found = doubt(flight(0), flight(shown_s))
    assert found is not None
    assert found.startswith("video_1 was requested by job_1 at 2026-11-21 12:00:07 UTC, and it says ")


@pytest.mark.parametrize("shown_s", [-239, 241, 300])
def test_a_time_that_may_be_off_by_more_than_is_allowed_for_shows_nothing(shown_s: int) -> None:
    assert doubt(flight(shown_s)) == NOTHING_SHOWS_IT


def test_a_call_that_took_ten_minutes_shows_nothing() -> None:
    assert doubt(flight(300, until_s=600)) == NOTHING_SHOWS_IT


def test_a_video_whose_answer_was_lost_shows_only_that_a_clock_is_wrong() -> None:
    assert doubt(flight(0, until_s=0, is_answered=False)) == NOTHING_SHOWS_IT
    assert doubt(flight(0), flight(901, until_s=600, is_answered=False)) is not None


def test_without_a_video_of_ours_nothing_is_shown() -> None:
    assert doubt_times([], [int(SENT.timestamp())], NOW) == NOTHING_SHOWS_IT


def test_a_video_of_the_future_makes_all_times_prove_nothing() -> None:
    times = [int((NOW + timedelta(seconds=301)).timestamp())]
    found = doubt_times([flight(0)], times, NOW)
    assert found == "it says that a video was created at 2026-11-21 13:05:08 UTC, which is in the future"


def test_times_that_are_rounded_to_hours_prove_nothing() -> None:
    hours = [int(SENT.timestamp()) - 7 - 3600 * age for age in (0, 5)]
    found = doubt_times([flight(-7)], hours, NOW)
    assert found == "all of them are multiples of 300 s, so they may be rounded"
