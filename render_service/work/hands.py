"""The leases a worker holds: taken, kept alive, given back. What it says about their jobs carries the fence.

A lease that was lost stays in hand until the work on its job has ended, so that whatever that work still
tries to record is refused.
"""

import asyncio

from ledger.errors import StaleFence
from ledger.store.interface import Fence, Lease
from render_service.desk import Desk

RENEWALS = 3
"""How often a lease is renewed while it lasts."""


class Hands:
    """The leases of one worker, `holder`, each for `lease_s` seconds of the store's clock."""

    def __init__(self, desk: Desk, holder: str, lease_s: float) -> None:
        self.holder = holder
        self._desk = desk
        self._store = desk.ledger.store
        self._lease_s = lease_s
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    async def take(self, limit: int) -> list[str]:
        """Claim up to `limit` due jobs and return their ids."""
        lease_ms = round(self._lease_s * 1000)
        leases = await asyncio.to_thread(self._store.claim, self.holder, lease_ms, limit)
        for lease in leases:
            self._leases[lease.job_id] = lease
            self._desk.fences[lease.job_id] = Fence(lease.job_id, lease.token)
        return [lease.job_id for lease in leases]

    async def put(self, job_id: str, delay_s: float | None) -> None:
        """Give a job back, due after `delay_s` seconds, or done for good with None."""
        lease = self._leases.get(job_id)
        if lease is None:
            return
        delay_ms = None if delay_s is None else round(delay_s * 1000)
        try:
            await asyncio.to_thread(self._store.release, lease, delay_ms)
        except StaleFence:
            self._desk.log.warning("lease.lost", job_id=job_id, fence=lease.token)
        self._leases.pop(job_id, None)
        self._desk.fences.pop(job_id, None)

    async def put_all(self) -> None:
        """Give back whatever is in hand, due at once."""
        await asyncio.gather(*(self.put(job_id, 0.0) for job_id in list(self._leases)))

    async def keep(self) -> None:
        """Renew the leases for as long as this runs."""
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS)
            if self._leases:
                lease_ms = round(self._lease_s * 1000)
                await asyncio.to_thread(self._store.keep, self.holder, lease_ms)
