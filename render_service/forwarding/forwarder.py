"""Forwards the log to destinations: at least once, in order within each stream, resumable by position.

For each destination:

1. Take the turn at its reader: one process at a time forwards to it. A crash leaves a turn that expires after
   `LEASE_MS`, and the next process begins at the stored position.
2. Read records after the position, as long as fewer than `MOST_OPEN` are open: a slow destination slows the
   reading down, and the log itself is the buffer.
3. Send the records of each stream one by one, and different streams in parallel. A record is sent until it is
   accepted, or refused and made a dead letter.
4. Move the position to just before the first open record, and add the dead letters, in one transaction. A
   crash before it resends the records accepted since; the event ids are the same.

None of this is recorded in the log: that would produce more records to forward, without end.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import count
from random import uniform
from typing import Any, NamedTuple, Self

from ledger.errors import LedgerError
from ledger.job import JOB_PREFIX
from ledger.record import Record
from ledger.store.outbox import Delivery, NewDelivery, Turn
from render_service.forwarding.cloud_events import CloudEvent, cloud_event
from render_service.forwarding.destinations import Destination, Destinations
from render_service.forwarding.outlets import Meaning, Outlet, Reply, outlet_to
from render_service.notifications.outbox import wait_ms
from render_service.session.event_ids import delivery_id
from render_service.session.session import Session

LEASE_MS = 10_000
RENEWED_S = LEASE_MS / 3000
"""How often a turn is extended while the position does not move."""

WAITING_S = 1.0
IDLE_S = 0.25
BUSY_S = 0.02
MOVING_S = 0.25
"""How often the position is stored: after a crash, events accepted since are resent."""

UNUSABLE_S = 5.0
FINISHING_S = 5.0
AT_ONCE = 16
MOST_OPEN = 256
READ_AT_ONCE = 128
AGAIN_AT_ONCE = 4
AGAIN_LEASE_MS = 30_000

LOG_INTERVAL_S = 10.0
"""How often the log reports that a destination does not accept an event."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 15.0
TRIES_OF_ONE = 10
"""After this many failed attempts an event is refused, if others were accepted in the meantime."""

MOST_REFUSED = 20
"""After this many refusals in a row the destination is misconfigured, and everything waits."""


class Forwarded(NamedTuple):
    """The counts for one destination."""

    name: str
    sent: int
    refused: int
    position: int


class Forwarder:
    """Forwards a session's log to one destination, in turns with other processes."""

    def __init__(self, session: Session, destination: Destination, outlet: Outlet) -> None:
        self._session, self._to, self._outlet = session, destination, outlet
        self._ledger, self._rows = session.ledger, session.ledger.store.outbox
        self._ledger_id = ""
        self._free = asyncio.Semaphore(AT_ONCE)
        self._taken = self._refused = self._refused_in_a_row = 0
        self._position = 0
        self._says_waiting = True
        self._logged_at = -LOG_INTERVAL_S

    @property
    def forwarded(self) -> Forwarded:
        """The counts so far."""
        return Forwarded(self._to.name, self._taken, self._refused, self._position)

    async def run(self, stop: asyncio.Event, *, drains: bool = False) -> None:
        """Forward until `stop` is set; with `drains`, until all records so far were accepted."""
        while not stop.is_set():
            pause_s = WAITING_S
            try:
                turn = await asyncio.to_thread(self._begin)
                if turn is not None and await self._use(turn, stop, drains=drains):
                    return
            except LedgerError as error:
                self._session.log.warning("forward.waiting", destination=self._to.name, because=str(error))
                pause_s = UNUSABLE_S
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)

    def _begin(self) -> Turn | None:
        self._ledger_id = self._ledger.ledger_id
        first = self._ledger.head().size if self._to.begin == "now" else 0
        turn = self._rows.begin_turn(self._to.reader, first, LEASE_MS)
        if turn is None and self._says_waiting:
            self._says_waiting = False
            why = "another process forwards to this destination"
            self._session.log.info("forward.waiting", destination=self._to.name, because=why)
        return turn

    async def _use(self, turn: Turn, stop: asyncio.Event, *, drains: bool) -> bool:
        """Forward in a turn until it is lost or `stop` is set; return whether `drains` is satisfied."""
        self._says_waiting = True
        self._position = turn.position
        self._session.log.info("forward.begun", destination=self._to.name, position=turn.position)
        round_ = _Round(self, turn)
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if not await round_.settle():
                    self._session.log.warning("forward.turn_lost", destination=self._to.name)
                    return False
                is_behind = await round_.read()
                await round_.send_again()
                if drains and not is_behind and round_.is_idle:
                    return await round_.settle(at_once=True)
                if not is_behind:
                    await round_.wait(stopping)
        finally:
            stopping.cancel()
            await round_.end()
        return False

    # --- for a round ---

    def records(self, after: int) -> tuple[list[Record], int]:
        """Return the wanted ones among the next records, and the position of the last record read."""
        records = list(self._ledger.read(after=after, limit=READ_AT_ONCE))
        store = self._ledger.store
        wanted = []
        for record in records:
            is_of_job = self._to.needs_job and record.stream.startswith(JOB_PREFIX)
            if self._to.wants(record, store.job(record.stream) if is_of_job else None):
                wanted.append(record)
        return wanted, records[-1].position if records else after

    async def attempt(self, position: int, record: Record | None = None) -> Reply:
        """Send a record once, in its current form: text erased in the meantime is not sent."""
        if record is None or self._to.private_text:
            record = await asyncio.to_thread(lambda: next(self._ledger.read(after=position - 1, limit=1)))
        reply = await self._outlet.send(self._event(record))
        if reply.meaning is Meaning.TAKEN:
            self._taken += 1
            self._refused_in_a_row = 0
        return reply

    def _event(self, record: Record) -> CloudEvent:
        return cloud_event(record, self._ledger_id, with_text=self._to.private_text)

    async def deliver(self, record: Record, turn: "_Round") -> Reply | None:
        """Send a record until it is accepted or refused; None if the turn ended before."""
        taken_before = self._taken
        for number in count(1):
            async with self._free:
                if not await turn.may_send():
                    return None
                reply = await self.attempt(record.position, record)
            if reply.meaning is Meaning.TAKEN:
                return reply
            if self._is_refused(reply, number, others=self._taken - taken_before):
                self._refused += 1
                self._refused_in_a_row += 1
                self._log("forward.refused", record, reply, attempts=number)
                return reply._replace(meaning=Meaning.REFUSED)
            # Every open event would report the same about a destination.
            if time.monotonic() - self._logged_at >= LOG_INTERVAL_S:
                self._logged_at = time.monotonic()
                self._log("forward.not_taken", record, reply, attempts=number)
            await turn.pause(min(FIRST_WAIT_S * 2 ** (number - 1), LONGEST_WAIT_S) * uniform(0.8, 1.2))
        return None

    def _is_refused(self, reply: Reply, number: int, *, others: int) -> bool:
        if reply.meaning is Meaning.REFUSED:
            return self._refused_in_a_row < MOST_REFUSED
        return number >= TRIES_OF_ONE and others > 0

    def _log(self, event: str, record: Record, reply: Reply, *, attempts: int) -> None:
        self._session.log.info(
            event,
            destination=self._to.name,
            position=record.position,
            attempts=attempts,
            because=reply.because,
        )

    def dead(self, record: Record, http_status: int | None) -> NewDelivery:
        """Return the dead letter of a refused record."""
        name = delivery_id(self._to.reader, record.event_id)
        return NewDelivery(name, self._to.reader, record.position, is_dead=True, http_status=http_status)

    def move(self, turn: Turn, position: int, dead: Sequence[NewDelivery]) -> Turn | None:
        """Store the position, and extend the turn."""
        moved = self._rows.move(turn, position, LEASE_MS, dead)
        if moved is not None:
            self._position = moved.position
        return moved

    def end(self, turn: Turn) -> None:
        """Release the turn."""
        self._rows.end_turn(turn)

    def claim_resent(self, room: int) -> list[Delivery]:
        """Claim dead letters that a person had resent."""
        return self._rows.claim({self._to.reader: room}, AGAIN_LEASE_MS)

    async def deliver_again(self, delivery: Delivery) -> None:
        """Resend a dead letter; it arrives after later records."""
        reply = await self.attempt(delivery.position)
        if reply.meaning is Meaning.TAKEN:
            await asyncio.to_thread(self._rows.finish, delivery)
            return
        wait = wait_ms(delivery.age_ms) if reply.meaning is Meaning.LATER else None
        if wait is None:
            await asyncio.to_thread(self._rows.give_up, delivery, reply.http_status)
        else:
            await asyncio.to_thread(self._rows.retry, delivery, wait, reply.http_status)


class _Round:
    """The open records of one turn, by stream."""

    def __init__(self, forwarder: Forwarder, turn: Turn) -> None:
        self._forwarder, self._turn = forwarder, turn
        self._read_to = turn.position
        self._open: dict[int, None] = {}
        self._lanes: dict[str, deque[Record]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: set[asyncio.Task[None]] = set()
        self._dead: list[NewDelivery] = []
        self._ending = asyncio.Event()
        self._failure: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._again_at = self._loop.time()
        self._until = self._moved_at + LEASE_MS / 1000

    @property
    def is_idle(self) -> bool:
        """Whether no record is open."""
        return not self._open and not self._again

    async def read(self) -> bool:
        """Read on if there is room; return whether there is more to read immediately."""
        if len(self._open) >= MOST_OPEN:
            return False
        records, read_to = await asyncio.to_thread(self._forwarder.records, self._read_to)
        has_moved, self._read_to = read_to > self._read_to, read_to
        for record in records:
            self._open[record.position] = None
            lane = self._lanes.get(record.stream)
            if lane is None:
                self._lanes[record.stream] = deque([record])
                self._start(self._follow(record.stream), self._tasks)
            else:
                lane.append(record)
        return has_moved

    async def _follow(self, stream: str) -> None:
        """Send the open records of a stream in order."""
        lane = self._lanes[stream]
        while lane:
            reply = await self._forwarder.deliver(lane[0], self)
            if reply is None:
                return
            record = lane.popleft()
            if reply.meaning is Meaning.REFUSED:
                self._dead.append(self._forwarder.dead(record, reply.http_status))
            del self._open[record.position]
        del self._lanes[stream]

    async def send_again(self) -> None:
        """Start resending the due dead letters."""
        now, room = self._loop.time(), AGAIN_AT_ONCE - len(self._again)
        if now - self._again_at < WAITING_S or not room:
            return
        self._again_at = now
        for delivery in await asyncio.to_thread(self._forwarder.claim_resent, room):
            self._start(self._forwarder.deliver_again(delivery), self._again)

    async def may_send(self) -> bool:
        """Return whether this process still holds the turn; wait while that is unknown."""
        while self._loop.time() >= self._until and not self._ending.is_set():
            await self.pause(IDLE_S)  # the ledger does not answer, and another process may hold the turn
        return not self._ending.is_set()

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the round."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    async def settle(self, *, at_once: bool = False) -> bool:
        """Store the position if it moved or the turn must be extended; False if the turn was lost.

        Errors of running tasks are raised here.
        """
        if self._failure is not None:
            raise self._failure
        position = next(iter(self._open), self._read_to + 1) - 1
        has_news = position != self._turn.position or bool(self._dead)
        waited_s = self._loop.time() - self._moved_at
        if not (has_news and (at_once or waited_s >= MOVING_S)) and waited_s < RENEWED_S:
            return True
        dead, self._dead = self._dead, []
        began = self._loop.time()
        moved = await asyncio.to_thread(self._forwarder.move, self._turn, position, dead)
        if moved is None:
            return False
        self._turn, self._moved_at, self._until = moved, began, began + LEASE_MS / 1000
        return True

    async def wait(self, stopping: asyncio.Task[bool]) -> None:
        """Wait briefly, unless stopped."""
        await asyncio.wait({stopping}, timeout=BUSY_S if self._open else IDLE_S)

    async def end(self) -> None:
        """Let running attempts end, store the position, and release the turn."""
        self._ending.set()
        if under_way := self._tasks | self._again:
            await asyncio.wait(under_way, timeout=FINISHING_S)
        for task in list(self._tasks | self._again):
            task.cancel()
        if self._failure is None:
            await self.settle(at_once=True)
            await asyncio.to_thread(self._forwarder.end, self._turn)

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                self._failure = task.exception()

        task.add_done_callback(ended)


class Forwarding:
    """The outlets to all destinations of a file; an async context manager that checks and closes them."""

    def __init__(self, session: Session, destinations: Destinations) -> None:
        self._outlets = {
            destination: outlet_to(session, destination) for destination in destinations.all_destinations
        }
        self._forwarders = [
            Forwarder(session, destination, outlet) for destination, outlet in self._outlets.items()
        ]
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raise `BadInput` if nothing may be sent to one of them."""
        async with AsyncExitStack() as stack:
            for outlet in self._outlets.values():
                stack.push_async_callback(outlet.close)
                await outlet.check()
            self._closing = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def run(self, stop: asyncio.Event, *, drains: bool = False) -> list[Forwarded]:
        """Forward until `stop` is set, or everything was accepted; return the counts for each destination."""
        await asyncio.gather(*(forwarder.run(stop, drains=drains) for forwarder in self._forwarders))
        return [forwarder.forwarded for forwarder in self._forwarders]
