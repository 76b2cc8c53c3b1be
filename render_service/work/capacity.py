"""Servers at capacity: one worker is told, and through the store all of them slow down.

Pauses double while a server goes on refusing, to a minute at most, and are up to a half shorter by chance, so
that workers do not come back all at once. A server that says when to come back is obeyed.
"""

import asyncio
import time
from collections.abc import Callable
from random import random

from ledger.store.interface import Limit, Store

LONGEST_PAUSE_S = 60.0
_MOST_DOUBLINGS = 5


class Capacity:
    """What the server can take, as far as this worker was told; the pauses are everybody's."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._store = store
        self._now = now
        self._jitter = jitter
        self._strikes: dict[str, int] = {}
        self._paused_until: dict[str, float] = {}

    async def turn(self, job_id: str, limit: Limit) -> float:
        """Take a turn for a job: 0.0, or the seconds after which to ask again."""
        wait_ms = await asyncio.to_thread(self._store.take_turn, job_id, limit)
        return wait_ms / 1000 * (1 + self._jitter() / 4) if wait_ms else 0.0

    async def refused(self, job_id: str, limit: Limit, wait_s: float) -> float:
        """Slow everybody down: the server wants nothing for `wait_s`; returns for how long nobody asks.

        Requests that were under way together count as one refusal.
        """
        name, now = limit.name, self._now()
        if now >= self._paused_until.get(name, now):
            self._strikes[name] = self._strikes.get(name, -1) + 1
        doublings = min(self._strikes.get(name, 0), _MOST_DOUBLINGS)
        pause_s: float = max(wait_s, min(wait_s * 2**doublings, LONGEST_PAUSE_S) * (1 - self._jitter() / 2))
        self._paused_until[name] = now + pause_s
        await asyncio.to_thread(self._store.hold_back, name, round(pause_s * 1000))
        await self.free(job_id)
        return pause_s

    def accepted(self, limit: Limit) -> None:
        """Forget the refusals: the server takes requests again."""
        self._strikes.pop(limit.name, None)

    async def free(self, job_id: str) -> None:
        """Give back the slot of a job that does not run, or no longer."""
        await asyncio.to_thread(self._store.give_back, [job_id])
