"""What a ledger knows of its servers: how long renders took, how many failed, and since when that counts."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import Operation, Outcome, State
from render_service.rules.measurements import LEAST_RENDERS, Measuring, ServerMeasurements, measure
from render_service.session.session import Session

BEGUN = datetime(2026, 11, 20, 12, tzinfo=UTC)
Finished = Callable[..., Job]
Measure = Callable[[Iterable[Job]], ServerMeasurements]


@pytest.fixture
def finished() -> Finished:
    def finished(number: int, seconds: int = 90, outcome: Outcome = Outcome.STORED, **facts: str) -> Job:
        ended = (BEGUN + timedelta(seconds=seconds)).isoformat()
        return Job(
            job_id=f"job_{number:04}",
            version=9,
            position=number,
            state=State(outcome.value),
            created_at=BEGUN.isoformat(),
            updated_at=ended,
            closed_at=ended,
            actor="ana",
            trace_id="0" * 32,
            operation=Operation.CREATE,
            outcome=outcome,
            **{"profile": "openai", "model": "sora-2", **facts},
        )

    return finished


@pytest.fixture
def ledger(at: Callable[[str], Session]) -> Ledger:
    return at("http://127.0.0.1:9/v1").ledger


@pytest.fixture
def measured(ledger: Ledger) -> Callable[[Iterable[Job]], ServerMeasurements]:
    def measured(jobs: Iterable[Job]) -> ServerMeasurements:
        ledger.store.replace_jobs(jobs, ledger.head().size)
        return measure(ledger, "openai")

    return measured


def test_the_median_of_enough_renders_is_known(measured: Measure, finished: Finished) -> None:
    jobs = [finished(number, seconds=number) for number in range(1, LEAST_RENDERS + 2)]
    assert measured(jobs).median_seconds == {"sora-2": 6}


def test_of_too_few_renders_nothing_is_claimed(measured: Measure, finished: Finished) -> None:
    assert measured(finished(number) for number in range(LEAST_RENDERS - 1)) == ({}, {})


def test_failures_are_counted_against_all_that_ended(measured: Measure, finished: Finished) -> None:
    jobs = [finished(number) for number in range(15)]
    jobs += [finished(number, outcome=Outcome.FAILED) for number in range(15, 20)]
    assert measured(jobs).failure_ppm == {"sora-2": 250_000}


def test_other_servers_and_models_are_measured_apart(measured: Measure, finished: Finished) -> None:
    jobs = [finished(number) for number in range(LEAST_RENDERS)]
    jobs += [finished(100 + number, profile="litellm") for number in range(LEAST_RENDERS)]
    jobs += [finished(200 + number, model="sora-2-pro", seconds=9) for number in range(LEAST_RENDERS)]
    assert measured(jobs).median_seconds == {"sora-2": 90, "sora-2-pro": 9}


def test_old_failures_do_not_count_beside_new_successes(measured: Measure, finished: Finished) -> None:
    jobs = [finished(number, outcome=Outcome.FAILED) for number in range(50)]
    jobs += [finished(number) for number in range(50, 400)]
    assert measured(jobs).failure_ppm == {"sora-2": 0}


def test_what_was_measured_just_now_is_not_measured_again(ledger: Ledger, finished: Finished) -> None:
    measuring = Measuring(ledger)
    measuring.measure("openai", BEGUN)
    ledger.store.replace_jobs([finished(number) for number in range(LEAST_RENDERS)], ledger.head().size)
    observations = [measuring.measure("openai", BEGUN + timedelta(seconds=later)) for later in (30, 60)]
    assert [bool(each.median_seconds) for each in observations] == [False, True]


def test_an_expected_duration_is_at_hand_for_a_minute_after_it_was_read(
    ledger: Ledger, finished: Finished
) -> None:
    measuring, job = Measuring(ledger), finished(1)
    moments = [BEGUN + timedelta(seconds=later) for later in (0, 30, 60)]
    before = measuring.is_fresh(job, BEGUN)
    measuring.expected_of(job, BEGUN)
    assert [before, *(measuring.is_fresh(job, moment) for moment in moments)] == [False, True, True, False]
