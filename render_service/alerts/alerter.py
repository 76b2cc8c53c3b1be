"""Tells people what happened: each occasion once per target, by whichever process is first.

1. Read the records after the cursor of the alerts, and add an alert for each target that is to be told,
   moving the cursor in the same transaction. A new installation begins at the end of the log.
2. Look for what no record says: outcomes that stay unknown, and budgets that run out. The id of an alert
   follows from target and occasion, so it is added once, also after a restart.
3. Claim due alerts, each for one attempt, and send them. A crash leaves a lease that ends; the alert is then
   sent again, so a person may be told twice.
4. Delete the delivery, or after 72 hours keep it as a dead letter. What the alert said stays, as the memory
   that this occasion was announced.

Any number of processes may do this for one ledger, with the same file.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any, Self

from ledger.errors import LedgerError
from ledger.store.filters import RecordFilter
from ledger.store.outbox import Delivery, NewDelivery
from render_service.alerts.channels import channel_to
from render_service.alerts.occasions import (
    RECORD_TYPES,
    Notice,
    budget_notices,
    finding_notices,
    notice_of,
    unknown_notices,
)
from render_service.alerts.targets import Targets
from render_service.notifications.outbox import LEASE_MS, UNUSABLE_S, wait_ms
from render_service.recovery.findings import Finding
from render_service.rules.budgets import KnownLimits, standing
from render_service.session.event_ids import delivery_id
from render_service.session.session import Session

CURSOR = "alerts"
IDLE_S = 1.0
LOOK_S = 15.0
"""How often budgets and unknown outcomes are looked at, if something was recorded; see `UNKNOWN_S`."""

UNKNOWN_S = 60.0
AT_ONCE_OF_ONE = 2
FINISHING_S = 12.0
POSITIONS_TOGETHER = 10_000


class Alerter:
    """Announces and sends in a session; an async context manager that checks the targets, and closes them."""

    def __init__(self, session: Session, targets: Targets) -> None:
        self._session, self._targets = session, targets
        self._ledger, self._rows = session.ledger, session.ledger.store.outbox
        self._channels = {each.endpoint_id: channel_to(session, each) for each in targets.each}
        self._limits = KnownLimits(session.ledger)
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._closing = AsyncExitStack()
        self._put: set[str] = set()
        self._looked_at: float | None = None
        self._looked_to = -1

    async def __aenter__(self) -> Self:
        """Raise `BadInput` if nothing may be sent to one of the targets."""
        async with AsyncExitStack() as stack:
            for channel in self._channels.values():
                stack.push_async_callback(channel.close)
                await channel.check()
            self._closing = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def run(self, stop: asyncio.Event) -> None:
        """Announce and send until `stop` is set; then what was recorded before, for a limited time."""
        while not stop.is_set():
            pause_s = IDLE_S
            try:
                await self._round()
            except LedgerError as error:
                self._session.log.warning("alerts.waiting", because=str(error))
                pause_s = UNUSABLE_S
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
        with suppress(LedgerError):
            await self.once()

    async def once(self, findings: Sequence[Finding] = ()) -> None:
        """Announce what there is, with the findings of an audit, and make one attempt for what is due."""
        if findings:
            await asyncio.to_thread(self._announce_all, list(finding_notices(findings)))
        await self._round()
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=FINISHING_S)
        for task in list(self._under_way):
            task.cancel()

    async def _round(self) -> None:
        await asyncio.to_thread(self._announce)
        under_way = Counter(self._under_way.values())
        room = {name: AT_ONCE_OF_ONE - under_way[name] for name in self._channels}
        room = {name: free for name, free in room.items() if free > 0}
        for delivery in await asyncio.to_thread(self._rows.claim, room, LEASE_MS):
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way[task] = delivery.endpoint_id
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The lease ends, and the alert is sent again.
            self._session.log.warning("alert.not_settled", because=str(error))

    # --- announcing, in a thread ---

    def _announce(self) -> None:
        size = self._ledger.head().size
        self._read_log(size)
        now = time.monotonic()
        waited = LOOK_S if size != self._looked_to else UNKNOWN_S
        if self._looked_at is None or now - self._looked_at >= waited:
            self._looked_at, self._looked_to = now, size
            moment = self._session.clock()
            after = timedelta(minutes=self._targets.unknown_after_minutes)
            notices = list(unknown_notices(self._ledger, moment, after))
            notices += budget_notices(standing(self._ledger, moment, known=self._limits.get()))
            self._announce_all(notices)

    def _read_log(self, size: int) -> None:
        """Add alerts about what was recorded since the cursor."""
        cursor = self._rows.cursor(CURSOR)
        if cursor is None:
            self._rows.add(None, size, [], CURSOR)
            return
        while cursor < size:
            moved_to = min(cursor + POSITIONS_TOGETHER, size)
            new = []
            for position, notice in self._noticed(cursor, moved_to):
                new += self._alerts([notice], position)
            if not self._rows.add(cursor, moved_to, new, CURSOR):
                return  # another process has read this part
            cursor = moved_to

    def _noticed(self, after: int, up_to: int) -> Iterable[tuple[int, Notice]]:
        noticed = []
        for type_ in RECORD_TYPES:
            for record in self._ledger.read(RecordFilter(type=type_), after=after):
                if record.position > up_to:
                    break
                if (notice := notice_of(self._ledger, record)) is not None:
                    noticed.append((record.position, notice))
        return sorted(noticed, key=lambda one: one[0])

    def _announce_all(self, notices: Sequence[Notice]) -> None:
        """Add alerts about what no record says, each once."""
        alerts = self._alerts(notices, self._ledger.head().size)
        if new := [alert for alert in alerts if alert.delivery_id not in self._put]:
            self._rows.put(new)
            self._put.update(delivery.delivery_id for delivery in new)

    def _alerts(self, notices: Sequence[Notice], position: int) -> list[NewDelivery]:
        return [
            NewDelivery(
                delivery_id(target.endpoint_id, f"{notice.occasion}\n{notice.key}"),
                target.endpoint_id,
                position,
                body=json.dumps(notice.document()),
            )
            for notice in notices
            for target in self._targets.each
            if target.wants(notice)
        ]

    # --- sending ---

    async def _deliver(self, delivery: Delivery) -> None:
        body = await asyncio.to_thread(self._rows.body, delivery.delivery_id)
        notice: dict[str, Any] = json.loads(body or "{}")
        outcome = await self._channels[delivery.endpoint_id].tell(delivery.delivery_id, notice)
        facts = {"target": delivery.endpoint_id, "delivery_id": delivery.delivery_id}
        # A crash here leaves an alert that was sent under its lease: it is sent again.
        if outcome.is_accepted:
            await asyncio.to_thread(self._rows.finish, delivery)
            self._session.log.info("alert.sent", **facts, occasion=notice.get("occasion"))
            return
        wait = None if outcome.is_final else wait_ms(delivery.age_ms)
        self._session.log.warning("alert.not_sent", **facts, because=outcome.because, is_final=wait is None)
        if wait is None:
            await asyncio.to_thread(self._rows.give_up, delivery, outcome.http_status)
        else:
            await asyncio.to_thread(self._rows.retry, delivery, wait, outcome.http_status)
