"""Settling: observe until the server is done, fetch the bytes, check them, keep them, close.

Every step records what it found before the next begins, and begins from what is recorded, so it can be
interrupted anywhere and taken up again by anybody. Two who settle the same job find out at the append
(`WrongExpectedVersion`) and the later one goes on from what the earlier recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import (
    AssetLost,
    Event,
    Outcome,
    Status,
    StatusObserved,
    Variant,
)
from ledger.job import Job, State
from render_service.runtime.errors import AssetUnusable, NotReady, StorageFailed
from render_service.session.jobs import closing
from render_service.session.servers import explain_key_to_set, has_other_key
from render_service.session.session import Session
from render_service.settlement.download import download
from render_service.webhooks.matching import match_inbox
from sora_adapter.errors import (
    ContentExpired,
    ContentGone,
    ContentMissing,
    ContentTruncated,
    ServerTrouble,
    VideoNotFound,
)
from sora_adapter.polling import poll
from sora_adapter.responses import LATEST_S

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient
    from sora_adapter.models import Observation

PROGRESS_STEP = 10
EXPIRY_GRACE_S = 300
KEPT_FOR_S = 86_400
"""How long a server that names no end is taken to keep a video, from the last that was heard of it."""
STORAGE_PAUSE_MS = 60_000
ENDED = (State.STORED, State.FAILED, State.LOST, State.ABANDONED)
HAS_VIDEO = (State.RUNNING, State.COMPLETED, *ENDED)

_OUTCOMES = {
    State.STORED: Outcome.STORED,
    State.FAILED: Outcome.FAILED,
    State.LOST: Outcome.LOST,
    State.ABANDONED: Outcome.ABANDONED,
}

Watch = Callable[[Job, "Observation"], None]


async def settle(
    session: Session, job: Job, *, interval_s: float, timeout_s: float, watch: Watch | None = None
) -> Job:
    """Wait until `job` is done, keep its video, and close it; `PollTimeout` after `timeout_s` seconds.

    `watch` is told of every observation. A job without a video, or one that is closed, is returned as it is.
    """
    if job.state not in HAS_VIDEO or job.outcome is not None:
        return job
    async with session.connect_to(job) as client:
        if job.state is State.RUNNING:
            try:
                job = await _wait(session, client, job, interval_s, timeout_s, watch)
            except VideoNotFound:
                await mark_lost(session, client, await session.job(job.job_id))
                raise
        # A crash up to here leaves the job running or completed: `poll`, a batch with --resume, or a worker
        # continues from there.
        return await finish(session, client, job)


async def finish(session: Session, client: "VideosClient", job: Job) -> Job:
    """Keep the video of a job the server is done with, and close it; one that still runs is left alone."""
    if job.state is State.COMPLETED:
        try:
            job = await _store(session, client, job, Variant.VIDEO)
        except StorageFailed:  # our storage, not the server: a worker tries again
            await asyncio.to_thread(session.ledger.store.queue.schedule, job.job_id, STORAGE_PAUSE_MS)
            raise
    # A crash here leaves the job stored, failed or lost, and not closed, its money still held: `poll` or a
    # worker closes it.
    return await _close(session, await match_inbox(session, job) if job.state in ENDED else job)


async def mark_lost(session: Session, client: "VideosClient", job: Job) -> Job:
    """Record as lost the video of a job that its server knows no more, once that may be believed.

    A server may be restarting, so not before the video's time is over: what the server said of it, else a day
    after anything new was heard of it; and never under another key than the job was submitted with. The cost
    is booked as the estimate: nothing says that it was not billed.
    """
    if job.state not in {State.RUNNING, State.COMPLETED}:
        return job
    if await asyncio.to_thread(has_other_key, session.ledger, job, client):
        session.log.warning("job.other_key", job_id=job.job_id, next=explain_key_to_set(client.profile))
        return job
    if not is_over(session, job):
        return job
    cause: Literal["expired", "gone"] = "gone" if job.expires_at is None else "expired"
    return await _close(session, await record(session, job, AssetLost(variant=Variant.VIDEO, cause=cause)))


async def refresh(session: Session, job: Job) -> Job:
    """Ask the server once how a running job is doing, and record what changed."""
    if job.state is not State.RUNNING or job.video_id is None:
        return job
    async with session.connect_to(job) as client:
        return await record_observation(session, job, await client.observe(job.video_id))


async def fetch(session: Session, job: Job, variant: Variant) -> Job:
    """Make sure that `variant` of a completed job is stored here; a lost video may have turned up again."""
    if variant in job.assets and await asyncio.to_thread(session.assets.has, job.assets[variant].storage_uri):
        return job
    if job.state is State.RUNNING:
        job = await refresh(session, job)
    may_be_there = job.state in {State.COMPLETED, State.STORED}
    may_be_there |= job.state in {State.LOST, State.ABANDONED} and variant is Variant.VIDEO
    if not may_be_there or job.video_id is None:
        next_step = (
            f"`sora-ledger poll --id {job.job_id}` waits for it"
            if job.state is State.RUNNING
            else f"`sora-ledger show {job.job_id}` says why"
        )
        raise NotReady(f"{job.job_id} is {job.state}{_at(job)}, so there is nothing to download: {next_step}")
    async with session.connect_to(job) as client:
        job = await _store(session, client, job, variant)
    return await _close(session, job) if variant is Variant.VIDEO else job


def _at(job: Job) -> str:
    return f" at {job.progress} %" if job.state is State.RUNNING and job.progress is not None else ""


async def record(session: Session, job: Job, *events: Event) -> Job:
    """Append `events` to `job`, or return the job as somebody else made it in the meantime.

    What was only said about the job in between (`ledger.job.ANNOTATIONS`: a webhook, a review) keeps nobody
    from going on.
    """
    drafts = [session.draft(event) for event in events]
    while True:
        try:
            return await session.advance(job, drafts)
        except (WrongExpectedVersion, IllegalTransition) as passed:
            now = await session.job(job.job_id)
            if now.version == job.version:
                raise
            if not _is_as_before(job, now):
                because = type(passed).__name__
                session.log.info("job.moved_on", job_id=job.job_id, version=now.version, because=because)
                return now
            job = now


def _is_as_before(job: Job, now: Job) -> bool:
    noted = {name: getattr(now, name) for name in ("version", "position", "updated_at", "verdict")}
    return job.model_copy(update=noted) == now


async def _wait(  # how to wait belongs together
    session: Session,
    client: "VideosClient",
    job: Job,
    interval_s: float,
    timeout_s: float,
    watch: Watch | None,
) -> Job:
    current = job
    assert job.video_id is not None  # a running job has a video

    async def on_observation(observation: "Observation") -> None:
        nonlocal current
        current = await record_observation(session, current, observation)
        if watch:
            watch(current, observation)

    observed: Callable[[Observation], Awaitable[None]] = on_observation
    await poll(client, job.video_id, interval_s=interval_s, timeout_s=timeout_s, on_observation=observed)
    return current


async def record_observation(
    session: Session, job: Job, observation: "Observation", source: Literal["poll", "list"] = "poll"
) -> Job:
    """Record `observation` if it says something new: a status, or ten more points of progress."""
    if not _is_news(job, observation):
        return job
    return await record(
        session,
        job,
        StatusObserved(
            video_id=observation.video_id,
            status=observation.status,
            progress=observation.progress,
            source=source,
            server_status=observation.server_status,
            error=observation.error,
            completed_at=observation.completed_at,
            expires_at=observation.expires_at,
        ),
    )


def _is_news(job: Job, observation: "Observation") -> bool:
    if job.state is not State.RUNNING:
        return False
    if observation.status != job.status or observation.status in {Status.COMPLETED, Status.FAILED}:
        return True
    return (observation.progress or 0) >= (job.progress or 0) + PROGRESS_STEP


async def _store(session: Session, client: "VideosClient", job: Job, variant: Variant) -> Job:
    """Fetch one variant, check it, keep it, record it; a video that is gone is recorded as lost."""
    try:
        stored = await download(session, client, job, variant)
    except (ContentExpired, ContentGone) as gone:
        cause = "expired" if isinstance(gone, ContentExpired) else "gone"
        if variant is Variant.VIDEO and job.state is State.COMPLETED:
            lost = await record(session, job, AssetLost(variant=variant, cause=cause))
            await _close(session, lost)
        raise
    except (ServerTrouble, ContentTruncated, AssetUnusable, VideoNotFound, ContentMissing) as trouble:
        is_unknown = isinstance(trouble, VideoNotFound | ContentMissing)
        if variant is Variant.VIDEO and (is_unknown or job.expires_at is not None):
            await mark_lost(session, client, job)
        raise
    for mismatch in stored.mismatches:
        session.log.warning("asset.mismatch", job_id=job.job_id, **mismatch.model_dump())
    # A crash here leaves a stored file that no record names, and the job completed: whoever finishes it next
    # stores the same bytes under the same name.
    return await record(session, job, stored)


def is_over(session: Session, job: Job) -> bool:
    """Say whether the server has promised the bytes no longer; clocks may differ."""
    return session.clock() > over_at(job)


def over_at(job: Job) -> datetime:
    """Return when a server that does not know the video of `job` is believed."""
    if job.expires_at is not None:  # earlier versions recorded times in milliseconds as they came
        return datetime.fromtimestamp(min(job.expires_at, LATEST_S) + EXPIRY_GRACE_S, UTC)
    return datetime.fromisoformat(job.updated_at) + timedelta(seconds=KEPT_FOR_S)


async def _close(session: Session, job: Job) -> Job:
    """Book the cost and record how it ended, once it has ended."""
    outcome = _OUTCOMES.get(job.state)
    if outcome is None or job.outcome is not None:
        return job
    return await record(session, job, *closing(session.clock(), job, outcome))
