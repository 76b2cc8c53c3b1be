"""What a server has: listed, fetched in its variants, deleted; what is stored and recorded here stays."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from ledger.events import VideoDeleted
from ledger.job import Job
from ledger.terms import Outcome, State, Variant
from render_service.adoption.server_library import delete, list_videos, page_document
from render_service.runtime.errors import AssetUnusable, NotReady
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Trace
from render_service.session.session import Session, utc_now
from render_service.settlement.settle import fetch, settle
from render_service.submission.submit import place
from sora_adapter.errors import ContentExpired, ServerRefused, ServerUnreachable, VideoNotFound
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Clock, Faults
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio


def counts(session: Session) -> Any:
    origin = str(session.settings.base_url).removesuffix("/v1")
    return httpx2.get(f"{origin}/_sandbox/requests").json()


async def test_a_page_of_the_servers_videos_needs_no_ledger(
    settings: Settings, sandbox: Callable[..., SandboxServer], tmp_path: Path
) -> None:
    there = replace(settings, base_url=sandbox().base_url)
    page = await list_videos(there, Trace("1" * 32, "2" * 16), limit=5, after=None, order="asc")
    assert page_document(page)["data"] == []
    assert not (tmp_path / "ledger.db").exists()


async def test_a_listed_video_reads_like_the_apis(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    page = await list_videos(session.settings, session.trace, limit=5, after=None, order="desc")
    [video] = page_document(page)["data"]
    assert (video["id"], video["object"], video["status"], video["seconds"]) == (
        job.video_id,
        "video",
        "completed",
        "4",
    )


async def test_a_video_that_is_stored_is_not_fetched_again(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    before = counts(session)["contents"]
    assert await fetch(session, job, Variant.VIDEO) == job
    assert counts(session)["contents"] == before


async def test_a_stored_file_that_vanished_is_fetched_again(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    path = session.assets.path(job.assets[Variant.VIDEO].storage_uri)
    path.unlink()
    again = await fetch(session, job, Variant.VIDEO)
    assert (path.is_file(), again.state) == (True, State.STORED)


@pytest.mark.parametrize(
    ("variant", "media_type"), [(Variant.THUMBNAIL, "image/webp"), (Variant.SPRITESHEET, "image/jpeg")]
)
async def test_other_variants_are_stored_beside_the_video(
    session: Session, stored: Callable[..., Awaitable[Job]], variant: Variant, media_type: str
) -> None:
    job = await fetch(session, await stored(session), variant)
    assert job.assets[variant].media_type == media_type
    assert session.assets.path(job.assets[variant].storage_uri).is_file()


async def test_a_variant_the_server_answers_with_a_video_is_refused(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
    clip: bytes,
    stored: Callable[..., Awaitable[Job]],
) -> None:
    faults.then(200, video()).then(200, video()).then(200, clip, kind="video/mp4")
    session = at(faults.base_url)
    job = await stored(session)
    with pytest.raises(AssetUnusable, match="this server may not support variants"):
        await fetch(session, job, Variant.THUMBNAIL)


async def test_fetching_a_video_that_is_done_settles_its_job(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(session, request_for())
    job = await fetch(session, placed.job, Variant.VIDEO)
    assert (job.state, job.outcome) == (State.STORED, Outcome.STORED)


async def test_a_running_video_cannot_be_fetched_yet(
    sandbox: Callable[..., SandboxServer],
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
) -> None:
    session = at(sandbox(render_seconds=10).base_url)
    placed = await place(session, request_for())
    with pytest.raises(NotReady, match=r"is running at 0 %, .* poll --id job_.* waits for it"):
        await fetch(session, placed.job, Variant.VIDEO)


async def test_a_denied_request_has_nothing_to_fetch(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(session, request_for(max_cost_usd_micros=1))
    with pytest.raises(NotReady, match=r"is denied, .*show job_.* says why"):
        await fetch(session, placed.job, Variant.VIDEO)


async def test_a_thumbnail_that_expired_leaves_the_stored_job_as_it_is(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
    clip: bytes,
    clock: Clock,
) -> None:
    faults.then(200, video()).then(200, video()).then(200, clip, kind="video/mp4")
    session = at(faults.base_url)
    job = await settle(session, (await place(session, request_for())).job, interval_s=0.05, timeout_s=5)
    faults.then(404, b'{"error": {"message": "gone", "code": "not_found"}}').then(200, video(expires_at=1))
    with pytest.raises(ContentExpired):
        await fetch(session, job, Variant.THUMBNAIL)
    assert session.ledger.job(job.job_id) == job


async def test_a_deletion_is_recorded_with_its_reason(
    session: Session, stored: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    job = await delete(session, await stored(session), "campaign was withdrawn")
    deleted = event(job, VideoDeleted)
    assert (job.state, deleted.answer, deleted.why.text) == (
        State.DELETED,
        "deleted",
        "campaign was withdrawn",
    )


async def test_a_deletion_leaves_the_stored_file(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await delete(session, await stored(session))
    assert session.assets.path(job.assets[Variant.VIDEO].storage_uri).is_file()


async def test_a_deletion_is_recorded_although_a_worker_stores_the_video_at_the_same_time(
    session: Session,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    placed = (await place(session, request_for())).job
    stored = await settle(session, placed, interval_s=0.05, timeout_s=60)
    job = await delete(session, placed)  # as it was when the deletion began
    assert (stored.state, job.state, job.outcome) == (State.STORED, State.DELETED, Outcome.STORED)
    assert types(job)[-3:] == ["cost.settled", "render.closed", "video.deleted"]
    assert intact()


async def test_deleting_twice_asks_once(session: Session, stored: Callable[..., Awaitable[Job]]) -> None:
    job = await delete(session, await stored(session))
    assert await delete(session, job) == job
    assert counts(session)["deletes"] == 1


async def test_deleting_a_running_video_closes_its_job_as_cancelled(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
    types: Callable[[Job], list[str]],
) -> None:
    faults.then(200, video(status="queued")).then(200, b'{"id": "video_1", "deleted": true}')
    session = at(faults.base_url)
    job = await delete(session, (await place(session, request_for())).job)
    assert (job.outcome, types(job)[4:]) == (
        Outcome.CANCELLED,
        ["video.deleted", "cost.settled", "render.closed"],
    )


NOT_FOUND = b'{"error": {"message": "no such video", "code": "not_found"}}'


@pytest.fixture
async def running(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
) -> tuple[Session, Job]:
    session = at(faults.then(200, video(status="queued")).base_url)
    return session, (await place(session, request_for())).job


async def test_a_video_the_server_forgot_counts_as_deleted_once_its_time_is_over(
    running: tuple[Session, Job], faults: Faults, event: LastEvent
) -> None:
    session, job = running
    faults.then(404, NOT_FOUND).then(404, NOT_FOUND)
    with pytest.raises(VideoNotFound, match=r"proves nothing yet .* counts as gone from 2026-.* give-up"):
        await delete(session, job)
    assert session.ledger.job(job.job_id) == job
    faults.then(404, NOT_FOUND).then(404, NOT_FOUND)
    job = await delete(replace(session, clock=lambda: utc_now() + timedelta(days=1)), job)
    assert (event(job, VideoDeleted).answer, job.outcome) == ("not_found", Outcome.CANCELLED)


async def test_a_video_that_is_still_there_after_a_404_was_not_deleted(
    running: tuple[Session, Job], faults: Faults, video: Callable[..., bytes]
) -> None:
    session, job = running
    faults.then(404, NOT_FOUND).then(200, video(status="in_progress"))
    with pytest.raises(ServerRefused, match=r"still has it .in_progress.: nothing was recorded"):
        await delete(replace(session, clock=lambda: utc_now() + timedelta(days=9)), job)
    assert session.ledger.job(job.job_id) == job


async def test_a_lost_answer_to_a_deletion_records_nothing(
    running: tuple[Session, Job], faults: Faults
) -> None:
    session, job = running
    faults.then(0)
    with pytest.raises(ServerUnreachable):
        await delete(session, job)
    assert session.ledger.job(job.job_id) == job


async def test_a_denied_request_has_no_video_to_delete(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(session, request_for(max_cost_usd_micros=1))
    with pytest.raises(NotReady, match="is denied, so there is no video to delete"):
        await delete(session, placed.job)
