"""The outbox of a process: read the announcements from the log, and deliver each until it is accepted.

1. Read the records after the cursor, and add a delivery for each endpoint to notify, moving the cursor in the
   same transaction. A crash before that leaves the cursor unchanged.
2. Claim due deliveries for one attempt each, and post them, a few per endpoint at a time. A crash leaves a
   lease that expires, and the delivery is repeated under the same id.
3. Record the final outcome: ``notification.sent``, or after 72 hours ``notification.failed``; then delete the
   delivery, or keep it as a dead letter. A crash in between repeats the delivery; the record is made once.

Any number of processes may do this for one ledger. Bodies are built from the records, so every attempt sends
the same, except for time and signature.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import sample, uniform
from typing import Any

from ledger.errors import EventIdConflict, LedgerError
from ledger.events import NotificationFailed, NotificationSent
from ledger.record import Authority, Record, draft
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY
from ledger.store.outbox import Delivery, NewDelivery
from render_service.notifications.announcements import (
    APPROVAL_REQUESTED,
    RECORD_TYPES,
    Announcement,
    Audience,
    announcement_of,
    is_pending,
)
from render_service.notifications.endpoints import Endpoint, Endpoints, EndpointState
from render_service.notifications.post import Answer, Letter, Post
from render_service.session.clock_steps import ClockSteps, is_behind
from render_service.session.event_ids import delivery_id, sent_id
from render_service.session.session import Session
from sora_adapter.serving.signatures import sign_headers

IDLE_S = 0.5
UNUSABLE_S = 5.0
LEASE_MS = 30_000
"""Longer than an attempt and the recording of its outcome take."""

AT_ONCE_OF_ONE = 4
AT_ONCE = 200
POSITIONS_TOGETHER = 10_000
FINISHING_S = 5.0

FIRST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 4 * 3600 * 1000
GIVE_UP_MS = 72 * 3600 * 1000


def wait_ms(age_ms: int) -> int | None:
    """Return how long to wait before the next attempt, for a delivery of this age; None to give it up.

    The wait is about as long as the age, so that attempts come after 1, 2, 4, 8 … seconds, and later every
    four hours.
    """
    wait = round(min(max(age_ms, FIRST_WAIT_MS), LONGEST_WAIT_MS) * uniform(0.9, 1.1))
    return None if age_ms + wait > GIVE_UP_MS else wait


def letter_to(session: Session, endpoint: Endpoint, identifier: str, body: bytes) -> Letter:
    """Return an event as a signed letter to an endpoint, which must not be erased."""
    now = session.clock()
    signature = sign_headers(identifier, int(now.timestamp()), body, endpoint.list_signing_secrets(now))
    headers = {"content-type": "application/json", "user-agent": "sora-ledger", **signature}
    return Letter(str(endpoint.url.text), headers, body)


@dataclass(frozen=True)
class DueDelivery:
    """A claimed delivery with its content and receiver."""

    delivery: Delivery
    endpoint: Endpoint
    announcement: Announcement

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that both outcomes record."""
        return {
            "endpoint_id": self.endpoint.endpoint_id,
            "delivery_id": self.delivery.delivery_id,
            "webhook_event_id": self.announcement.event_id,
            "webhook_type": self.announcement.event_type,
            "job_id": self.announcement.job.job_id,
            "attempts": self.delivery.attempts,
        }


class DeliveryTasks:
    """Running deliveries, each in a separate task, at most `at_once` per receiver.

    `not_settled` is called with the reason if an outcome was not stored: the lease expires, and it is resent.
    """

    def __init__(
        self,
        at_once: int,
        deliver: Callable[[Delivery], Coroutine[Any, Any, None]],
        not_settled: Callable[[str], None],
    ) -> None:
        self._at_once, self._deliver, self._not_settled = at_once, deliver, not_settled
        self._tasks: dict[asyncio.Task[None], str] = {}

    def __len__(self) -> int:
        """Return the number of running deliveries."""
        return len(self._tasks)

    def room(self, receivers: Iterable[str]) -> dict[str, int]:
        """Return how many more may start, by receiver; receivers at their limit are left out."""
        busy = Counter(self._tasks.values())
        return {name: self._at_once - busy[name] for name in receivers if busy[name] < self._at_once}

    def full(self) -> list[asyncio.Task[None]]:
        """Return the tasks one of which must end before some receiver gets more; none if all have room."""
        is_full = any(number >= self._at_once for number in Counter(self._tasks.values()).values())
        return list(self._tasks) if is_full else []

    def start(self, deliveries: Iterable[Delivery]) -> None:
        """Start claimed deliveries."""
        for delivery in deliveries:
            task = asyncio.create_task(self._deliver(delivery))
            self._tasks[task] = delivery.endpoint_id
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._not_settled(str(error))

    async def finish(self, wait_s: float) -> None:
        """Wait for the running ones, and cancel those that take too long."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=wait_s)
        for task in list(self._tasks):
            task.cancel()


class Notifier:
    """Announces and delivers in a session, until it is stopped; for one event loop."""

    def __init__(self, session: Session, post: Post, *, idle_s: float = IDLE_S) -> None:
        self._session, self._post, self._idle_s = session, post, idle_s
        self._ledger, self._rows = session.ledger, session.ledger.store.outbox
        self.endpoints = Endpoints(session.ledger)
        self._audience = Audience(session)
        self._forgotten: set[str] = set()
        self._under_way = DeliveryTasks(
            AT_ONCE_OF_ONE,
            self._deliver,
            lambda because: session.log.warning("notification.not_settled", because=because),
        )
        self._steps = ClockSteps(session.clock)
        self._is_behind: bool | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then finish running deliveries, for a limited time."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                pause_s = await self._round()
                waiting = {stopping, *self._under_way.full()}
                await asyncio.wait(waiting, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await self._under_way.finish(FINISHING_S)

    async def _round(self) -> float:
        """Announce, and start due deliveries; return the seconds until the next time."""
        try:
            await self._bring_forward()
            endpoints = await asyncio.to_thread(self._announce)
            if endpoints:
                await self.endpoints.erase_old_secrets(self._session)
                await self._start_due(endpoints)
        except LedgerError as error:
            self._session.log.warning("notifications.waiting", because=str(error))
            return UNUSABLE_S
        return self._idle_s

    async def _bring_forward(self) -> None:
        """Bring forward times that are too late because the clock was set back, before the start or since."""
        if self._is_behind is None:
            self._is_behind = await asyncio.to_thread(is_behind, self._ledger, self._session.clock)
        if self._is_behind or self._steps.was_set_back():
            await asyncio.to_thread(self._rows.bring_forward, LEASE_MS)
            self._is_behind = False

    async def _start_due(self, endpoints: Sequence[Endpoint]) -> None:
        free = AT_ONCE - len(self._under_way)
        some = sample(endpoints, min(len(endpoints), free // AT_ONCE_OF_ONE))
        room = self._under_way.room(endpoint.endpoint_id for endpoint in some)
        if room:
            self._under_way.start(await asyncio.to_thread(self._rows.claim, room, LEASE_MS))

    # --- announcing, in a thread ---

    def _announce(self) -> list[Endpoint]:
        """Add deliveries for the records since the cursor; return the endpoints."""
        self.endpoints.renew()
        if gone := self.endpoints.deleted - self._forgotten:
            self._rows.forget(gone)
            self._forgotten |= gone
        endpoints = list(self.endpoints.by_id.values())
        if not endpoints:
            return []
        self._audience.renew()
        size = self._ledger.head().size
        cursor = self._rows.cursor()
        read_to = min(endpoint.position for endpoint in endpoints) if cursor is None else cursor
        while read_to < size:
            moved_to = min(read_to + POSITIONS_TOGETHER, size)
            new = self._new_deliveries(read_to, moved_to, endpoints)
            if cursor is None:
                new = self._not_settled(new)
            if not self._rows.add(cursor, moved_to, new):
                break  # another process has read this part
            cursor = read_to = moved_to
        return endpoints

    def _new_deliveries(self, after: int, up_to: int, endpoints: Sequence[Endpoint]) -> list[NewDelivery]:
        active = [endpoint for endpoint in endpoints if endpoint.state is EndpointState.ACTIVE]
        new = []
        for record in self._find_announced(after, up_to):
            announcement = announcement_of(self._ledger, record)
            if announcement is None or _is_answered(announcement):
                continue
            receivers = self._audience.select(
                announcement, [endpoint for endpoint in active if endpoint.position < record.position]
            )
            for endpoint in receivers:
                name = delivery_id(endpoint.endpoint_id, record.event_id)
                new.append(NewDelivery(name, endpoint.endpoint_id, record.position))
        return new

    def _find_announced(self, after: int, up_to: int) -> list[Record]:
        records = []
        for type_ in RECORD_TYPES:
            for record in self._ledger.read(RecordFilter(type=type_), after=after):
                if record.position > up_to:
                    break
                records.append(record)
        return sorted(records, key=lambda record: record.position)

    def _not_settled(self, new: Sequence[NewDelivery]) -> list[NewDelivery]:
        """Skip what was sent before the outbox of this database began, as in a copy of the ledger."""
        sent = {entry.event.delivery_id for entry in self._ledger.entries(NotificationSent)}
        failed = {entry.event.delivery_id for entry in self._ledger.entries(NotificationFailed)}
        return [
            delivery._replace(is_dead=delivery.delivery_id in failed)
            for delivery in new
            if delivery.delivery_id not in sent
        ]

    # --- delivering ---

    async def _deliver(self, delivery: Delivery) -> None:
        due = await asyncio.to_thread(self._prepare, delivery)
        if due is None:
            return
        if cause := await asyncio.to_thread(self._obstacle, due):
            await self._give_up(due, NotificationFailed(**due.facts, cause=cause))
            return
        letter = letter_to(self._session, due.endpoint, delivery.delivery_id, due.announcement.body)
        with await self._session.span_of("notify", due.announcement.job, "client") as span:
            answer = await self._post(letter)
            span.label(outcome="accepted" if answer.is_accepted else "not_accepted")
            span.note(
                {
                    "http.request.method": "POST",
                    "http.response.status_code": answer.http_status,
                    "sora_ledger.attempts": delivery.attempts,
                    "sora_ledger.delivery_id": delivery.delivery_id,
                    "sora_ledger.job_id": due.announcement.job.job_id,
                    "sora_ledger.webhook_type": due.announcement.event_type,
                }
            )
            if not answer.is_accepted:
                span.fail(answer.lost or str(answer.http_status))
        # A crash here leaves an accepted delivery still leased: it is repeated under the same id.
        if answer.http_status is not None and answer.is_accepted:
            await self._record_sent(due, answer.http_status)
        else:
            await self._retry(due, answer)

    def _prepare(self, delivery: Delivery) -> DueDelivery | None:
        self.endpoints.renew()
        endpoint = self.endpoints.by_id.get(delivery.endpoint_id)
        record = next(self._ledger.read(after=delivery.position - 1, limit=1), None)
        announcement = announcement_of(self._ledger, record) if record else None
        if endpoint is None or announcement is None:  # it was deleted in the meantime
            self._rows.finish(delivery)
            return None
        return DueDelivery(delivery, endpoint, announcement)

    def _obstacle(self, due: DueDelivery) -> Any:
        """Return why delivery is permanently impossible; None if it is not."""
        if due.endpoint.state is EndpointState.ERASED:
            return "erased"
        self._audience.renew()
        return None if self._audience.permits(due.announcement, due.endpoint) else "not_permitted"

    async def _record_sent(self, due: DueDelivery, http_status: int) -> None:
        event = NotificationSent(**due.facts, http_status=http_status)
        with suppress(EventIdConflict):  # it was accepted earlier, and recorded
            await self._record(due, event, sent_id(due.delivery.delivery_id))
        await asyncio.to_thread(self._rows.finish, due.delivery)

    async def _retry(self, due: DueDelivery, answer: Answer) -> None:
        wait = wait_ms(due.delivery.age_ms)
        if wait is None:
            failed = NotificationFailed(**due.facts, cause="not_accepted", http_status=answer.http_status)
            await self._give_up(due, failed)
            return
        self._session.log.info(
            "notification.not_accepted",
            delivery_id=due.delivery.delivery_id,
            http_status=answer.http_status,
            lost=answer.lost,
            again_in_s=round(wait / 1000),
        )
        await asyncio.to_thread(self._rows.retry, due.delivery, wait, answer.http_status)

    async def _give_up(self, due: DueDelivery, event: NotificationFailed) -> None:
        await self._record(due, event, None)
        await asyncio.to_thread(self._rows.give_up, due.delivery, event.http_status)

    async def _record(
        self, due: DueDelivery, event: NotificationSent | NotificationFailed, event_id: str | None
    ) -> None:
        who = replace(self._session.provenance, authority=Authority.SYSTEM)
        cause = due.announcement.caused_by
        made = draft(event, who, self._session.clock(), event_id=event_id, causation_id=cause)
        await self._session.append(due.endpoint.endpoint_id, ANY, [made])


def _is_answered(announcement: Announcement) -> bool:
    """Return whether a requested approval is no longer needed."""
    return announcement.event_type == APPROVAL_REQUESTED and not is_pending(announcement.job)
