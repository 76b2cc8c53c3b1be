"""Find renders that take too long, and give them up.

Their server may have forgotten them, or may never return a usable file. Age alone proves nothing, so such a
job keeps its money reserved. But after `Settings.longest_render_s` it no longer takes up a slot among the
running renders, and `audit` and ``/metrics`` report it; a person can give it up.
"""

import asyncio
from datetime import datetime, timedelta

from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import Event, RenderAbandoned
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import timestamp
from ledger.store.filters import JobFilter
from ledger.terms import Outcome, State
from render_service.runtime.errors import NotReady
from render_service.session.history import JobHistory
from render_service.session.jobs import list_closing_events
from render_service.session.session import Session

NOT_DONE = (State.RUNNING, State.COMPLETED)


def find_start(ledger: Ledger, job: Job) -> datetime:
    """Return when the render of `job` was last requested, or its video adopted."""
    return datetime.fromisoformat(JobHistory.of(ledger, job).began_at or job.created_at)


def may_be_overdue(job: Job, now: datetime, longest_s: float) -> bool:
    """Return False if the row of `job` alone shows that it is not overdue."""
    since = timestamp(now - timedelta(seconds=longest_s))
    return job.state in NOT_DONE and job.outcome is None and job.created_at < since


def is_overdue(ledger: Ledger, job: Job, now: datetime, longest_s: float) -> bool:
    """Return whether `job` has been running, or waiting to be stored, for longer than `longest_s`."""
    since = now - timedelta(seconds=longest_s)
    return may_be_overdue(job, now, longest_s) and find_start(ledger, job) < since


def find_overdue_jobs(ledger: Ledger, now: datetime, longest_s: float) -> list[Job]:
    """Return the overdue jobs; only the history of jobs requested long enough ago is read."""
    until = timestamp(now - timedelta(seconds=longest_s))
    jobs = ledger.jobs(JobFilter(states=NOT_DONE, until=until))
    return [job for job in jobs if is_overdue(ledger, job, now, longest_s)]


CAN_BE_GIVEN_UP = (State.RUNNING, State.COMPLETED)


_UNKNOWN = (State.SUBMITTING, State.UNKNOWN)


_NOT_SUBMITTED = (State.HELD, State.APPROVED, State.DECIDED, State.ABSENT)


async def give_up(session: Session, job: Job, reason: str) -> Job:
    """Close `job` as abandoned, book its estimate, and free its slot among the running renders.

    No server is asked. `NotReady` if the job is not running or has ended: an open attempt is never given up,
    since its money and a second attempt depend on the outcome of the first.
    """
    if job.state is State.ABANDONED:
        return job
    if job.state not in CAN_BE_GIVEN_UP or job.outcome is not None:
        raise NotReady(
            f"{job.job_id} is {job.state}: {_explain_no_render(job)}",
            param="job",
            expected="a job that is overdue",
            found=f"a {job.state} one",
        )
    abandoned = RenderAbandoned(why=Private.seal("why", reason))
    events: list[Event] = [abandoned, *list_closing_events(session.clock(), job, Outcome.ABANDONED)]
    try:
        now = await session.advance(job, [session.draft(event) for event in events])
    except (WrongExpectedVersion, IllegalTransition):  # another record came in between
        now = await session.job(job.job_id)
        if now.version == job.version:
            raise
        return await give_up(session, now, reason)
    # A crash here leaves the slot taken until a worker finds the closed job and frees it.
    await asyncio.to_thread(session.ledger.store.queue.release_slots, [job.job_id])
    await asyncio.to_thread(session.ledger.store.queue.wake, [job.job_id])
    return now


def _explain_no_render(job: Job) -> str:
    if job.state in _UNKNOWN:
        return (
            "a video may exist, and its money depends on whether it does; "
            f"`sora-ledger reconcile {job.job_id}` finds out"
        )
    if job.state in _NOT_SUBMITTED and job.outcome is None:
        return f"nothing runs; `sora-ledger cancel {job.job_id}` withdraws it"
    return f"there is no render to give up; `sora-ledger show {job.job_id}` says how it ended"
