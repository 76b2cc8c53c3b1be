"""Submitting what was decided before: by `resume`, by an approval, by a worker."""

import asyncio
from dataclasses import dataclass

from decision.engine.approval import Considered
from ledger.errors import WrongExpectedVersion
from ledger.events import RenderDecided, RenderDenied, RenderHeld, RenderRequested
from ledger.job import Job, State
from ledger.log.ledger import Ledger
from render_service.runtime.errors import NotApproved, NotReady
from render_service.session.session import Session
from render_service.submission.recorded_call import Files, call_of
from render_service.submission.result import Placed
from render_service.submission.retry import Patience
from render_service.submission.submit import may_try_again, submit
from sora_adapter.messages import Submission
from sora_adapter.requests import SubmitCall


@dataclass(frozen=True)
class Recorded:
    """What the record of a job says that submitting it needs; `outcome` is that of the last attempt."""

    requested: RenderRequested
    ruling: Considered
    outcome: Submission | None


def recorded(ledger: Ledger, job: Job) -> Recorded:
    """Return request, last decision and last outcome of `job`; `NotReady` for one that was adopted."""
    events = [record.event for record in ledger.history(job.job_id)]
    if not isinstance(events[0], RenderRequested):
        raise NotReady(f"{job.job_id} was made by another tool: there is no request to submit")
    rulings = [event for event in events if isinstance(event, RenderDecided | RenderDenied | RenderHeld)]
    outcomes = [event for event in events if isinstance(event, Submission)]
    return Recorded(events[0], rulings[-1], outcomes[-1] if outcomes else None)


async def resume(session: Session, job: Job, patience: Patience | None = None) -> Placed:
    """Submit `job` as it was decided; `NotReady` says why it cannot be, and what to do.

    Of what waits for a person, that is a `NotApproved`.

    It can be where nothing was attempted yet, or the last attempt is known to have created nothing.
    """
    found = await asyncio.to_thread(recorded, session.ledger, job)
    if not may_try_again(session, job, found.outcome):
        raise _not_ready(job)
    placed, _ = await asyncio.to_thread(rebuild, session, job, found)
    try:
        return await submit(session, placed, patience or Patience())
    except WrongExpectedVersion:  # a worker, or another person, was quicker
        raise _not_ready(await session.job(job.job_id)) from None


def rebuild(session: Session, job: Job, found: Recorded | None = None) -> tuple[Placed, SubmitCall]:
    """Return `job` as it was placed, and the call that carries it out, both from the record.

    `NotReady` if it was not allowed, its text was erased, or a file it needs is missing or damaged.
    """
    found = found or recorded(session.ledger, job)
    if not isinstance(found.ruling, RenderDecided):
        raise _not_ready(job)
    call = call_of(found.requested, found.ruling, Files(job.job_id, session.assets))
    return Placed(job, found.requested, found.ruling, found.outcome), call


_WAITS = "waits for approval: somebody else can `sora-ledger approve {id}`"
_MAY_BE_OUT = "may have been submitted already: `sora-ledger reconcile {id}` finds out; nothing is sent again"
_OUT = "was submitted already: `sora-ledger poll --id {id}` waits for it"
_REASONS = {
    State.HELD: _WAITS,
    State.APPROVED: _WAITS,
    State.SUBMITTING: _MAY_BE_OUT,
    State.UNKNOWN: _MAY_BE_OUT,
    State.RUNNING: _OUT,
    State.COMPLETED: _OUT,
    State.REJECTED: "was refused, and trying again might cost; `sora-ledger show {id}` says why",
}


def _not_ready(job: Job) -> NotReady:
    waits = job.outcome is None and job.state in {State.HELD, State.APPROVED}
    return (NotApproved if waits else NotReady)(f"{job.job_id} {_why_not(job)}")


def _why_not(job: Job) -> str:
    """Say why `job` cannot be submitted as it stands, and what to do."""
    if job.outcome is not None:
        return (
            f"is closed ({job.outcome}): `sora-ledger show {job.job_id}` says why; "
            "to try again, make a new request"
        )
    said = _REASONS.get(job.state, f"is {job.state}; `sora-ledger show {{id}}` says why")
    return said.format(id=job.job_id)
