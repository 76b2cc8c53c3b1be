"""The leases a worker holds: taken, kept alive, given back. What it says about their jobs carries the fence.

A lease that was lost stays in hand until the work on its job has ended, so that whatever that work still
tries to record is refused.
"""

import asyncio

from ledger.errors import StaleFence
from ledger.store.interface import Fence, Lease
from render_service.runtime.send_deadline import elapsing
from render_service.session.session import Session

RENEWALS = 3
"""How often a lease is renewed while it lasts."""

AGAIN_MS = 1_000


class Leases:
    """The leases of one worker, `holder`, each for `lease_s` seconds of the store's clock."""

    def __init__(self, session: Session, holder: str, lease_s: float) -> None:
        self.holder = holder
        self._session = session
        self._queue = session.ledger.store.queue
        self._lease_s = lease_s
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    async def take(self, limit: int) -> list[str]:
        """Claim up to `limit` due jobs and return their ids."""
        lease_ms = round(self._lease_s * 1000)
        until = elapsing() + self._lease_s
        leases = await asyncio.to_thread(self._queue.claim, self.holder, lease_ms, limit)
        taken = []
        for lease in leases:
            if lease.job_id in self._leases:  # it was lost, and the work done under it has not ended
                await asyncio.to_thread(self._queue.release, lease, AGAIN_MS)
                continue
            self._leases[lease.job_id] = lease
            self._session.fences[lease.job_id] = Fence(lease.job_id, lease.token)
            self._session.held_until[lease.job_id] = until
            taken.append(lease.job_id)
        return taken

    async def put(self, job_id: str, delay_s: float | None) -> None:
        """Give a job back, due after `delay_s` seconds, or done for good with None."""
        if lease := self._leases.get(job_id):
            await self._release(lease, None if delay_s is None else round(delay_s * 1000))
            self._leases.pop(job_id, None)
            self._session.fences.pop(job_id, None)
            self._session.held_until.pop(job_id, None)

    async def put_all(self) -> None:
        """Give back whatever is in hand, due at once; what still works on it can record nothing more."""
        await asyncio.gather(*(self._release(lease, 0) for lease in self._leases.values()))
        self._leases.clear()

    async def _release(self, lease: Lease, delay_ms: int | None) -> None:
        try:
            await asyncio.to_thread(self._queue.release, lease, delay_ms)
        except StaleFence:
            self._session.log.warning("lease.lost", job_id=lease.job_id, fence=lease.token)

    async def keep(self) -> None:
        """Renew the leases for as long as this runs."""
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS)
            if self._leases:
                until, lease_ms = elapsing() + self._lease_s, round(self._lease_s * 1000)
                kept = await asyncio.to_thread(self._queue.keep, self.holder, lease_ms)
                in_hand = (lease.job_id for lease in kept if lease.job_id in self._leases)
                self._session.held_until.update(dict.fromkeys(in_hand, until))
