"""Submit a job that was decided but not sent, or withdraw it.

It is submitted by `resume`, by an approval, or by a worker. Withdrawing it releases its money.
"""

import asyncio

from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import RenderCancelled
from ledger.job import Job
from ledger.private import Private
from ledger.terms import Outcome, State
from render_service.runtime.errors import NotApproved, NotReady
from render_service.session.jobs import make_closed
from render_service.session.session import Session
from render_service.session.splits import WITHDRAWN, deletion, is_withdrawn, plan_of
from render_service.submission.result import Placed, placed_in
from render_service.submission.retry import Patience
from render_service.submission.submit import may_try_again, submit


async def resume(session: Session, job: Job, patience: Patience | None = None) -> Placed:
    """Submit `job` as decided; `NotReady` says why that is impossible, and what to do.

    For a job that is pending approval, the error is `NotApproved`. A job can be submitted if no attempt was
    made, or if the last one is known to have created nothing.
    """
    placed = await asyncio.to_thread(placed_in, session.ledger, job)
    if not may_try_again(session, job, placed.outcome):
        raise _not_ready(job)
    try:
        return await submit(session, placed, patience or Patience())
    except WrongExpectedVersion:  # a worker, or another person, was faster
        raise _not_ready(await session.job(job.job_id)) from None


_WAITS = "is pending approval: another person can run `sora-ledger approve {id}`"


_MAY_BE_OUT = "may have been submitted already: `sora-ledger reconcile {id}` finds out; nothing is sent again"


_OUT = "was submitted already: `sora-ledger poll --id {id}` waits for it"


_REASONS = {
    State.HELD: _WAITS,
    State.APPROVED: _WAITS,
    State.SUBMITTING: _MAY_BE_OUT,
    State.UNKNOWN: _MAY_BE_OUT,
    State.RUNNING: _OUT,
    State.COMPLETED: _OUT,
    State.REJECTED: "was refused, and a retry might cost money; `sora-ledger show {id}` says why",
}


def _not_ready(job: Job) -> NotReady:
    waits = job.outcome is None and job.state in {State.HELD, State.APPROVED}
    return (NotApproved if waits else NotReady)(f"{job.job_id} {_why_not(job)}")


def _why_not(job: Job) -> str:
    """Return why `job` cannot be submitted in its state, and what to do."""
    if job.outcome is not None:
        return (
            f"is closed ({job.outcome}): `sora-ledger show {job.job_id}` says why; "
            "to try again, make a new request"
        )
    reason = _REASONS.get(job.state, f"is {job.state}; `sora-ledger show {{id}}` says why")
    return reason.format(id=job.job_id)


WITHDRAWABLE = (State.HELD, State.APPROVED, State.DECIDED, State.ABSENT)


async def cancel(session: Session, job: Job, why: str | None = None) -> Job:
    """Withdraw `job`, which is pending approval or submission; `NotReady` if it is not.

    For a submitted remix, the rest of its split is withdrawn, if there is any.
    """
    if job.state not in WITHDRAWABLE or job.outcome is not None:
        if await withdraw_rest(session, job):
            return await session.job(job.job_id)
        raise NotReady(
            f"{job.job_id} is {job.state}: {_instead(job)}",
            param="job",
            expected="a job that can be submitted",
            found=f"a {job.state} one",
        )
    events = (
        RenderCancelled(why=Private.seal("why", why) if why else None),
        make_closed(session.clock(), job, Outcome.CANCELLED),
    )
    try:
        withdrawn = await session.advance(job, [session.draft(event) for event in events])
    except (WrongExpectedVersion, IllegalTransition):  # it was submitted, approved or withdrawn in between
        now = await session.job(job.job_id)
        if now.version == job.version:
            raise
        return await cancel(session, now, why)
    # A crash before this leaves the job due; the worker that claims it finds nothing to do.
    await asyncio.to_thread(session.ledger.store.queue.cancel, job.job_id)
    return withdrawn


def _instead(job: Job) -> str:
    if job.state in {State.RUNNING, State.COMPLETED, State.STORED}:
        return f"there is a video; `sora-ledger delete --id {job.job_id}` has the server delete it"
    if job.state in {State.SUBMITTING, State.UNKNOWN}:
        return "a video may exist, so it cannot be withdrawn; `sora-ledger reconcile --all` looks for it"
    return "there is nothing to withdraw"


async def withdraw_rest(session: Session, job: Job) -> int:
    """Delete the prompts planned after `job`, so that its split ends with it; return how many."""
    plan = await asyncio.to_thread(plan_of, session.ledger, job)
    if plan is None or is_withdrawn(plan) or not plan.rest:
        return 0
    await session.append_together(deletion(session, job.job_id, plan, WITHDRAWN, job.version))
    return len(plan.rest)
