"""Settling: observe until the server is done, fetch the bytes, check them, keep them, close.

Every step records what it found before the next begins, and begins from what is recorded, so it can be
interrupted anywhere and taken up again by anybody. Two who settle the same job find out at the append
(`WrongExpectedVersion`) and the later one goes on from what the earlier recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import (
    AssetLost,
    AssetStored,
    Event,
    Operation,
    Outcome,
    Status,
    StatusObserved,
    Variant,
)
from ledger.job import Job, State
from render_service.assets import Incoming
from render_service.closing import closing
from render_service.desk import Desk
from render_service.errors import AssetUnusable, NotReady
from render_service.media import mismatches, probe
from render_service.webhooks.matching import match_inbox
from sora_adapter.errors import ContentExpired, ContentGone, ContentTruncated
from sora_adapter.polling import poll

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient
    from sora_adapter.observation import Observation
    from sora_adapter.transport import Content

PROGRESS_STEP = 10
DOWNLOAD_TRIES = 3
MEDIA_TYPES = {
    Variant.VIDEO: ("video/",),
    Variant.THUMBNAIL: ("image/",),
    Variant.SPRITESHEET: ("image/",),
}
OPAQUE = "application/octet-stream"
USUAL_TYPE = {Variant.VIDEO: "video/mp4", Variant.THUMBNAIL: "image/webp", Variant.SPRITESHEET: "image/jpeg"}
ENDED = (State.STORED, State.FAILED, State.LOST)
HAS_VIDEO = (State.RUNNING, State.COMPLETED, State.STORED, State.FAILED, State.LOST)

Watch = Callable[[Job, "Observation"], None]


async def settle(
    desk: Desk, job: Job, *, interval_s: float, timeout_s: float, watch: Watch | None = None
) -> Job:
    """Wait until `job` is done, keep its video, and close it; `PollTimeout` after `timeout_s` seconds.

    `watch` is told of every observation. A job without a video, or one that is closed, is returned as it is.
    """
    if job.state not in HAS_VIDEO or job.outcome is not None:
        return job
    async with desk.connect(desk.profile(job.profile)) as client:
        if job.state is State.RUNNING:
            job = await _wait(desk, client, job, interval_s, timeout_s, watch)
        return await finish(desk, client, job)


async def finish(desk: Desk, client: "VideosClient", job: Job) -> Job:
    """Keep the video of a job the server is done with, and close it; one that still runs is left alone."""
    if job.state is State.COMPLETED:
        job = await _store(desk, client, job, Variant.VIDEO)
    return await _close(desk, await match_inbox(desk, job) if job.state in ENDED else job)


async def refresh(desk: Desk, job: Job) -> Job:
    """Ask the server once how a running job is doing, and record what changed."""
    if job.state is not State.RUNNING or job.video_id is None:
        return job
    async with desk.connect(desk.profile(job.profile)) as client:
        return await record_observation(desk, job, await client.observe(job.video_id))


async def fetch(desk: Desk, job: Job, variant: Variant) -> Job:
    """Make sure that `variant` of a completed job is stored here."""
    if variant in job.assets and desk.assets.path(job.assets[variant].storage_uri).is_file():
        return job
    if job.state is State.RUNNING:
        job = await refresh(desk, job)
    if job.state not in {State.COMPLETED, State.STORED} or job.video_id is None:
        next_step = (
            f"`sora-ledger poll --id {job.job_id}` waits for it"
            if job.state is State.RUNNING
            else f"`sora-ledger show {job.job_id}` says why"
        )
        raise NotReady(f"{job.job_id} is {job.state}{_at(job)}, so there is nothing to download: {next_step}")
    async with desk.connect(desk.profile(job.profile)) as client:
        job = await _store(desk, client, job, variant)
    return await _close(desk, job) if variant is Variant.VIDEO else job


def _at(job: Job) -> str:
    return f" at {job.progress} %" if job.state is State.RUNNING and job.progress is not None else ""


async def record(desk: Desk, job: Job, *events: Event) -> Job:
    """Append `events` to `job`, or return the job as somebody else made it in the meantime.

    What was only said about the job in between (`ledger.job.ANNOTATIONS`: a webhook, a review) keeps nobody
    from going on.
    """
    drafts = [desk.draft(event) for event in events]
    while True:
        try:
            return await desk.advance(job, drafts)
        except (WrongExpectedVersion, IllegalTransition) as passed:
            now = await desk.job(job.job_id)
            if now.version == job.version:
                raise
            if not _is_as_before(job, now):
                because = type(passed).__name__
                desk.log.info("job.moved_on", job_id=job.job_id, version=now.version, because=because)
                return now
            job = now


def _is_as_before(job: Job, now: Job) -> bool:
    told = {name: getattr(now, name) for name in ("version", "position", "updated_at", "verdict")}
    return job.model_copy(update=told) == now


async def _wait(  # how to wait belongs together
    desk: Desk, client: "VideosClient", job: Job, interval_s: float, timeout_s: float, watch: Watch | None
) -> Job:
    current = job
    assert job.video_id is not None  # noqa: S101  # a running job has a video

    async def on_observation(seen: "Observation") -> None:
        nonlocal current
        current = await record_observation(desk, current, seen)
        if watch:
            watch(current, seen)

    observed: Callable[[Observation], Awaitable[None]] = on_observation
    await poll(client, job.video_id, interval_s=interval_s, timeout_s=timeout_s, on_observation=observed)
    return current


async def record_observation(
    desk: Desk, job: Job, seen: "Observation", source: Literal["poll", "list"] = "poll"
) -> Job:
    """Record `seen` if it says something new: a status, or ten more points of progress."""
    if not _is_news(job, seen):
        return job
    return await record(
        desk,
        job,
        StatusObserved(
            video_id=seen.video_id,
            status=seen.status,
            progress=seen.progress,
            source=source,
            server_status=seen.server_status,
            error=seen.error,
            completed_at=seen.completed_at,
            expires_at=seen.expires_at,
        ),
    )


def _is_news(job: Job, seen: "Observation") -> bool:
    if job.state is not State.RUNNING:
        return False
    if seen.status != job.status or seen.status in {Status.COMPLETED, Status.FAILED}:
        return True
    return (seen.progress or 0) >= (job.progress or 0) + PROGRESS_STEP


async def _store(desk: Desk, client: "VideosClient", job: Job, variant: Variant) -> Job:
    """Fetch one variant, check it, keep it, record it; a video that is gone is recorded as lost."""
    try:
        stored = await _download(desk, client, job, variant)
    except (ContentExpired, ContentGone) as gone:
        cause = "expired" if isinstance(gone, ContentExpired) else "gone"
        if variant is Variant.VIDEO and job.state is State.COMPLETED:
            lost = await record(desk, job, AssetLost(variant=variant, cause=cause))
            await _close(desk, lost)
        raise
    for mismatch in stored.mismatches:
        desk.log.warning("asset.mismatch", job_id=job.job_id, **mismatch.model_dump())
    return await record(desk, job, stored)


async def _download(desk: Desk, client: "VideosClient", job: Job, variant: Variant) -> AssetStored:
    for tries_left in reversed(range(DOWNLOAD_TRIES)):
        try:
            return await _download_once(desk, client, job, variant)
        except (ContentTruncated, AssetUnusable) as error:
            if not tries_left:
                raise
            desk.log.warning("asset.download_again", job_id=job.job_id, because=str(error))
    raise AssertionError  # the last try returns or raises


async def _download_once(desk: Desk, client: "VideosClient", job: Job, variant: Variant) -> AssetStored:
    assert job.video_id is not None  # noqa: S101  # a completed job has a video
    async with client.fetch(job.video_id, variant) as content:
        with desk.assets.incoming() as incoming:
            media_type = _media_type(content, variant)
            await _drain(content, incoming)
            await asyncio.to_thread(incoming.flush)
            found = await asyncio.to_thread(probe, incoming.path, media_type)
            uri = await asyncio.to_thread(desk.assets.keep, incoming, media_type)
            return AssetStored(
                variant=variant,
                storage_uri=uri,
                sha256=incoming.sha256,
                bytes=incoming.bytes,
                media_type=media_type,
                probe=found,
                mismatches=mismatches(found, job.size, _length_of(job)) if variant is Variant.VIDEO else (),
            )


def _length_of(job: Job) -> int | None:
    """Return the seconds the video of `job` has to have; None of an edited file, which nobody promises."""
    is_of_file = job.operation is Operation.EDIT and job.remix_video_id is None
    return None if is_of_file else job.seconds


async def _drain(content: "Content", incoming: Incoming) -> None:
    async for chunk in content:
        await asyncio.to_thread(incoming.write, chunk)


def _media_type(content: "Content", variant: Variant) -> str:
    """Return the media type to store under; refuse bytes announced as something else than the variant."""
    announced = content.content_type
    if announced == OPAQUE:
        return USUAL_TYPE[variant]
    if not announced.startswith(MEDIA_TYPES[variant]):
        raise AssetUnusable(
            f"asked for the {variant}, the server sent {announced}: this server may not know variants; "
            "`--variant video` is what every server has"
        )
    return announced


async def _close(desk: Desk, job: Job) -> Job:
    """Book the cost and record how it ended, once it has ended."""
    outcome = {State.STORED: Outcome.STORED, State.FAILED: Outcome.FAILED, State.LOST: Outcome.LOST}.get(
        job.state
    )
    if outcome is None or job.outcome is not None:
        return job
    return await record(desk, job, *closing(desk, job, outcome))
