"""Carry out the next step of a job: the same use cases that the commands call, under a lease.

Each method ends by releasing the job with its next due time. Nothing here interprets answers: they are
recorded by `submission`, `settlement` and `recovery`, as for a command.
"""

import asyncio
import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import random
from typing import TYPE_CHECKING

from ledger.errors import IllegalTransition, LedgerUnusable, StaleFence, WrongExpectedVersion
from ledger.job import Job
from ledger.terms import Operation, State
from render_service.recovery.reconcile import reconcile
from render_service.runtime.errors import AnsweredTooLate, AssetUnusable, NotReady, PlaceTaken
from render_service.session.session import Session
from render_service.settlement.observe import ObservationResult, Observer
from render_service.settlement.overdue import is_overdue, may_be_overdue
from render_service.settlement.settle import finish
from render_service.submission.request_again import request_next_remix
from render_service.submission.result import placed_in
from render_service.submission.retry import Patience
from render_service.submission.submit import attempt, may_try_again, recorded_call
from render_service.worker.leases import Capacity, Leases, WorkerOptions
from sora_adapter.errors import (
    ContentTooLarge,
    ContentUnavailable,
    ServerTrouble,
    VideoNotFound,
    loggable,
)
from sora_adapter.models import Observation
from sora_adapter.polling import pace_after_look, pace_after_trouble

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient
from enum import Enum, auto


class Step(Enum):
    """The next step of a job."""

    SUBMIT = auto()
    RECONCILE = auto()
    OBSERVE = auto()
    FINISH = auto()
    NOTHING = auto()


_STEPS = {
    State.DECIDED: Step.SUBMIT,
    State.REJECTED: Step.SUBMIT,
    State.ABSENT: Step.SUBMIT,
    State.SUBMITTING: Step.RECONCILE,
    State.UNKNOWN: Step.RECONCILE,
    State.RUNNING: Step.OBSERVE,
    State.COMPLETED: Step.FINISH,
    State.STORED: Step.FINISH,
    State.FAILED: Step.FINISH,
    State.LOST: Step.FINISH,
    State.ABANDONED: Step.FINISH,
}
NOT_TO_BE_LEFT = (State.SUBMITTING, State.UNKNOWN, State.RUNNING, State.COMPLETED)
"""States in which a job needs a worker: money is at stake, or bytes may expire."""


def next_step(job: Job) -> Step:
    """Return the next step of `job`: none if it is closed, or pending approval."""
    if job.outcome is not None:
        return Step.NOTHING
    return _STEPS.get(job.state, Step.NOTHING)


SENDING = 16
OBSERVING = 16
FETCHING = 8
SOON_S = 1.0
AFTER_TROUBLE_S = 30.0
NEEDS_A_PERSON_S = 600.0


@dataclass(frozen=True)
class Left:
    """A job in the state in which no worker could make progress: why, and the commands for a person."""

    job: Job
    why: str
    commands: tuple[str, ...]


class StepRunner:
    """Carries out steps for the jobs that a worker has leased (`hands`).

    `left` has the jobs that wait for a person, as far as this worker knows, by their ids.
    """

    def __init__(self, session: Session, hands: Leases, terms: WorkerOptions) -> None:
        self._session = session
        self._hands = hands
        self._terms = terms
        self._capacity = Capacity(session.ledger.store.queue)
        self._sending = asyncio.Semaphore(SENDING)
        self._observing = asyncio.Semaphore(OBSERVING)
        self._fetching = asyncio.Semaphore(FETCHING)
        self._observers: dict[str, Observer] = {}
        self._overdue: set[str] = set()
        self._announced: set[str] = set()
        self.left: dict[str, Left] = {}
        self.submitted = 0
        self.closed = 0

    async def carry_out(self, step: Step, jobs: Sequence[Job]) -> None:
        """Do `step` for `jobs`, all of one profile, and release all of them."""
        for job in jobs:
            self.left.pop(job.job_id, None)
        match step:
            case Step.SUBMIT:
                await self._submit(jobs)
            case Step.OBSERVE:
                await self._each(jobs, self._observe(jobs))
            case Step.RECONCILE:
                await self._each(jobs, self._find(jobs))
            case Step.FINISH:
                await asyncio.gather(*(self._each([job], self._finish(job)) for job in jobs))
            case Step.NOTHING:
                await asyncio.gather(*(self._done(job) for job in jobs))

    async def _each(self, jobs: Sequence[Job], work: Awaitable[None]) -> None:
        """Await `work` on `jobs`; if it fails, reschedule them without affecting anything else."""
        try:
            await work
        except LedgerUnusable:
            raise
        except (StaleFence, AnsweredTooLate) as lost:  # another worker owns the job and its slot now
            for job in jobs:
                self._warn(job, lost)
                await self._hands.put(job.job_id, SOON_S)
        except (WrongExpectedVersion, IllegalTransition) as passed:  # another process works on it too
            await self._put_off(jobs, SOON_S, passed)
        except ServerTrouble as trouble:
            pace = pace_after_trouble(trouble, 0, self._terms.interval_s, random())  # a pause
            await self._put_off(jobs, pace.pause_s, trouble)
        except (NotReady, PlaceTaken) as hindered:
            await self._put_off(jobs, NEEDS_A_PERSON_S, hindered)
        except (
            VideoNotFound,
            ContentUnavailable,
            ContentTooLarge,
            AssetUnusable,
        ) as answer:  # repeating the request may get the same answer
            await self._put_off(jobs, None, answer)
        except Exception as error:  # noqa: BLE001  # even a bug must not stop the queue
            await self._put_off(jobs, AFTER_TROUBLE_S, error)

    async def _put_off(self, jobs: Sequence[Job], delay_s: float | None, error: Exception) -> None:
        """Release `jobs` for later, unless the error ended them.

        Without `delay_s`, the delay grows while there is no news about a job.
        """
        for earlier in jobs:
            job = await self._session.job(earlier.job_id)
            self._warn(job, error)
            step = next_step(job)
            if step in {Step.NOTHING, Step.SUBMIT}:
                await self._capacity.free(job.job_id)
            await self._mind_age(job)
            if isinstance(error, NotReady | PlaceTaken) and step is not Step.NOTHING:
                self._leave(job, str(error), (f"sora-ledger show {job.job_id}",))
            later_s = self._patience_s(job) if delay_s is None else delay_s
            await self._hands.put(job.job_id, None if step is Step.NOTHING else later_s)

    def _patience_s(self, job: Job) -> float:
        """Return half of the time without news about `job`, within bounds."""
        silent = self._session.clock() - datetime.fromisoformat(job.updated_at)
        return min(max(AFTER_TROUBLE_S, silent.total_seconds() / 2), NEEDS_A_PERSON_S)

    def _warn(self, job: Job, error: Exception) -> None:
        self._session.log.warning("job.trouble", job_id=job.job_id, **loggable(error))

    def _leave(self, job: Job, why: str, commands: tuple[str, ...]) -> None:
        """Note that `job` waits for a person; the next step on it removes the note."""
        self.left[job.job_id] = Left(job, why, commands)

    async def _mind_age(self, job: Job) -> None:
        """Free the slot of an overdue render once, and log it; it is still polled."""
        ledger, now = self._session.ledger, self._session.clock()
        longest_s = self._session.settings.longest_render_s
        if not may_be_overdue(job, now, longest_s):
            return
        next_command = f"sora-ledger give-up {job.job_id} --reason TEXT"
        if job.job_id not in self._overdue:
            if not await asyncio.to_thread(is_overdue, ledger, job, now, longest_s):
                return
            self._overdue.add(job.job_id)
            await self._capacity.free(job.job_id)
            self._session.log.warning("job.overdue", job_id=job.job_id, state=job.state, ends_it=next_command)
        self._leave(job, f"it has been {job.state} for longer than a render may take", (next_command,))

    async def _done(self, job: Job) -> None:
        """Release a job, and its slot, without scheduling it again; any later request for it makes it due."""
        again_s = await self._continue_split(job)
        if again_s is not None:
            await self._capacity.free(job.job_id)
        # A crash here leaves a lease on a stored remix: once it has expired, the worker that claims the job
        # requests the remix that follows it in its split.
        await self._hands.put(job.job_id, again_s)

    async def _continue_split(self, job: Job) -> float | None:
        """Request the remix that follows `job`; return the seconds until a retry, None for never.

        A remix that another process requested, or that must wait for a person, is left alone.
        """
        if job.operation is not Operation.REMIX or job.state is not State.STORED:
            return None
        try:
            placed = await request_next_remix(self._session, job)
        except LedgerUnusable:
            raise
        except ServerTrouble as trouble:
            self._warn(job, trouble)
            return AFTER_TROUBLE_S
        except Exception as error:  # noqa: BLE001  # even a bug must not stop the queue
            self._session.log.warning("split.waits", job_id=job.job_id, **loggable(error))
            why = f"the next remix of its split could not be requested: {error}"
            self._leave(job, why, (f"sora-ledger show {job.job_id}",))
            return NEEDS_A_PERSON_S
        if placed is not None and not placed.repeated:
            next_id, state = placed.job.job_id, placed.job.state
            self._session.log.info("split.continued", job_id=job.job_id, next=next_id, state=state)
        return None

    # --- submitting ---

    async def _submit(self, jobs: Sequence[Job]) -> None:
        """Submit a submittable job, and poll it immediately once it runs: some servers are fast."""
        running: list[Job] = []

        async def submit(job: Job) -> None:
            async with self._sending:
                await self._each([job], self._submit_one(job, running))

        await asyncio.gather(*map(submit, jobs))
        if running:
            await self._each(running, self._observe(running))

    async def _submit_one(self, job: Job, running: list[Job]) -> None:
        limit = self._terms.limit_of(job)
        if wait_s := await self._capacity.turn(job.job_id, limit):
            await self._hands.put(job.job_id, wait_s)
            return
        placed = await asyncio.to_thread(placed_in, self._session.ledger, job)
        if not may_try_again(self._session, job, placed.outcome):
            await self._done(job)
            return
        # A crash here leaves a taken slot and a lease: the lease expires, and the worker that claims the job
        # then submits it, or looks for its video where an intent was recorded.
        patience = Patience(timeout_s=math.inf, outlasts_absence=True)
        call = await recorded_call(self._session, placed)
        placed, wait_again_s = await attempt(self._session, placed, call, patience)
        if wait_again_s is not None:
            pause_s = await self._capacity.refused(job.job_id, limit, wait_again_s)
            self._session.log.warning("server.at_capacity", limit=limit.name, pause_s=round(pause_s, 1))
            await self._hands.put(job.job_id, pause_s)
            return
        self.submitted += 1
        self._capacity.accepted(limit)
        if placed.job.state is State.RUNNING:
            running.append(placed.job)
        elif placed.job.state is State.UNKNOWN:  # it may be running: its slot stays taken until it is found
            await self._hands.put(job.job_id, self._terms.interval_s)
        else:
            await self._done(placed.job)

    # --- finding what was lost ---

    async def _find(self, jobs: Sequence[Job]) -> None:
        for settlement in await reconcile(self._session, jobs, grace_s=self._terms.grace_s):
            job_id = settlement.job.job_id
            if not settlement.is_open:
                await self._hands.put(job_id, 0.0)
                continue
            needs_person = settlement.verdict == "needs_person"
            if needs_person:
                self._session.log.warning("job.needs_a_person", job_id=job_id, why=settlement.why)
                self._leave(settlement.job, settlement.why, settlement.commands)
            elif job_id not in self._announced:
                self._announced.add(job_id)
                self._session.log.info("job.searched_again_later", job_id=job_id, why=settlement.why)
            await self._hands.put(job_id, NEEDS_A_PERSON_S if needs_person else self._terms.interval_s)

    # --- observing and finishing ---

    async def _observe(self, jobs: Sequence[Job]) -> None:
        async with self._session.connect(self._session.profile(jobs[0].profile)) as client:
            name = client.profile.name
            if name not in self._observers:
                self._observers[name] = Observer(self._session, client, self._observing)
            observed = await self._observers[name].observe(jobs)
            await asyncio.gather(
                *(self._each([result.job], self._go_on(client, result)) for result in observed)
            )

    async def _go_on(self, client: "VideosClient", observed: ObservationResult) -> None:
        job, observation = observed.job, observed.observation
        if observation is None:
            raise observed.error or ValueError(f"{job.job_id}: neither observed nor refused")
        if job.state is State.RUNNING:
            await self._mind_age(job)
            await self._hands.put(job.job_id, self._next_look_s(observation))
            return
        if self._terms.limit_of(job).running:  # others may run during the download
            await self._capacity.free(job.job_id)
        await self._finish(job, client)

    def _next_look_s(self, observation: Observation) -> float:
        """Return the seconds to the next poll: from the server, else together with the other jobs."""
        if observation.poll_after_ms is None and observation.retry_after_ms is None:
            return self._terms.next_look_s(self._session.clock().timestamp())
        return pace_after_look(observation, self._terms.interval_s).pause_s

    async def _finish(self, job: Job, client: "VideosClient | None" = None) -> None:
        """Store the video and close the job."""
        async with self._fetching, self._session.connect(self._session.profile(job.profile)) as connected:
            ended = await finish(self._session, client or connected, job)
        # A crash here leaves a closed job with a lease and a slot: a worker claims it again once the lease
        # has expired, finds nothing to do, and gives both back.
        if next_step(ended) is Step.NOTHING:
            self.closed += 1
            await self._done(ended)
        else:
            await self._hands.put(ended.job_id, self._terms.interval_s)
