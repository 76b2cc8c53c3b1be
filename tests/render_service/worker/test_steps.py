"""What is next for a job follows from where it stands."""

import pytest

from ledger.job import Job
from ledger.terms import Outcome, State
from render_service.worker.steps import NOT_TO_BE_LEFT, Step, next_step


def at(state: State, outcome: Outcome | None = None) -> Job:
    """Return a job in a state."""
    return Job(
        job_id="job_1",
        version=3,
        position=3,
        state=state,
        outcome=outcome,
        created_at="",
        updated_at="",
        actor="ana",
        trace_id="1" * 32,
    )


@pytest.mark.parametrize(
    ("step", "states"),
    [
        (Step.SUBMIT, {State.DECIDED, State.REJECTED, State.ABSENT}),
        (Step.RECONCILE, {State.SUBMITTING, State.UNKNOWN}),
        (Step.OBSERVE, {State.RUNNING}),
        (Step.FINISH, {State.COMPLETED, State.STORED, State.FAILED, State.LOST}),
        (Step.NOTHING, {State.REQUESTED, State.HELD, State.APPROVED, State.DENIED, State.CANCELLED}),
    ],
)
def test_each_state_has_its_step(step: Step, states: set[State]) -> None:
    assert {next_step(at(state)) for state in states} == {step}


def test_nothing_is_next_for_a_job_that_is_closed() -> None:
    assert {next_step(at(state, Outcome.STORED)) for state in State} == {Step.NOTHING}


def test_what_must_not_be_left_has_something_next() -> None:
    assert Step.NOTHING not in {next_step(at(state)) for state in NOT_TO_BE_LEFT}
