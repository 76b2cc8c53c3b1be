"""Submitting what was decided before: by `resume`, by an approval, by a worker."""

import asyncio

from ledger.errors import WrongExpectedVersion
from ledger.job import Job, State
from render_service.runtime.errors import NotApproved, NotReady
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
    said = _REASONS.get(job.state, f"is {job.state}; `sora-ledger show {{id}}` says why")
    return said.format(id=job.job_id)
