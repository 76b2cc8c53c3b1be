"""List and delete the videos of a server."""

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from msgspec import structs

from ledger.events import Event
from ledger.job import Job
from ledger.private import Private
from ledger.terms import Outcome, State
from render_service.recovery.listing import pages
from render_service.runtime.errors import NotReady
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from render_service.session.jobs import list_closing_events
from render_service.session.servers import explain_key_to_set, has_other_key
from render_service.session.session import Session
from render_service.settlement.settle import find_end, is_over, record
from sora_adapter.errors import ServerRefused, VideoNotFound
from sora_adapter.models import Observation, Page

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

DELETABLE = (State.RUNNING, State.COMPLETED, State.STORED, State.FAILED, State.LOST, State.ABANDONED)


async def list_videos(  # one parameter per option of a listing
    settings: Settings,
    trace: Trace,
    *,
    limit: int,
    after: str | None,
    order: Literal["asc", "desc"],
    even_if_retired: bool = False,
) -> Page:
    """Return one page of the server's videos; needs no ledger and records nothing."""
    profile = find_usable_profile(settings, None, even_if_retired=even_if_retired)
    async with connection(settings, trace, profile) as client:
        return await client.list(limit=limit, after=after, order=order)


async def list_all(
    settings: Settings,
    trace: Trace,
    *,
    after: str | None,
    order: Literal["asc", "desc"],
    even_if_retired: bool = False,
) -> Page:
    """Return all videos of the server as one page; needs no ledger and records nothing."""
    profile = find_usable_profile(settings, None, even_if_retired=even_if_retired)
    async with connection(settings, trace, profile) as client:
        videos = [v async for page in pages(client, after=after, order=order) for v in page.observations]
    return Page(tuple(videos), has_more=False, last_id=videos[-1].video_id if videos else None)


async def delete(session: Session, job: Job, why: str | None = None) -> Job:
    """Delete the job's video on the server; stored files and records are not touched.

    A deletion is recorded when the server confirms it. A 404 proves nothing: the server may not implement
    deletion, the key may be that of another account, or replicas may know only their own videos. After a 404
    the video is therefore read: if it is still there, it was not deleted; if it is unknown, it counts as gone
    once it must have expired, as after every 404 (`settle.is_over`), and only with the key that submitted the
    job. A lost answer leaves nothing recorded.
    """
    if job.state is State.DELETED:
        return job
    if job.state not in DELETABLE or job.video_id is None:
        raise NotReady(
            f"{job.job_id} is {job.state}, so there is no video to delete: "
            f"`sora-ledger show {job.job_id}` says why",
            param="job",
            expected="a job with a video",
            found=f"a {job.state} job",
        )
    async with session.connect_to(job) as client:
        return await session.finish_uninterrupted(_delete(session, client, job, why))


async def _delete(session: Session, client: "VideosClient", job: Job, why: str | None) -> Job:
    assert job.video_id is not None  # checked by the caller
    deleted = await client.delete(job.video_id)
    if deleted.answer == "not_found":
        await _check_is_gone(session, client, job)
    if why:
        deleted = structs.replace(deleted, why=Private.seal("why", why))
    # A crash here leaves a deletion without a record: `audit` reports the missing video, `delete` repeats it.
    while job.state is not State.DELETED:  # a worker may have stored it, and closed the job, meanwhile
        events: list[Event] = [deleted]
        if job.outcome is None:
            events += list_closing_events(session.clock(), job, Outcome.CANCELLED)
        job = await record(session, job, *events)
    return job


async def _check_is_gone(session: Session, client: "VideosClient", job: Job) -> None:
    """Raise unless the video is gone: the server does not know it, and its 404 is conclusive."""
    assert job.video_id is not None  # checked by the caller
    not_deleted = f"{client.base_url} answered 404 to the deletion of {job.video_id}"
    nothing = "nothing was recorded"
    try:
        video = await client.observe(job.video_id)
    except VideoNotFound as unknown:
        if await asyncio.to_thread(has_other_key, session.ledger, job, client.has_key_of):
            why = f"{job.job_id} was submitted with another key; {explain_key_to_set(client.profile)}"
        elif is_over(session, job):
            return
        else:
            may_know = "another replica of the server may have it"
            why = f"{may_know}; it counts as gone from {find_end(job):%Y-%m-%d %H:%M} UTC"
        raise VideoNotFound(
            f"{not_deleted} and does not know it, which proves nothing yet ({nothing}): {why}; "
            f"`sora-ledger give-up {job.job_id} --reason TEXT` ends the job without the server",
            detail=unknown.detail,
            provider_request_id=unknown.provider_request_id,
        ) from unknown
    raise ServerRefused(
        f"{not_deleted} and still has it ({video.status}): {nothing}; the server may not support deletion, "
        "so ask its operator to remove the video"
    )


def observation_document(video: Observation) -> dict[str, Any]:
    """Return a video as the server described it, in the form of the API."""
    return {
        "id": video.video_id,
        "object": "video",
        "status": video.status.value,
        "progress": video.progress,
        "model": video.model,
        "size": video.size,
        "seconds": video.seconds,
        "prompt": video.prompt,
        "created_at": video.created_at,
        "completed_at": video.completed_at,
        "expires_at": video.expires_at,
        "remixed_from_video_id": video.remixed_from_video_id,
        "error": {"code": video.error.code, "message": _message(video)} if video.error else None,
    }


def _message(video: Observation) -> str | None:
    message = video.error.message if video.error else None
    return message.text if message else None


def page_document(page: Page) -> dict[str, Any]:
    """Return a page of a server's list in the form of the API."""
    data = [observation_document(video) for video in page.observations]
    first_id = data[0]["id"] if data else None
    return {
        "object": "list",
        "data": data,
        "first_id": first_id,
        "last_id": page.last_id,
        "has_more": page.has_more,
    }
