"""Renders that take too long: their server may have forgotten them, or never hands over a usable file.

Nothing is concluded from age alone, so such a job keeps its money. But after `Settings.longest_render_s` it
no longer takes up a place among the running renders, and `audit` and ``/metrics`` report it.
"""

from datetime import datetime, timedelta

from ledger.job import Job, State
from ledger.log.ledger import Ledger
from ledger.record import timestamp
from ledger.store.interface import JobFilter
from render_service.session.history import JobHistory

NOT_DONE = (State.RUNNING, State.COMPLETED)


def started_at(ledger: Ledger, job: Job) -> datetime:
    """Return when the render of `job` was asked for last, or its video adopted."""
    return datetime.fromisoformat(JobHistory.of(ledger, job).began_at or job.created_at)


def is_overdue(ledger: Ledger, job: Job, now: datetime, longest_s: float) -> bool:
    """Say whether `job` runs, or waits to be stored, for longer than `longest_s`."""
    if job.state not in NOT_DONE or job.outcome is not None:
        return False
    since = now - timedelta(seconds=longest_s)
    return datetime.fromisoformat(job.created_at) < since and started_at(ledger, job) < since


def overdue_jobs(ledger: Ledger, now: datetime, longest_s: float) -> list[Job]:
    """Return the overdue jobs; reads the history of those only that were requested long enough ago."""
    until = timestamp(now - timedelta(seconds=longest_s))
    jobs = ledger.jobs(JobFilter(states=NOT_DONE, until=until))
    return [job for job in jobs if is_overdue(ledger, job, now, longest_s)]
