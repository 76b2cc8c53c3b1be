"""What is to be done next with a job, by where it stands. One table; no job needs more than its row."""

from enum import Enum, auto

from ledger.job import Job, State


class Step(Enum):
    """The next thing to do."""

    SUBMIT = auto()
    FIND = auto()
    LOOK = auto()
    FINISH = auto()
    NOTHING = auto()


_STEPS = {
    State.DECIDED: Step.SUBMIT,
    State.REJECTED: Step.SUBMIT,
    State.ABSENT: Step.SUBMIT,
    State.SUBMITTING: Step.FIND,
    State.UNKNOWN: Step.FIND,
    State.RUNNING: Step.LOOK,
    State.COMPLETED: Step.FINISH,
    State.STORED: Step.FINISH,
    State.FAILED: Step.FINISH,
    State.LOST: Step.FINISH,
    State.ABANDONED: Step.FINISH,
}
NOT_TO_BE_LEFT = (State.SUBMITTING, State.UNKNOWN, State.RUNNING, State.COMPLETED)
"""States in which a job wants somebody, whoever began it: money is at stake, or bytes that expire."""


def next_step(job: Job) -> Step:
    """Return what is to be done next with `job`: nothing where it is closed, or a person has to answer."""
    if job.outcome is not None:
        return Step.NOTHING
    return _STEPS.get(job.state, Step.NOTHING)
