"""Withdrawing what was not submitted: its money is free again, and its session is closed."""

from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import Outcome, RenderCancelled
from ledger.job import Job, State
from ledger.private import Private
from render_service.runtime.errors import NotReady
from render_service.session.closing import closed
from render_service.session.session import Session

WITHDRAWABLE = (State.HELD, State.APPROVED, State.DECIDED, State.ABSENT)


async def cancel(session: Session, job: Job, why: str | None = None) -> Job:
    """Withdraw `job`, which waits for a person or to be submitted; `NotReady` if it does not."""
    if job.state not in WITHDRAWABLE or job.outcome is not None:
        raise NotReady(f"{job.job_id} is {job.state}: {_instead(job)}")
    events = (
        RenderCancelled(why=Private.seal("why", why) if why else None),
        closed(session, job, Outcome.CANCELLED),
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
