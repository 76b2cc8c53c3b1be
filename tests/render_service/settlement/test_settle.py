"""Settling: from a running job to bytes that are here, hashed and probed, whoever stops or helps."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.events import AssetLost, AssetStored, CostSettled, RenderClosed, StatusObserved
from ledger.job import Job
from ledger.terms import Outcome, State, Status, Variant
from render_service.runtime.errors import AssetUnusable
from render_service.session.session import Session, utc_now
from render_service.settlement.settle import fetch, refresh, settle
from render_service.submission.submit import place
from sora_adapter.errors import ContentExpired, ServerUnreadable, VideoNotFound
from sora_adapter.polling import PollTimeout
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Clock, Faults
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

SETTLED = ["status.observed", "asset.stored", "provenance.observed", "cost.settled", "render.closed"]
NO_WAIT = {"interval_s": 0.05, "timeout_s": 5.0}
UNKNOWN = b'{"error": {"message": "no such video", "code": "video_not_found"}}'


@pytest.fixture
def slow(sandbox: Callable[..., SandboxServer], at: Callable[[str], Session]) -> Session:
    """Return a session at a sandbox whose renders take ten seconds of its own clock."""
    return at(sandbox(render_seconds=10).base_url)


async def test_a_completed_video_is_observed_stored_paid_and_closed(
    session: Session, stored: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    assert types(await stored(session))[4:] == SETTLED


async def test_what_was_stored_is_what_was_probed(
    session: Session, stored: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    asset = event(await stored(session), AssetStored)
    assert (asset.probe.width, asset.probe.height, asset.probe.duration_ms) == (1280, 720, 4_000)
    assert (asset.probe.video_codec, asset.probe.audio_codec, asset.mismatches) == ("h264", "aac", ())


async def test_a_stored_file_is_named_by_its_digest(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    asset = (await stored(session)).assets[Variant.VIDEO]
    path = session.assets.path(asset.storage_uri)
    assert (
        path.relative_to(session.assets.folder).as_posix() == f"sha256/{asset.sha256[:2]}/{asset.sha256}.mp4"
    )
    assert path.stat().st_size == asset.bytes


async def test_nothing_temporary_stays_behind(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    await stored(session)
    assert list((session.assets.folder / "tmp").iterdir()) == []


async def test_the_cost_is_booked_as_the_estimate_it_is(
    session: Session, stored: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    job = await stored(session)
    assert event(job, CostSettled).basis == "estimated"
    assert (job.settled_usd_micros, job.reserved_usd_micros) == (400_000, 0)


async def test_closing_says_how_it_ended_and_what_it_cost(
    session: Session, stored: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    closed = event(await stored(session), RenderClosed)
    assert (closed.outcome, closed.cost_usd_micros, closed.duration_ms > 0) == (Outcome.STORED, 400_000, True)


async def test_a_failed_render_is_closed_as_failed(
    session: Session, stored: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    job = await stored(session, prompt="a [fail] fox")
    assert types(job)[4:] == ["status.observed", "cost.settled", "render.closed"]
    assert (job.state, job.outcome, job.error_code) == (State.FAILED, Outcome.FAILED, "moderation_blocked")


async def test_the_words_of_a_failure_are_recorded(
    session: Session, stored: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    observed = event(await stored(session, prompt="a [fail] fox"), StatusObserved)
    assert "blocked by our moderation system" in observed.error.message.text


async def test_waiting_ends_at_the_timeout_and_the_job_stays_as_it_is(
    slow: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(slow, request_for())
    with pytest.raises(PollTimeout, match="the server keeps rendering"):
        await settle(slow, placed.job, interval_s=0.05, timeout_s=0)
    assert slow.ledger.job(placed.job.job_id).state is State.RUNNING


async def test_settling_goes_on_where_it_stopped(
    slow: Session, request_for: Callable[..., RenderRequest], clock: Clock
) -> None:
    placed = await place(slow, request_for())
    with pytest.raises(PollTimeout):
        await settle(slow, placed.job, interval_s=0.05, timeout_s=0)
    clock.now += 10
    job = await settle(slow, slow.ledger.job(placed.job.job_id), **NO_WAIT)
    assert job.state is State.STORED


async def test_only_news_is_recorded(
    slow: Session,
    request_for: Callable[..., RenderRequest],
    clock: Clock,
    event: LastEvent,
) -> None:
    job = (await place(slow, request_for())).job
    versions = []
    for seconds in (0, 2, 0.1, 0.1, 2):
        clock.now += seconds
        job = await refresh(slow, job)
        versions.append(job.version)
    assert versions == [4, 5, 5, 5, 6]


async def test_progress_is_recorded_every_ten_points(
    slow: Session, request_for: Callable[..., RenderRequest], clock: Clock
) -> None:
    job = (await place(slow, request_for())).job
    for _ in range(30):
        clock.now += 0.3
        job = await refresh(slow, job)
    assert 4 + 5 <= job.version <= 4 + 11


async def test_a_watcher_is_told_of_every_observation(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    observed: list[Status] = []
    placed = await place(session, request_for())
    await settle(
        session, placed.job, watch=lambda _, observation: observed.append(observation.status), **NO_WAIT
    )
    assert observed == [Status.COMPLETED]


async def test_a_settled_job_is_returned_as_it_is(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    assert await settle(session, job, **NO_WAIT) == job


async def test_a_job_without_a_video_is_returned_as_it_is(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    denied = (await place(session, request_for(max_cost_usd_micros=1))).job
    assert await settle(session, denied, **NO_WAIT) == denied


async def test_two_who_settle_one_job_record_it_once(
    session: Session,
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    placed = await place(session, request_for())
    other = at(str(session.settings.base_url))
    earlier = await settle(other, placed.job, **NO_WAIT)
    later = await settle(session, placed.job, **NO_WAIT)
    assert (later, types(later)[4:]) == (earlier, SETTLED)
    assert intact()


async def test_a_job_that_another_settles_meanwhile_is_recorded_once(
    session: Session,
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
) -> None:
    placed = await place(session, request_for())
    other = at(str(session.settings.base_url))

    def meanwhile(*_: Any) -> None:
        thread = Thread(target=lambda: asyncio.run(_settle(other, placed.job)))
        thread.start()
        thread.join()

    job = await settle(session, placed.job, watch=meanwhile, **NO_WAIT)
    assert (job.state, types(job)[4:]) == (State.STORED, SETTLED)


async def _settle(session: Session, job: Job) -> Job:
    return await settle(session, job, **NO_WAIT)


async def test_a_video_of_another_size_is_kept_and_marked(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
    clip: bytes,
    event: LastEvent,
) -> None:
    faults.then(200, video(size="720x1280")).then(200, video()).then(200, clip, kind="video/mp4")
    session = at(faults.base_url)
    placed = await place(session, request_for(size="720x1280", seconds=8))
    job = await settle(session, placed.job, **NO_WAIT)
    assert [m.field for m in event(job, AssetStored).mismatches] == ["size", "duration_ms"]


async def test_bytes_that_are_no_video_are_not_kept(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
) -> None:
    faults.then(200, video()).then(200, video()).then(200, b"\0" * 5_000, kind="video/mp4")
    session = at(faults.base_url)
    placed = await place(session, request_for())
    with pytest.raises(AssetUnusable, match=r"does not decode .*: `sora-ledger poll` downloads it again"):
        await settle(session, placed.job, **NO_WAIT)
    assert not (session.assets.folder / "sha256").exists()
    assert session.ledger.job(placed.job.job_id).state is State.COMPLETED


async def test_a_page_in_the_place_of_the_bytes_is_not_kept(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
) -> None:
    faults.then(200, video()).then(200, video()).then(200, b"<html>", kind="text/html")
    session = at(faults.base_url)
    placed = await place(session, request_for())
    with pytest.raises(ServerUnreadable):
        await settle(session, placed.job, **NO_WAIT)
    assert session.ledger.job(placed.job.job_id).state is State.COMPLETED


async def test_a_download_that_breaks_off_is_fetched_again(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
    clip: bytes,
) -> None:
    faults.then(200, video()).then(200, video()).then(200, clip[:1_000], kind="video/mp4")
    faults.answers[-1][1]["content-length"] = str(len(clip))
    session = at(faults.then(200, clip, kind="video/mp4").base_url)
    placed = await place(session, request_for())
    assert (await settle(session, placed.job, **NO_WAIT)).state is State.STORED


async def test_a_video_that_expired_is_recorded_as_lost(
    sandbox: Callable[..., SandboxServer],
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
    clock: Clock,
    types: Callable[[Job], list[str]],
) -> None:
    clock.now = time.time() - 7_200
    session = at(sandbox().base_url)
    placed = await place(session, request_for())
    clock.now = time.time()
    with pytest.raises(ContentExpired, match="render it again"):
        await settle(session, placed.job, **NO_WAIT)
    job = session.ledger.job(placed.job.job_id)
    assert (job.state, types(job)[5:]) == (State.LOST, ["asset.lost", "cost.settled", "render.closed"])


@pytest.fixture
async def unknown(
    faults: Faults,
    video: Callable[..., bytes],
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
) -> Job:
    """Return a job that runs at a server which has forgotten it."""
    faults.then(200, video(status="queued")).then(404, UNKNOWN)
    return (await place(at(faults.base_url), request_for())).job


async def test_a_video_its_server_does_not_know_may_still_be_found(
    unknown: Job, faults: Faults, at: Callable[[str], Session]
) -> None:
    with pytest.raises(VideoNotFound):
        await settle(at(faults.base_url), unknown, **NO_WAIT)
    assert at(faults.base_url).ledger.job(unknown.job_id) == unknown


async def test_a_video_its_server_does_not_know_a_day_later_is_lost_and_booked_as_estimated(
    unknown: Job,
    faults: Faults,
    at: Callable[[str], Session],
    types: Callable[[Job], list[str]],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    session = replace(at(faults.base_url), clock=lambda: utc_now() + timedelta(days=1))
    with pytest.raises(VideoNotFound):
        await settle(session, unknown, **NO_WAIT)
    job = session.ledger.job(unknown.job_id)
    assert (job.state, types(job)[4:]) == (State.LOST, ["asset.lost", "cost.settled", "render.closed"])
    assert (event(job, AssetLost).cause, job.settled_usd_micros) == ("gone", job.estimate_usd_micros)
    assert intact()


async def test_a_lost_video_that_turns_up_again_can_be_downloaded(
    unknown: Job, faults: Faults, at: Callable[[str], Session], clip: bytes, intact: Callable[[], bool]
) -> None:
    session = replace(at(faults.base_url), clock=lambda: utc_now() + timedelta(days=1))
    with pytest.raises(VideoNotFound):
        await settle(session, unknown, **NO_WAIT)
    faults.then(200, clip, kind="video/mp4")
    job = await fetch(session, session.ledger.job(unknown.job_id), Variant.VIDEO)
    assert (job.state, job.outcome, intact()) == (State.STORED, Outcome.LOST, True)


async def test_a_settled_job_leaves_an_intact_ledger(
    session: Session, stored: Callable[..., Awaitable[Job]], intact: Callable[[], bool]
) -> None:
    await stored(session)
    assert intact()
