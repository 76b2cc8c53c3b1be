"""The result of a request, and what to tell a person about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from decision.engine.approval import Considered
from decision.engine.explain import what_now, why
from ledger.events import RenderDecided, RenderDenied, RenderHeld, RenderRequested
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.interface import Batch
from render_service.approvals.approvers import takes_signature, who_may_answer
from render_service.rules.overrides import Override
from render_service.rules.policies import Rules, active_rules
from render_service.runtime.errors import NotReady
from render_service.session.history import JobHistory
from sora_adapter.errors import AnswerError
from sora_adapter.messages import Submission, trouble
from sora_adapter.profiles import profile


@dataclass(frozen=True)
class Opening:
    """What is appended with a new request, all or nothing, and a function that is called afterwards.

    `batches` returns conditions and records of other streams for the id of the new job. If they are refused,
    nothing is recorded, and `WrongExpectedVersion` or `EventIdConflict` is raised. `opened` gets the job as
    it was first recorded, before anything is sent.
    """

    batches: Callable[[str], Sequence[Batch]] = lambda _: ()
    opened: Callable[[Job], None] = lambda _: None


@dataclass(frozen=True)
class Placed:
    """A placed request: the job, the request, and the ruling.

    `under` are the rules of the ruling, None if it was read from the ledger. `override` is the applied
    override; `override_refused` says why a requested one was not applied. `opening` is what is appended with
    a request that is not recorded yet.
    """

    job: Job
    requested: RenderRequested
    ruling: Considered
    outcome: Submission | None = None
    repeated: bool = False
    under: Rules | None = None
    override: Override | None = None
    override_refused: str | None = None
    opening: Opening = Opening()

    @property
    def allowed(self) -> RenderDecided:
        """The decision that allows the request; `NotReady` if it was not allowed."""
        if isinstance(self.ruling, RenderDecided):
            return self.ruling
        raise NotReady(f"{self.job.job_id} was not allowed: `sora-ledger show {self.job.job_id}` says why")


def placed_in(ledger: Ledger, job: Job, *, repeated: bool = False) -> Placed:
    """Return the recorded request of `job`, from which it can be continued.

    `NotReady` for a video that another tool made.
    """
    history = JobHistory.of(ledger, job)
    if history.requested is None or history.decision is None:
        raise NotReady(f"{job.job_id} was made by another tool: there is no request to submit")
    outcome = history.outcome.event if history.outcome else None
    return Placed(job, history.requested, history.decision.event, outcome, repeated=repeated)


def denial(ledger: Ledger, job: Job) -> str:
    """Return the first reason for the denial of `job`, and the first alternative that would be allowed."""
    ruling = JobHistory.of(ledger, job).all_of(RenderDenied)[-1].event
    reasons, steps = why(ruling), what_now(ruling, job_id=job.job_id, draft=job.source_job)
    return "; ".join([reasons[0], *steps[:1]])


def held_for(ledger: Ledger, job: Job) -> str:
    """Return who has to approve `job`, which is pending approval, and with which commands."""
    history = JobHistory.of(ledger, job)
    hold = history.all_of(RenderHeld)[-1].event
    policy = active_rules(ledger).policy
    who = who_may_answer(history.first, hold, policy)
    key = " --key FILE" if takes_signature(history.first, hold, policy) else ""
    return (
        f"{who}: `sora-ledger approve {job.job_id}{key}`; "
        f"`sora-ledger cancel {job.job_id}` withdraws the request"
    )


def submission_trouble(ledger: Ledger, job: Job, profiles_file: Path | None) -> AnswerError | None:
    """Return the error of the last submission of `job`; None if it was accepted or never made."""
    history = JobHistory.of(ledger, job)
    if history.outcome is None:
        return None
    server = profile(job.profile or "", profiles_file)
    return trouble(history.outcome.event, server, history.server or "")
