"""Waiting out a server at capacity: how long, how often, and after which answers only."""

import pytest

from ledger.events import ErrorDetail, SubmissionRejected, SubmissionUnknown
from render_service.submission.retry import Patience, is_at_capacity
from sora_adapter.messages import Submission
from sora_adapter.profiles import profile

OPENAI, CUSTOM = profile("openai"), profile("custom")


def rejected(status: int = 429, code: str | None = None, retry_after_ms: int | None = None) -> Submission:
    error = ErrorDetail(http_status=status, code=code)
    return SubmissionRejected(attempt_id="attempt_1", error=error, retry_after_ms=retry_after_ms)


def patience(timeout_s: float = 100.0, attempts: int | None = None) -> Patience:
    return Patience(timeout_s, attempts, now=lambda: 0.0, jitter=lambda: 0.0)


def test_each_wait_is_twice_the_one_before_up_to_a_minute() -> None:
    waiting = patience()
    waits = [waiting.wait_after(rejected(), OPENAI) for _ in range(7)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_the_server_may_ask_for_more() -> None:
    assert patience().wait_after(rejected(retry_after_ms=9_000), OPENAI) == 9.0


def test_a_wait_beyond_the_timeout_is_not_begun() -> None:
    assert patience(timeout_s=1.0).wait_after(rejected(), OPENAI) is None


def test_attempts_are_counted() -> None:
    waiting = patience(attempts=2)
    assert [waiting.wait_after(rejected(), OPENAI) for _ in range(2)] == [2.0, None]


@pytest.mark.parametrize(
    "outcome",
    [
        rejected(400),
        rejected(429, "insufficient_quota"),
        SubmissionUnknown(attempt_id="attempt_1", lost="timeout"),
    ],
)
def test_what_does_not_pass_is_not_waited_for(outcome: Submission) -> None:
    assert not is_at_capacity(outcome, OPENAI)


def test_a_server_whose_refusal_may_have_cost_is_not_asked_again() -> None:
    assert not is_at_capacity(rejected(), CUSTOM)


def test_a_caller_who_waits_is_told_when_no_attempt_will_follow() -> None:
    notices: list[str] = []
    waiting = patience(attempts=2)
    waiting.over = lambda: notices.append("over")
    waiting.wait_after(rejected(), OPENAI)
    assert notices == []
    waiting.wait_after(rejected(), OPENAI)
    assert notices == ["over"]
