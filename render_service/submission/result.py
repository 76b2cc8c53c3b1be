"""What came of a request, and what to tell a person about it."""

from dataclasses import dataclass
from pathlib import Path

from decision.engine.approval import Considered
from decision.engine.explain import what_now, why
from ledger.events import RenderDenied, RenderHeld, RenderRequested, SubmissionIntended
from ledger.job import Job
from ledger.log.ledger import Ledger
from render_service.approvals.approvers import who_may_answer
from render_service.rules.overrides import Override
from render_service.rules.policies import Rules, active_rules
from sora_adapter.errors import AnswerError
from sora_adapter.messages import Submission, trouble
from sora_adapter.profiles import profile


@dataclass(frozen=True)
class Placed:
    """A request that went through the session: the job, what was asked, and the ruling.

    `under` are the rules that made the ruling, None where it was read from the ledger. `override` is what was
    set aside for it; `override_refused` why nothing was, although that was asked for.
    """

    job: Job
    requested: RenderRequested
    ruling: Considered
    outcome: Submission | None = None
    repeated: bool = False
    under: Rules | None = None
    override: Override | None = None
    override_refused: str | None = None


def denial(ledger: Ledger, job: Job) -> str:
    """Return the first reason why `job` was denied, and the first thing that would be allowed."""
    ruling = next(r.event for r in ledger.history(job.job_id) if isinstance(r.event, RenderDenied))
    reasons, steps = why(ruling), what_now(ruling, job_id=job.job_id, draft=job.source_job)
    return "; ".join([reasons[0], *steps[:1]])


def held_for(ledger: Ledger, job: Job) -> str:
    """Return who has to answer for `job`, which waits for a person, and with which commands."""
    history = ledger.history(job.job_id)
    asked = next(record for record in history if isinstance(record.event, RenderRequested))
    hold = next(record.event for record in reversed(history) if isinstance(record.event, RenderHeld))
    who = who_may_answer(asked, hold, active_rules(ledger).policy)
    return (
        f"{who}: `sora-ledger approve {job.job_id}`; `sora-ledger cancel {job.job_id}` withdraws the request"
    )


def submission_trouble(ledger: Ledger, job: Job, profiles_file: Path | None) -> AnswerError | None:
    """Return what to tell about the last submission of `job`; None if it was accepted or never made."""
    server, said = "", None
    for record in ledger.history(job.job_id):
        if isinstance(record.event, SubmissionIntended):
            server, said = record.event.server, None
        elif isinstance(record.event, Submission):
            said = trouble(record.event, profile(job.profile or "", profiles_file), server)
    return said
