"""The contract of the work queue: due jobs, leases and slots. Stores share no SQL."""

from collections.abc import Collection
from typing import NamedTuple, Protocol

from ledger.errors import StaleFence
from ledger.terms import State


class Lease(NamedTuple):
    """A claimed job: holder, fencing token, and expiry (Unix milliseconds of the store's clock)."""

    job_id: str
    holder: str
    token: int
    until_ms: int


class Release(NamedTuple):
    """The end of a lease: its job is due in `delay_ms`, or done with None, and then has no slot."""

    lease: Lease
    delay_ms: int | None


class Limit(NamedTuple):
    """The joint limit of all workers for one model of a server; None is unlimited.

    `per_minute` requests, evenly spaced; `running` jobs that hold a slot at the same time.
    """

    name: str
    per_minute: int | None = None
    running: int | None = None

    @property
    def interval_ms(self) -> int:
        """The least time between two requests."""
        return -(-MINUTE_MS // self.per_minute) if self.per_minute else 0


def lost(lease: Lease) -> StaleFence:
    """Return the error for a lease that is no longer the current one."""
    return StaleFence(f"{lease.job_id}: the lease with fence {lease.token} was lost to another holder")


MINUTE_MS = 60_000
SLOT_WAIT_MS = 1_000
"""When to retry if all slots are taken: the end of a render cannot be predicted."""


class Pace(NamedTuple):
    """The state of a limit: the jobs that hold a slot, and the milliseconds until the next request."""

    name: str
    running: int
    wait_ms: int


class Depth(NamedTuple):
    """The numbers of the queue.

    `due` jobs wait for a worker, the oldest for `overdue_ms`; `waiting` jobs are due later; `leased` jobs
    have a worker. Jobs that need no further work (`ledger.job.OVER`) do not count.
    """

    due: int
    waiting: int
    leased: int
    overdue_ms: int


LONGEST_PAUSE_MS = 60_000
"""Pauses under a limit end within this time after the clock was set back."""


class WorkQueue(Protocol):
    """Due jobs, leases and slots. They are not facts, so they leave no events.

    Use cases know nothing else about the queue. `schedule` makes a job due and `cancel` undoes that; a worker
    has it from `claim` to `release` and extends its lease by `renew`. `wake`, `hasten`, `keep` and
    `release_all` handle many jobs in one transaction; the rest finds unscheduled jobs and limits requests. An
    append checks the token of a lease (`Fence`) in its own transaction, so the store keeps the queue's table
    next to the log's (decision 267).
    """

    def schedule(self, job_id: str, delay_ms: int = 0) -> None:
        """Make a job due `delay_ms` from now, by the store's clock.

        While the job is leased, the earliest such time is stored and counts once the lease is released.
        """

    def wake(self, job_ids: Collection[str]) -> None:
        """Make jobs due now, in one transaction."""

    def hasten(self, job_ids: Collection[str]) -> None:
        """Make due now those of the jobs that are due later; the others are unchanged."""

    def claim(self, holder: str, lease_ms: int, limit: int = 1) -> list[Lease]:
        """Claim up to `limit` due jobs without a live lease; each gets a new, higher token."""

    def cancel(self, job_id: str) -> None:
        """Remove a job's schedule; a live lease on it stays."""

    def enqueue_stale(self, states: Collection[State], before: str) -> int:
        """Make due the jobs in one of `states` that are not scheduled; return how many.

        Only jobs with an id below `before`, which are older: a process is still working on a job that just
        began.
        """

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Extend a lease that is still current, or raise `StaleFence`."""

    def keep(self, holder: str, lease_ms: int) -> list[Lease]:
        """Extend every live lease of `holder` and return them; a missing one was lost."""

    def release(self, lease: Lease, delay_ms: int | None) -> None:
        """Release a lease, or raise `StaleFence`; the job is due in `delay_ms`, or done with None.

        If the job was scheduled while it was leased, the earlier time counts.
        """

    def release_all(self, releases: Collection[Release]) -> list[Lease]:
        """Release leases of different jobs in one transaction; return those that were lost.

        The slots of those that are done are free with it.
        """

    def acquire_slot(self, job_id: str, limit: Limit) -> int:
        """Acquire permission for one request, and a slot for the job; 0, or the milliseconds until a retry.

        The job has the slot until `release_slots`, or until it is released as done. A job that already has a
        slot keeps it and needs no second one.
        """

    def release_slots(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs that no longer run; jobs without a slot are ignored."""

    def back_off(self, name: str, delay_ms: int) -> None:
        """Permit no request under the limit `name` for `delay_ms`: the server is at capacity."""

    def bring_forward(self, lease_ms: int) -> None:
        """Correct times that are too late because the clock was set back.

        Jobs due later become due now; leases end within `lease_ms`, pauses within a minute.
        """

    def leases(self) -> list[Lease]:
        """Return the live leases, the first to expire first."""

    def paces(self) -> list[Pace]:
        """Return, by name, the limits under which jobs hold a slot or that ever delayed a request."""

    def depth(self) -> Depth:
        """Return how many jobs are waiting and in progress; it reads nothing else."""
