"""What becomes of a job that was decided and not sent: it is submitted later, or withdrawn.

It is submitted by `resume`, by an approval, or by a worker. What is withdrawn frees its money.
"""

import asyncio

from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import Outcome, RenderCancelled
from ledger.job import Job, State
from ledger.private import Private
from render_service.runtime.errors import NotApproved, NotReady
from render_service.session.jobs import closed
from render_service.session.session import Session
from render_service.submission.result import Placed, placed_in
from render_service.submission.retry import Patience
from render_service.submission.submit import may_try_again, submit


async def resume(session: Session, job: Job, patience: Patience | None = None) -> Placed:
    """Submit `job` as it was decided; `NotReady` says why it cannot be, and what to do.

    Of what waits for a person, that is a `NotApproved`.

    It can be where nothing was attempted yet, or the last attempt is known to have created nothing.
    """
    placed = await asyncio.to_thread(placed_in, session.ledger, job)
    if not may_try_again(session, job, placed.outcome):
        raise _not_ready(job)
    try:
        return await submit(session, placed, patience or Patience())
    except WrongExpectedVersion:  # a worker, or another person, was quicker
        raise _not_ready(await session.job(job.job_id)) from None


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
    reason = _REASONS.get(job.state, f"is {job.state}; `sora-ledger show {{id}}` says why")
    return reason.format(id=job.job_id)


WITHDRAWABLE = (State.HELD, State.APPROVED, State.DECIDED, State.ABSENT)


async def cancel(session: Session, job: Job, why: str | None = None) -> Job:
    """Withdraw `job`, which waits for a person or to be submitted; `NotReady` if it does not."""
    if job.state not in WITHDRAWABLE or job.outcome is not None:
        raise NotReady(f"{job.job_id} is {job.state}: {_instead(job)}")
    events = (
        RenderCancelled(why=Private.seal("why", why) if why else None),
        closed(session.clock(), job, Outcome.CANCELLED),
    )
    try:
        return await session.advance(job, [session.draft(event) for event in events])
    except (WrongExpectedVersion, IllegalTransition):  # it was submitted, approved or withdrawn in between
        now = await session.job(job.job_id)
        if now.version == job.version:
            raise
        return await cancel(session, now, why)


def _instead(job: Job) -> str:
    if job.state in {State.RUNNING, State.COMPLETED, State.STORED}:
        return f"there is a video; `sora-ledger delete --id {job.job_id}` has the server delete it"
    if job.state in {State.SUBMITTING, State.UNKNOWN}:
        return "a video may exist, so it cannot be withdrawn; `sora-ledger reconcile --all` looks for it"
    return "there is nothing to withdraw"
