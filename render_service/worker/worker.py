"""A worker: claim due jobs from the ledger, carry out the next step of each, and release it.

Any number of workers may share a ledger, on PostgreSQL from any number of machines. A job belongs to the
worker that owns its lease; records about a job whose lease was lost are refused (by the fence, see
`ledger.store.interface`), so a worker that stalls and wakes up does no harm. Leases are not facts and leave
no event.

Due jobs are those that were queued, running ones that are to be polled, and any job that a webhook announced.
From time to time a worker also enlists jobs that nothing scheduled but that must not be left: running
renders, finished ones that are not stored, attempts with an unknown outcome. A job of another server than the
one in use (`render_service.session.servers`) is left alone, with its money. A server address in the
environment (``OPENAI_BASE_URL``) belongs to the chosen profile; queued jobs of other profiles are left to
other workers.

On SIGTERM it claims no more jobs, and finishes or releases those it has within ten seconds.
"""

import asyncio
import os
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import random

from ledger.job import OVER, Job
from ledger.record import timestamp
from ledger.store.filters import JobFilter
from ledger.terms import State
from render_service.api.sessions import drain
from render_service.evidence.recorded_checks import record_projection_if_due
from render_service.recovery.attempts import OPEN
from render_service.runtime.errors import WrongServer
from render_service.runtime.settings import SANDBOX
from render_service.session.clock_steps import ClockSteps, is_behind
from render_service.session.session import Session
from render_service.session.splits import OpenSplits, Progress
from render_service.worker.leases import Leases, WorkerOptions
from render_service.worker.steps import NOT_TO_BE_LEFT, Left, Step, StepRunner, next_step

FINISHING_S = 6.0
CUTTING_OFF_S = 1.0
ENLISTING_S = 60.0
ENLISTING_AT_LEAST_S = 5.0
NOT_RECORDED_YET_S = 60.0
_NEWEST = "job_ffffffffffff"
"""A job's id starts with its time: all ids are before this one."""


@dataclass(frozen=True)
class Worked:
    """The totals of a worker's run, and the jobs it left to a person."""

    holder: str
    claimed: int
    submitted: int
    closed: int
    left: Sequence[Left]


def new_holder() -> str:
    """Return a unique name for a worker that shows where it runs."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


class Worker:
    """One worker in a session."""

    def __init__(self, session: Session, terms: WorkerOptions, holder: str | None = None) -> None:
        self._session = session
        self._terms = terms
        self._hands = Leases(session, holder or new_holder(), terms.lease_s)
        self._carrying = StepRunner(session, self._hands, terms)
        self._tasks: set[asyncio.Task[None]] = set()
        self._claimed = 0
        self._enlisted_at = float("-inf")
        self._failure: BaseException | None = None
        self._elsewhere: set[str] = set()
        self._other_servers: set[str] = set()
        self._steps = ClockSteps(session.clock)
        self._splits = OpenSplits(session.ledger)
        self._attempts_end_at = float("inf")

    async def run(self, stop: asyncio.Event) -> Worked:
        """Work until `stop` is set, or with `drain` until nothing is left that a worker can do."""
        self._session.log.info("worker.started", holder=self._hands.holder)
        keeping = asyncio.create_task(self._hands.keep())
        keeping.add_done_callback(self._failed_with)
        stopping = asyncio.create_task(stop.wait())
        try:
            if await asyncio.to_thread(is_behind, self._session.ledger, self._session.clock):
                await self._bring_forward()
            if self._terms.drain:
                await self._hasten()
            await self._work(stop, stopping)
        finally:
            self._session.log.info("worker.stopping", in_hand=len(self._hands))
            await self._end()
            stopping.cancel()
            keeping.cancel()
        runner = self._carrying
        left = list(runner.left.values())
        worked = Worked(self._hands.holder, self._claimed, runner.submitted, runner.closed, left)
        self._session.log.info("worker.stopped", claimed=worked.claimed, closed=worked.closed)
        return worked

    async def _work(self, stop: asyncio.Event, stopping: "asyncio.Task[bool]") -> None:
        while not stop.is_set():
            if self._failure is not None:
                raise self._failure
            claimed = await self._claim()
            if not claimed and self._terms.drain and await self._is_drained():
                break
            if not claimed:
                await self._pause(stopping)

    async def _claim(self) -> int:
        """Claim due jobs, as far as there is capacity; return how many were claimed."""
        if self._steps.was_set_back():
            await self._bring_forward()
        await self._enlist()
        free = self._terms.at_once - len(self._hands)
        job_ids = await self._hands.take(free) if free > 0 else []
        if job_ids:
            self._claimed += len(job_ids)
            await self._begin(job_ids)
        return len(job_ids)

    async def _bring_forward(self) -> None:
        """Bring forward times that are too late because the clock was set back.

        Jobs begun before that look younger than they are. Unscheduled ones are enlisted now; attempts, which
        their own process may still be working on, once they have had time to end.
        """
        self._session.log.warning("clock.went_back", now=timestamp(self._session.clock()))
        lease_ms = round(self._terms.lease_s * 1000)
        queue = self._session.ledger.store.queue
        await asyncio.to_thread(queue.bring_forward, lease_ms)
        await asyncio.to_thread(queue.enqueue_stale, [s for s in NOT_TO_BE_LEFT if s not in OPEN], _NEWEST)
        self._attempts_end_at = time.monotonic() + ENLISTING_S

    async def _hasten(self) -> None:
        """Check now the jobs that other workers postponed: a person may have settled them since."""
        states = (State.DECIDED, State.ABSENT, *NOT_TO_BE_LEFT)
        jobs = await asyncio.to_thread(self._session.ledger.jobs, JobFilter(states=states))
        await asyncio.to_thread(self._session.ledger.store.queue.hasten, [job.job_id for job in jobs])

    async def _enlist(self) -> None:
        """Enqueue unscheduled jobs, except recent ones that their own process may still be working on.

        An attempt without an outcome is left to its process for the grace period, if that is shorter.
        """
        silent_s = min(ENLISTING_S, max(ENLISTING_AT_LEAST_S, self._terms.grace_s))
        if time.monotonic() < self._enlisted_at + silent_s:
            return
        self._enlisted_at = time.monotonic()
        await asyncio.to_thread(drain, self._session)
        await asyncio.to_thread(record_projection_if_due, self._session)
        stale = await self._enlist_older(NOT_TO_BE_LEFT, ENLISTING_S)
        if silent_s < ENLISTING_S:
            stale += await self._enlist_older(OPEN, silent_s)
        if time.monotonic() >= self._attempts_end_at:
            self._attempts_end_at = float("inf")
            enqueue_stale = self._session.ledger.store.queue.enqueue_stale
            stale += await asyncio.to_thread(enqueue_stale, OPEN, _NEWEST)
        stale += await self._enlist_splits()
        if stale:
            self._session.log.info("worker.enlisted", jobs=stale)

    async def _enlist_older(self, states: Sequence[State], age_s: float) -> int:
        before = round((self._session.clock().timestamp() - age_s) * 1000)
        enqueue_stale = self._session.ledger.store.queue.enqueue_stale
        return await asyncio.to_thread(enqueue_stale, states, f"job_{before:012x}")

    async def _enlist_splits(self) -> int:
        """Make due the stored remixes whose split was not continued, such as after a crash or a copy."""
        standings = await asyncio.to_thread(self._splits.renew)
        ready = [standing.job_id for standing in standings if standing.progress is Progress.READY]
        jobs = [job for job in await asyncio.to_thread(self._read, ready) if job and await self._is_ours(job)]
        if jobs:
            await asyncio.to_thread(self._session.ledger.store.queue.wake, [job.job_id for job in jobs])
        return len(jobs)

    async def _begin(self, job_ids: Sequence[str]) -> None:
        groups: dict[tuple[Step, str | None], list[Job]] = defaultdict(list)
        for job_id, job in zip(job_ids, await asyncio.to_thread(self._read, job_ids), strict=True):
            if job is None:  # its request is not recorded yet, or never was
                await self._hands.put(job_id, NOT_RECORDED_YET_S if self._is_young(job_id) else None)
            elif not await self._serves(job):
                self._elsewhere.add(job_id)
                await self._hands.put(job_id, self._terms.interval_s)
            else:
                groups[next_step(job), job.profile].append(job)
        for (step, _), jobs in groups.items():
            self._start(step, jobs)

    async def _serves(self, job: Job) -> bool:
        """Return whether `job` belongs to this worker's server; for other servers, log once what to set."""
        return next_step(job) is Step.NOTHING or await self._is_ours(job)

    async def _is_ours(self, job: Job) -> bool:
        settings = self._session.settings
        try:
            await self._session.check_server(job)
        except WrongServer as elsewhere:
            if elsewhere.server not in self._other_servers:
                self._other_servers.add(elsewhere.server)
                because = str(elsewhere)
                self._session.log.warning("worker.other_server", server=elsewhere.server, because=because)
            return False
        return settings.base_url is None or job.profile in {settings.chosen_profile(), SANDBOX, None}

    def _read(self, job_ids: Sequence[str]) -> list[Job | None]:
        return [self._session.ledger.store.job(job_id) for job_id in job_ids]

    def _is_young(self, job_id: str) -> bool:
        oldest = round((self._session.clock().timestamp() - 10 * NOT_RECORDED_YET_S) * 1000)
        return job_id >= f"job_{oldest:012x}"

    def _start(self, step: Step, jobs: Sequence[Job]) -> None:
        task = asyncio.create_task(self._carrying.carry_out(step, jobs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._failed_with)

    def _failed_with(self, task: asyncio.Task[None]) -> None:
        """Note an error that is not caused by a job: the store is unusable, so the worker cannot continue."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error

    async def _pause(self, stopping: "asyncio.Task[bool]") -> None:
        """Wait until the queue is due to be read, there is capacity, or the worker has to stop."""
        idle_s = self._terms.idle_s * (0.75 + random() / 2)  # workers take turns
        waiting: set[asyncio.Task[None] | asyncio.Task[bool]] = {stopping}
        if len(self._hands) >= self._terms.at_once:
            waiting |= self._tasks
        await asyncio.wait(waiting, timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)

    async def _is_drained(self) -> bool:
        """Return whether all jobs that are due, waiting or leased are left to others or to a person."""
        if self._tasks:
            return False
        for_others = await asyncio.to_thread(self._read, list(self._elsewhere))
        self._elsewhere = {job.job_id for job in for_others if job and next_step(job) is not Step.NOTHING}
        left = await asyncio.to_thread(self._read, list(self._carrying.left))
        for_persons = {
            job.job_id
            for job in left
            if job and job.state not in OVER and job == self._carrying.left[job.job_id].job
        }
        tally = await asyncio.to_thread(self._session.ledger.store.tally)
        return tally.due + tally.waiting + tally.leased <= len(self._elsewhere | for_persons)

    async def _end(self) -> None:
        """Let running work finish, for a limited time; then release the remaining jobs."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISHING_S)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CUTTING_OFF_S)
        await self._hands.put_all()
