"""The inbox of received webhooks: each event is recorded once, answered when durable, and matched to its job.

Deliveries that arrive during one transaction form the next one. New ones are matched to their jobs, which
become due, after the answer and concurrently with later deliveries. A process that dies in between loses only
a wake-up: the job is observed at its scheduled time, and matched then.

A match is recorded as ``webhook.matched``, once for each event, immediately or later. A webhook may arrive
before the answer to the create call; then no job has its video yet. So both sides look for each other, after
their own record is durable: the receiver (`Inbox`) looks for the job, and the process that finishes a job
looks into the inbox (`match_inbox`). At least one finds the other. If both do, the event id, derived from
profile and webhook event, tells the second that the match is recorded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from ledger.errors import EventIdConflict
from ledger.events import Event, WebhookMatched, WebhookReceived
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.record import Authority, Draft, draft
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import ANY, Batch
from render_service.runtime.coalesce import Coalescer
from render_service.session.event_ids import match_id, receipt_id
from render_service.session.history import JobHistory
from render_service.session.session import Session


def inbox_of(profile: str) -> str:
    """Return the stream of a profile's deliveries, in order of arrival."""
    return f"inbox_{profile}"


def match(session: Session, profile: str, received: WebhookReceived, received_id: str) -> Draft:
    """Return the event that matches a delivery to its job; its id is derived from the webhook event."""
    event = WebhookMatched(
        webhook_event_id=received.webhook_event_id,
        webhook_type=received.webhook_type,
        video_id=received.video_id,
    )
    who = replace(session.provenance, authority=Authority.SYSTEM)
    event_id = match_id(profile, received.webhook_event_id)
    return draft(event, who, session.clock(), event_id=event_id, causation_id=received_id)


async def match_inbox(session: Session, job: Job) -> Job:
    """Match the inbox events about the video of `job` to it, and return the job after that.

    Only events since the job began are read: no video can be announced before it is requested. An adopted
    video was requested elsewhere at an unknown time, so the whole inbox is read.
    """
    if job.profile is None or job.video_id is None:
        return job
    matched = await asyncio.to_thread(_match_late, session, job, job.profile)
    return await session.job(job.job_id) if matched else job


def _match_late(session: Session, job: Job, profile: str) -> int:
    inbox = RecordFilter(stream=inbox_of(profile))
    if not session.ledger.store.rows(0, 1, inbox):
        return 0
    history = JobHistory.of(session.ledger, job)
    matched = history.matched_webhooks
    after = 0 if history.adopted else history.first.position
    late = [
        (job.job_id, match(session, profile, received.event, received.record.event_id))
        for received in session.ledger.entries(WebhookReceived, inbox, after=after)
        if received.event.video_id == job.video_id and received.event.webhook_event_id not in matched
    ]
    return tie(session.ledger, late)


def tie(ledger: Ledger, matches: Sequence[tuple[str, Draft]]) -> int:
    """Record matches in their jobs; return how many are new."""
    batches = [Batch(job_id, ANY, [matched]) for job_id, matched in matches]
    try:
        return len(ledger.append(batches)) if batches else 0
    except EventIdConflict:  # another process recorded one of them: append each separately
        return 0 if len(matches) == 1 else sum(tie(ledger, [single]) for single in matches)


REMEMBERED = 20_000
MOST_TOGETHER = 500
GATHER_S = 0.05
"""How long matches gather: each round takes two commits, which would delay the next deliveries."""


class Reception(StrEnum):
    """The result of a delivery, in the words of the metrics."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    CONFLICTING = "conflicting"


class Unseen(NamedTuple):
    """A delivery that is new to this process, ready to be recorded."""

    profile: str
    event: WebhookReceived
    received: Draft


class EventContent(NamedTuple):
    """The content that every delivery of one event shares."""

    webhook_type: str
    video_id: str


class Delivered(NamedTuple):
    """A delivery as received; `event_id` is the same for every delivery of its event."""

    profile: str
    event: WebhookReceived
    event_id: str


class Inbox:
    """Records deliveries in a session; for one event loop."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sender = replace(session.provenance, authority=Authority.EXTERNAL)
        self._recent: OrderedDict[str, EventContent] = OrderedDict()
        self._receipts = Coalescer[Delivered, Reception](self._receive, most=MOST_TOGETHER)
        self._ties = Coalescer[Unseen, None](
            lambda unseen: asyncio.to_thread(self._tie, unseen), gather_s=GATHER_S
        )

    async def receive(self, profile: str, event: WebhookReceived) -> Reception:
        """Record `event` in the inbox of `profile` unless it is already there; durable on return."""
        return await self._receipts.do(Delivered(profile, event, receipt_id(profile, event.webhook_event_id)))

    async def close(self) -> None:
        """Finish what was received."""
        await self._receipts.finish()
        await self._ties.finish()

    async def _receive(self, group: Sequence[Delivered]) -> list[Reception]:
        unseen, new = await asyncio.to_thread(self._record, group)
        receptions = [self._reception(delivered, new) for delivered in group]
        self._forget()
        # A crash here leaves recorded deliveries without a job: a sender without an answer delivers again,
        # and each job finds its deliveries when it ends (`match_inbox`).
        for delivery in unseen:
            self._ties.put(delivery)
        return receptions

    def _reception(self, delivered: Delivered, new: set[str]) -> Reception:
        """Return the result of `delivered`; the first delivery of a new event removes it from `new`."""
        if delivered.event_id in new:
            new.remove(delivered.event_id)
            return Reception.RECORDED
        if self._recent[delivered.event_id] != _delivery(delivered.event):
            return Reception.CONFLICTING
        return Reception.REPEATED

    # --- in a thread ---

    def _record(self, group: Sequence[Delivered]) -> tuple[list[Unseen], set[str]]:
        """Record new events; return those that this process had not seen, and the ids of new events."""
        unseen: dict[str, Unseen] = {}
        for delivered in group:
            if delivered.event_id not in self._recent and delivered.event_id not in unseen:
                unseen[delivered.event_id] = Unseen(
                    delivered.profile, delivered.event, self._draft(delivered)
                )
        new = dict(unseen)
        while new:
            try:
                self._append(new.values())
                break
            except EventIdConflict:  # another process received some of them
                known = self._known(new)
                if not known:
                    raise
                self._recent.update(known)
                new = {event_id: delivery for event_id, delivery in new.items() if event_id not in known}
        self._recent.update({event_id: _delivery(delivery.event) for event_id, delivery in new.items()})
        return list(unseen.values()), set(new)

    def _draft(self, delivered: Delivered) -> Draft:
        now = self._session.clock()
        return draft(delivered.event, self._sender, now, event_id=delivered.event_id)

    def _append(self, new: Iterable[Unseen]) -> None:
        by_profile: dict[str, list[Draft]] = {}
        for delivery in new:
            by_profile.setdefault(delivery.profile, []).append(delivery.received)
        batches = [Batch(inbox_of(profile), ANY, drafts) for profile, drafts in by_profile.items()]
        self._session.ledger.append(batches)

    def _known(self, event_ids: Iterable[str]) -> dict[str, EventContent]:
        records = {event_id: self._session.ledger.event(event_id) for event_id in event_ids}
        return {
            event_id: _delivery(record.event) for event_id, record in records.items() if record is not None
        }

    def _forget(self) -> None:
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def _tie(self, unseen: Sequence[Unseen]) -> Sequence[None]:
        """Match deliveries to existing jobs and make those due; failures are matched when the job ends."""
        try:
            jobs = self._jobs(unseen)
            videos = [((delivery.profile, delivery.event.video_id), delivery) for delivery in unseen]
            matches = [(jobs[video], delivery) for video, delivery in videos if video in jobs]
            tie(self._session.ledger, [(job.job_id, self._match(delivery)) for job, delivery in matches])
            due = {job.job_id for job, _ in matches if job.outcome is None}
            if due:
                self._session.ledger.store.queue.wake(due)
        except Exception as error:  # noqa: BLE001  # a lost wake-up must not block later deliveries
            self._session.log.warning("webhook.not_matched", deliveries=len(unseen), because=str(error))
        return [None] * len(unseen)

    def _jobs(self, unseen: Sequence[Unseen]) -> Mapping[tuple[str | None, str | None], Job]:
        """Return the newest job of each video that was announced, by its profile and the video."""
        videos = tuple({delivery.event.video_id for delivery in unseen})
        jobs = self._session.ledger.jobs(JobFilter(videos=videos, oldest_first=True))
        return {(job.profile, job.video_id): job for job in jobs}

    def _match(self, delivery: Unseen) -> Draft:
        return match(self._session, delivery.profile, delivery.event, delivery.received.event_id)


def _delivery(event: Event) -> EventContent:
    assert isinstance(event, WebhookReceived)  # no other event has such an id
    return EventContent(event.webhook_type, event.video_id)
