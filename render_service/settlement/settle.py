"""Settle a job: observe until the server is done, download the bytes, check and store them, close.

Every step records its result before the next begins, and starts from what is recorded, so it can be
interrupted anywhere and resumed by any process. If two processes settle the same job, the later one finds out
at its append (`WrongExpectedVersion`) and continues from what the earlier one recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import structs

from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import AssetLost, Event, StatusObserved
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import Outcome, State, Status, Variant
from render_service.assets.maintenance import link_video
from render_service.assets.store import AssetStore
from render_service.runtime.errors import AssetUnusable, NotReady, StorageFailed
from render_service.session.history import first_of, prompt_of
from render_service.session.jobs import list_closing_events
from render_service.session.servers import explain_key_to_set, has_other_key
from render_service.session.session import Session
from render_service.settlement.download import download
from render_service.webhooks.inbox import match_inbox
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
RETENTION_S = 86_400
"""How long a server without an expiry is assumed to keep a video, counted from its last news."""
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
    """Wait until `job` is done, store its video, and close it; `PollTimeout` after `timeout_s` seconds.

    `watch` is called with every observation. A job without a video, or a closed one, is returned unchanged.
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
    """Store the video of a finished job, and close the job; one that still runs is left unchanged."""
    if job.state is State.RUNNING:
        return job
    with await session.span_of("settle", job) as span:
        span.note({"sora_ledger.job_id": job.job_id, "gen_ai.response.id": job.video_id})
        if job.state is State.COMPLETED:
            job = await match_inbox(session, job)  # before the job is closed: later nobody would check
            try:
                job = await _store(session, client, job, Variant.VIDEO)
            except StorageFailed:  # our storage failed, not the server: a worker retries
                await asyncio.to_thread(session.ledger.store.queue.schedule, job.job_id, STORAGE_PAUSE_MS)
                raise
        # A crash here leaves a failed or lost job, or one that another process stored, and not closed, its
        # money still held: `poll` or a worker closes it.
        if job.state in ENDED and job.outcome is None:
            job = await _close(session, await match_inbox(session, job))
        span.label(outcome=job.outcome or job.state)
        span.note({"sora_ledger.cost_usd_micros": job.settled_usd_micros})
    return job


async def mark_lost(session: Session, client: "VideosClient", job: Job) -> Job:
    """Record the video of `job` as lost if its server no longer knows it and that can be trusted.

    A server may be restarting, so this is not recorded before the video expires: when the server said, or a
    day after the last news; and never under another key than the submission's. The estimate is booked as the
    cost, because the video may have been billed.
    """
    if job.state not in {State.RUNNING, State.COMPLETED}:
        return job
    if await asyncio.to_thread(has_other_key, session.ledger, job, client.has_key_of):
        session.log.warning("job.other_key", job_id=job.job_id, next=explain_key_to_set(client.profile))
        return job
    if not is_over(session, job):
        return job
    cause: Literal["expired", "gone"] = "gone" if job.expires_at is None else "expired"
    return await _close(session, await record(session, job, AssetLost(variant=Variant.VIDEO, cause=cause)))


async def refresh(session: Session, job: Job) -> Job:
    """Ask the server once for the status of a running job, and record what changed."""
    if job.state is not State.RUNNING or job.video_id is None:
        return job
    async with session.connect_to(job) as client:
        return await record_observation(session, job, await client.observe(job.video_id))


async def fetch(session: Session, job: Job, variant: Variant) -> Job:
    """Make sure that `variant` of a completed job is stored here; a lost video may have reappeared."""
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
        raise NotReady(
            f"{job.job_id} is {job.state}{_format_progress(job)}, so there is nothing to download: "
            f"{next_step}",
            param="job",
            expected="a job with files",
            found=f"a {job.state} one",
        )
    async with session.connect_to(job) as client:
        job = await _store(session, client, job, variant)
    return await _close(session, job) if variant is Variant.VIDEO else job


def _format_progress(job: Job) -> str:
    return f" at {job.progress} %" if job.state is State.RUNNING and job.progress is not None else ""


async def record(session: Session, job: Job, *events: Event) -> Job:
    """Append `events` to `job`, or return the job if another process changed it in the meantime.

    Mere annotations of the job in between (`ledger.job.ANNOTATIONS`: a webhook, a review) do not prevent the
    append.
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
    return structs.replace(job, **noted) == now


async def _wait(  # all parameters describe the wait
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
    """Record `observation` if it is news: a new status, or ten more points of progress."""
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
    """Download one variant, check it, store it, record it; record the video as lost if it is gone.

    The append that records the video of a completed job closes the job as well.
    """
    try:
        with await session.span_of("download", job) as span:
            span.label(profile=job.profile or "", variant=variant)
            stored, provenance = await download(session, client, job, variant)
            span.label(outcome="stored")
            span.note({"sora_ledger.job_id": job.job_id, "sora_ledger.bytes": stored.bytes})
    except (ContentExpired, ContentGone) as gone:
        cause: Literal["expired", "gone"] = "expired" if isinstance(gone, ContentExpired) else "gone"
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
        session.log.warning("asset.mismatch", job_id=job.job_id, **structs.asdict(mismatch))
    # A crash here leaves a stored file that no record names, and the job completed: the next process
    # stores the same bytes under the same name.
    ends = variant is Variant.VIDEO and job.state is State.COMPLETED
    events = [
        stored,
        *([provenance] if provenance else ()),
        *(list_closing_events(session.clock(), job, Outcome.STORED) if ends else ()),
    ]
    is_first = variant not in job.assets
    job = await record(session, job, *events)
    # A crash here leaves the video without a link for people; `open` makes it.
    if variant is Variant.VIDEO:
        await asyncio.to_thread(link_stored, session.ledger, session.assets, job, is_first=is_first)
    return job


def link_stored(ledger: Ledger, assets: AssetStore, job: Job, *, is_first: bool = False) -> Path | None:
    """Link the stored video of `job` for people, named by its prompt if that was not erased meanwhile.

    `is_first`: no file of this video was stored before.
    """
    first = first_of(ledger, job.job_id)
    prompt = prompt_of(first)
    link = link_video(assets, job, prompt.text if prompt else None, is_first=is_first)
    if link and prompt and prompt.text and prompt.commitment not in ledger.store.bodies([first.position]):
        return link_video(assets, job, None)
    return link


def is_over(session: Session, job: Job) -> bool:
    """Return whether the server no longer promises the bytes; allows for clock skew."""
    return session.clock() > find_end(job)


def find_end(job: Job) -> datetime:
    """Return the time from which a server that does not know the video of `job` is trusted."""
    if job.expires_at is not None:  # earlier versions recorded milliseconds unchanged
        return datetime.fromtimestamp(min(job.expires_at, LATEST_S) + EXPIRY_GRACE_S, UTC)
    return datetime.fromisoformat(job.updated_at) + timedelta(seconds=RETENTION_S)


async def _close(session: Session, job: Job) -> Job:
    """Book the cost and record the outcome of a job that has ended."""
    outcome = _OUTCOMES.get(job.state)
    if outcome is None or job.outcome is not None:
        return job
    return await record(session, job, *list_closing_events(session.clock(), job, outcome))
