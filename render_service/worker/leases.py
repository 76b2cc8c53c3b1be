"""A worker's preconditions: its options, the lease on a job, and a slot under its server's limit.

A lost lease stays registered until the work on its job has ended, so that anything this work still tries to
record is refused.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import random
from typing import Any

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.interface import Fence
from ledger.store.queue import SLOT_WAIT_MS, Lease, Limit, Release, WorkQueue
from render_service.recovery.attempts import GRACE_S
from render_service.runtime.coalesce import Coalescer
from render_service.runtime.errors import BadInput
from render_service.session.session import Session
from render_service.submission.retry import elapsing

MOST_AT_ONCE = 1_000
_LIMIT = re.compile(r"(?P<model>[^=\s]+)=(?P<number>[1-9][0-9]{0,5})")


@dataclass(frozen=True)
class WorkerOptions:
    """The options of a worker; `drain` ends it once no job is due, waiting or leased.

    `at_once` limits the jobs in hand; running ones are polled every `interval_s`. A lease lasts `lease_s` and
    is renewed three times in that time. If no job is due, the queue is read again after `idle_s`. An
    interrupted attempt is searched for after `grace_s`.
    """

    at_once: int = 100
    interval_s: float = 10.0
    lease_s: float = 60.0
    idle_s: float = 1.0
    grace_s: float = GRACE_S
    drain: bool = False
    per_minute: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)

    def limit_of(self, job: Job) -> Limit:
        """Return the limit that all workers share for jobs of this kind: one model at one server."""
        model = job.model or ""
        return Limit(f"{job.profile}/{model}", self.per_minute.get(model), self.running.get(model))

    def next_look_s(self, now_s: float) -> float:
        """Return the seconds until running jobs are next polled: a half to one and a half intervals.

        All of them get the same moment, so that one list shows many.
        """
        ahead_s = self.interval_s - now_s % self.interval_s
        return ahead_s if ahead_s > self.interval_s / 2 else ahead_s + self.interval_s


def read_limits(flag: str, options: Iterable[str]) -> dict[str, int]:
    """Read ``MODEL=N`` limits; `BadInput` names an invalid one."""
    limits: dict[str, int] = {}
    for text in options:
        match = _LIMIT.fullmatch(text)
        if match is None:
            raise BadInput(
                f"{flag} {text}: expected MODEL=N with N from 1 to 999999, such as {flag} sora-2=5",
                param=flag,
                expected=f"MODEL=N with N from 1 to 999999, such as {flag} sora-2=5",
                found=text,
            )
        limits[match["model"]] = int(match["number"])
    return limits


RENEWALS = 3
"""Renewals during the term of a lease."""


AGAIN_MS = 1_000


class Leases:
    """The leases of one worker, `holder`, each for `lease_s` seconds of the store's clock.

    They are claimed, renewed and released. Records about the leased jobs carry the fence.
    """

    def __init__(self, session: Session, holder: str, lease_s: float) -> None:
        self.holder = holder
        self._session = session
        self._queue = session.ledger.store.queue
        self._lease_s = lease_s
        self._leases: dict[str, Lease] = {}
        self._releases: Coalescer[Release, None] = Coalescer(self._release_all)

    def __len__(self) -> int:
        return len(self._leases)

    async def take(self, limit: int) -> list[str]:
        """Claim up to `limit` due jobs and return their ids."""
        lease_ms = round(self._lease_s * 1000)
        until = elapsing() + self._lease_s
        leases = await asyncio.to_thread(self._queue.claim, self.holder, lease_ms, limit)
        taken = []
        for lease in leases:
            if lease.job_id in self._leases:  # it was lost, but the work under it has not ended
                await self._release(lease, AGAIN_MS)
                continue
            self._leases[lease.job_id] = lease
            self._session.fences[lease.job_id] = Fence(lease.job_id, lease.token)
            self._session.held_until[lease.job_id] = until
            taken.append(lease.job_id)
        return taken

    async def put(self, job_id: str, delay_s: float | None) -> None:
        """Release a job, due after `delay_s` seconds, or not scheduled again with None."""
        if lease := self._leases.get(job_id):
            await self._release(lease, None if delay_s is None else round(delay_s * 1000))
            self._leases.pop(job_id, None)
            self._session.fences.pop(job_id, None)
            self._session.held_until.pop(job_id, None)

    async def put_all(self) -> None:
        """Release all jobs, due immediately; work still running on them can no longer record anything."""
        await asyncio.gather(*(self._release(lease, 0) for lease in self._leases.values()))
        self._leases.clear()

    async def _release(self, lease: Lease, delay_ms: int | None) -> None:
        await self._releases.do(Release(lease, delay_ms))

    async def _release_all(self, releases: Sequence[Release]) -> Sequence[None]:
        """Release leases in one transaction: a hundred renders are polled together, and wait for one disk."""
        for lease in await asyncio.to_thread(self._queue.release_all, releases):
            self._session.log.warning("lease.lost", job_id=lease.job_id, fence=lease.token)
        return [None] * len(releases)

    async def keep(self) -> None:
        """Renew the leases for as long as this runs."""
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS)
            if self._leases:
                until, lease_ms = elapsing() + self._lease_s, round(self._lease_s * 1000)
                renewed = await asyncio.to_thread(self._queue.keep, self.holder, lease_ms)
                in_hand = (lease.job_id for lease in renewed if lease.job_id in self._leases)
                self._session.held_until.update(dict.fromkeys(in_hand, until))


LONGEST_PAUSE_S = 60.0


PROBES_PER_MINUTE = 60


_MOST_DOUBLINGS = 5


class Capacity:
    """Slots and turns at a server; pauses apply to all workers.

    If one worker is refused, all of them slow down, through the store. Pauses double while a server keeps
    refusing, to a minute at most, and are shortened by up to half at random, so that workers do not all
    return at the same time. A server's retry time is obeyed. Until it accepts a request again, it gets at
    most one request a second, however many jobs wait.

    Waiting jobs form a queue and wait as long as the turns before them take, so that they are not all retried
    every second.
    """

    def __init__(
        self,
        queue: WorkQueue,
        now: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._queue = queue
        self._now = now
        self._jitter = jitter
        self._strikes: dict[str, int] = {}
        self._paused_until: dict[str, float] = {}
        self._opens: dict[str, float] = {}
        self._line_ends: dict[str, float] = {}
        self._acquiring: dict[Limit, Coalescer[str, int]] = {}
        self._freeing: Coalescer[str, None] = Coalescer(self._free_all)

    async def turn(self, job_id: str, limit: Limit) -> float:
        """Take a turn for a job: 0.0, or the seconds after which to try again."""
        if limit.name in self._strikes:
            limit = limit._replace(per_minute=min(limit.per_minute or PROBES_PER_MINUTE, PROBES_PER_MINUTE))
        if self._now() >= self._opens.get(limit.name, 0.0):
            wait_ms = await self._ask(job_id, limit)
            if wait_ms == 0:
                return 0.0
            self._opens[limit.name] = self._now() + wait_ms / 1000
        return self._place_in_line(limit)

    def _place_in_line(self, limit: Limit) -> float:
        """Return the seconds until a caller's turn, or in a long queue, until the next attempt."""
        now, name = self._now(), limit.name
        step_s = (limit.interval_ms or SLOT_WAIT_MS / (limit.running or 1)) / 1000
        opens, next_place = self._opens[name], self._line_ends.get(name, 0.0) + step_s
        self._line_ends[name] = max(opens, min(next_place, now + LONGEST_PAUSE_S))
        return (self._line_ends[name] - now) * (1 + self._jitter() / 4)

    async def refused(self, job_id: str, limit: Limit, wait_s: float) -> float:
        """Slow all workers down: the server accepts nothing for `wait_s`; return the length of the pause.

        Refusals of requests that were under way together count as one.
        """
        name, now = limit.name, self._now()
        if now >= self._paused_until.get(name, now):
            self._strikes[name] = self._strikes.get(name, -1) + 1
        doublings = min(self._strikes.get(name, 0), _MOST_DOUBLINGS)
        pause_s: float = max(wait_s, min(wait_s * 2**doublings, LONGEST_PAUSE_S) * (1 - self._jitter() / 2))
        self._paused_until[name] = now + pause_s
        await asyncio.to_thread(self._queue.back_off, name, round(pause_s * 1000))
        await self.free(job_id)
        return pause_s

    def accepted(self, limit: Limit) -> None:
        """Reset the refusals: the server accepts requests again."""
        self._strikes.pop(limit.name, None)

    async def _ask(self, job_id: str, limit: Limit) -> int:
        """Ask the store for a turn; without numbers, one question answers for all jobs that ask meanwhile."""
        if limit.per_minute or limit.running:
            return await asyncio.to_thread(self._queue.acquire_slot, job_id, limit)

        async def ask_once(job_ids: Sequence[str]) -> list[int]:
            wait_ms = await asyncio.to_thread(self._queue.acquire_slot, job_ids[0], limit)
            return [wait_ms] * len(job_ids)

        return await self._acquiring.setdefault(limit, Coalescer(ask_once)).do(job_id)

    async def free(self, job_id: str) -> None:
        """Release the slot of a job that does not run, or no longer runs."""
        await self._freeing.do(job_id)

    async def _free_all(self, job_ids: Sequence[str]) -> Sequence[None]:
        """Release slots in one transaction."""
        await asyncio.to_thread(self._queue.release_slots, job_ids)
        return [None] * len(job_ids)


def queue_document(ledger: Ledger) -> dict[str, Any]:
    """Return depth, age and lease owners; times are Unix milliseconds of the store's clock."""
    depth = ledger.store.queue.depth()
    return {
        "due": depth.due,
        "oldest_due_s": depth.overdue_ms / 1000,
        "waiting": depth.waiting,
        "leased": depth.leased,
        "leases": [lease._asdict() for lease in ledger.store.queue.leases()],
    }
