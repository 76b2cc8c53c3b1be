"""Match deliveries in the inbox to their jobs: ``webhook.matched``, once for each event, at once or later.

A webhook may arrive before the answer to the create call; then no job has its video yet. So both sides look
for each other, after their own record is durable: the receiver (`Inbox`) looks for the job, and the process
that finishes a job looks into the inbox (`match_inbox`). At least one finds the other. If both do, the event
id, derived from profile and webhook event, tells the second that the match is recorded.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ledger.errors import EventIdConflict
from ledger.events import WebhookMatched, WebhookReceived
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.record import Authority, Draft, draft
from ledger.store.interface import ANY, Batch, RecordFilter
from render_service.session.event_ids import match_id
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
