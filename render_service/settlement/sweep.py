"""Settle many jobs of one server together, using the server's list instead of one query per job.

It works in rounds, until no job is running or the time is up. In each round:

- every running job is observed (`observe`): 200 jobs cost two or three requests if the server has a list;
- news is recorded, and finished jobs are downloaded and closed while the rounds continue.

Jobs may be added while others are settled, as submissions are answered; the deadline counts from the last
one. Pauses, backoff and the deadline come from `sora_adapter.polling`. An error of one job, or any other end,
affects no other job.
"""

import asyncio
import math
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.job import Job
from ledger.terms import State
from render_service.runtime.errors import WrongServer
from render_service.session.session import Session
from render_service.settlement.observe import ON_PURPOSE, Observer
from render_service.settlement.settle import HAS_VIDEO, finish
from sora_adapter.errors import ServerTrouble
from sora_adapter.models import Observation
from sora_adapter.polling import (
    SHORTEST_POLL_S,
    Clock,
    Pace,
    PollTimeout,
    make_timeout,
    pace_after_look,
    pace_after_trouble,
)

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

AT_ONCE = 16

Watch = Callable[[Job], None]


@dataclass(frozen=True)
class SettlementResult:
    """A job after settling, and the error that stopped it, if any."""

    job: Job
    error: Exception | None = None


async def settle_all(
    session: Session,
    jobs: Sequence[Job],
    *,
    interval_s: float,
    timeout_s: float,
    watch: Watch | None = None,
    clock: Clock | None = None,
    coming: AsyncIterable[Job] | None = None,
) -> dict[str, SettlementResult]:
    """Settle `jobs`, all of one profile, as `settle` settles one; return the result of each, by job id.

    Jobs from `coming` are added as they arrive, and `timeout_s` counts from the last of them. `watch` is
    called with every changed job.
    """
    ends = {job.job_id: SettlementResult(job) for job in jobs}
    here = await _select_own_server(session, jobs, ends)
    if coming is not None or any(map(_continues, here)):
        profile = session.profile(jobs[0].profile if jobs else None)
        async with session.connect(profile) as client, asyncio.TaskGroup() as tasks:
            sweep = Sweep(session, client, tasks, ends, watch=watch or (lambda _: None))
            sweep.begin(here)
            if coming is None:
                sweep.all_in.set()
            else:
                tasks.create_task(sweep.take_in_all(coming))
            await sweep.rounds(interval_s, timeout_s, clock or Clock())
    return ends


async def settle_every(
    session: Session,
    jobs: Iterable[Job],
    *,
    interval_s: float,
    timeout_s: float,
    watch: Watch | None = None,
) -> dict[str, SettlementResult]:
    """Settle `jobs` of any profiles, all profiles in parallel; return the result of each, by job id."""
    ends: dict[str, SettlementResult] = {}
    profiles: dict[str | None, list[Job]] = {}
    for job in jobs:
        profiles.setdefault(job.profile, []).append(job)

    async def settle_profile(part: Sequence[Job]) -> None:
        try:
            ends.update(
                await settle_all(session, part, interval_s=interval_s, timeout_s=timeout_s, watch=watch)
            )
        except ON_PURPOSE as error:  # there is no address or key for this profile
            ends.update({job.job_id: SettlementResult(job, error) for job in part})

    async with asyncio.TaskGroup() as tasks:
        for part in profiles.values():
            tasks.create_task(settle_profile(part))
    return ends


async def _select_own_server(
    session: Session, jobs: Iterable[Job], ends: dict[str, SettlementResult]
) -> list[Job]:
    """Return the `jobs` of the server in use; the others end unchanged, with advice on what to set."""
    here = []
    for job in jobs:
        try:
            if _continues(job):
                await session.check_server(job)
        except WrongServer as elsewhere:
            ends[job.job_id] = SettlementResult(job, elsewhere)
        else:
            here.append(job)
    return here


def _continues(job: Job) -> bool:
    return job.state in HAS_VIDEO and job.outcome is None


class Sweep:
    """The running jobs, by video id, and the results of the others."""

    def __init__(  # the parts of a sweep
        self,
        session: Session,
        client: "VideosClient",
        finishing: asyncio.TaskGroup,
        ends: dict[str, SettlementResult],
        *,
        watch: Watch,
    ) -> None:
        self._session = session
        self._client = client
        self._finishing = finishing
        self._ends = ends
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._watch = watch
        self._running: dict[str, Job] = {}
        self.all_in = asyncio.Event()
        self._observer = Observer(session, client, self._slots)

    def begin(self, jobs: Iterable[Job]) -> None:
        """Add `jobs`; those that no longer run are finished immediately."""
        for job in jobs:
            self._ends[job.job_id] = SettlementResult(job)
            if _continues(job):
                self._advance(job)

    async def take_in_all(self, coming: AsyncIterable[Job]) -> None:
        """Add the jobs that arrive, until there are no more."""
        async for job in coming:
            self.begin(await _select_own_server(self._session, [job], self._ends))
        self.all_in.set()

    async def rounds(self, interval_s: float, timeout_s: float, clock: Clock) -> None:
        """Observe until no job is running or the time is up; jobs still running then end with a timeout."""
        deadline = math.inf
        trouble: ServerTrouble | None = None
        failures = 0
        while self._running or not self.all_in.is_set():
            if self.all_in.is_set():
                deadline = min(deadline, clock.now() + timeout_s)
            try:
                pace = await self._round(interval_s, deadline - clock.now())
            except TimeoutError:
                break
            except ServerTrouble as passing:
                trouble, failures = passing, failures + 1
                pace = pace_after_trouble(passing, failures, interval_s, clock.jitter())
            else:
                trouble, failures = None, 0
            left_s = deadline - clock.now()
            if left_s <= 0 or (pace.demanded and pace.pause_s > left_s):
                break
            if self._running or not self.all_in.is_set():
                await self._pause(min(pace.pause_s, left_s), clock)
        for video_id, job in self._running.items():
            self._end(job, _make_timeout(video_id, job, timeout_s, trouble))

    async def _pause(self, seconds: float, clock: Clock) -> None:
        """Wait for the next round, which is due immediately when the last job has arrived."""
        if self.all_in.is_set():
            await clock.sleep(seconds)
            return
        waiting = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(self.all_in.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _round(self, interval_s: float, left_s: float) -> Pace:
        """Observe every running job once, process what changed, and return when to observe again."""
        due = list(self._running.values())  # later arrivals wait for the next round
        paces, passing = [], None
        observed = await self._observer.observe(due, max(left_s, SHORTEST_POLL_S))
        for job, source, observation, error in observed:
            before = self._running[str(job.video_id)]
            if isinstance(error, ServerTrouble):
                passing = error
                continue
            if error is not None or job.state is not State.RUNNING:
                del self._running[str(job.video_id)]
            if error is not None:
                self._end(job, error)
            elif job is not before:
                self._advance(job)
            if observation is not None and source == "poll" and not observation.is_final:
                paces.append(pace_after_look(observation, interval_s))
        if passing is not None:
            raise passing
        return min(paces, key=lambda pace: pace.pause_s, default=Pace(interval_s))

    def _advance(self, job: Job) -> None:
        self._ends[job.job_id] = SettlementResult(job)
        self._watch(job)
        if job.state is State.RUNNING and job.video_id is not None:
            self._running[job.video_id] = job
        else:
            self._finishing.create_task(self._finish(job))

    async def _finish(self, job: Job) -> None:
        async with self._slots:
            try:
                ended = await finish(self._session, self._client, job)
            except ON_PURPOSE as error:
                self._end(await self._session.job(job.job_id), error)
            else:
                self._end(ended)

    def _end(self, job: Job, error: Exception | None = None) -> None:
        self._ends[job.job_id] = SettlementResult(job, error)
        self._watch(job)


def _make_timeout(video_id: str, job: Job, timeout_s: float, trouble: ServerTrouble | None) -> PollTimeout:
    last = Observation(video_id=video_id, status=job.status, progress=job.progress) if job.status else None
    return make_timeout(video_id, timeout_s, last, trouble)
