"""Sweeps: what a list tells is not asked for one by one, and no job stops the others."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from ledger.events import StatusObserved
from ledger.job import Job
from ledger.terms import State
from render_service.runtime.settings import Settings
from render_service.session.session import Session, utc_now
from render_service.settlement import observe
from render_service.settlement.observe import Observer
from render_service.settlement.sweep import settle_all
from render_service.submission.submit import place
from sora_adapter.errors import VideoNotFound
from sora_adapter.polling import Clock, PollTimeout
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Faults
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

RENDER_S = 60.0
DOWNLOAD_S = 0.2
SOME = 3


@pytest.fixture
def slow(sandbox: Callable[..., SandboxServer]) -> SandboxServer:
    """Return a sandbox whose renders take a minute of its own clock."""
    return sandbox(render_seconds=RENDER_S)


@pytest.fixture
def time_flies(clock: Any) -> Clock:
    """Return a clock on which sleeping takes no time, and takes the sandbox's clock along.

    Once renders are completed each sleep gives real downloads a moment, or the deadline passes before them.
    """
    passed = [0.0]

    async def sleep(seconds: float) -> None:
        if passed[0] >= RENDER_S:
            await asyncio.sleep(DOWNLOAD_S)
        passed[0] += seconds
        clock.now += seconds

    return Clock(now=lambda: passed[0], sleep=sleep, jitter=lambda: 0.0)


@pytest.fixture
def started(request_for: Callable[..., RenderRequest]) -> Callable[..., Awaitable[list[Job]]]:
    """Submit some jobs."""

    async def start(session: Session, count: int = SOME, **changes: Any) -> list[Job]:
        return [(await place(session, request_for(prompt=f"fox {n}", **changes))).job for n in range(count)]

    return start


def requests_to(server: SandboxServer) -> dict[str, int]:
    return dict(httpx2.get(f"{server.origin}/_sandbox/requests").json())


def states(ends: Any) -> set[State]:
    return {end.job.state for end in ends.values()}


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Have lists asked for in pages of ten: jobs for pages of a hundred take seconds to make."""
    monkeypatch.setattr(observe, "PAGE", 10)
    return 10


async def test_two_pages_of_running_jobs_cost_two_requests_a_round(
    at: Callable[[str], Session],
    slow: SandboxServer,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    short_pages: int,
) -> None:
    session = at(slow.base_url)
    jobs = await started(session, 2 * short_pages)
    ends = await settle_all(session, jobs, interval_s=15, timeout_s=50, clock=time_flies)
    rounds = 5  # at 0, 15, 30, 45 and the last look at 50
    assert (requests_to(slow)["lists"], requests_to(slow).get("retrieves", 0)) == (2 * rounds, 0)
    assert all(isinstance(end.error, PollTimeout) for end in ends.values())


async def test_groups_that_are_observed_together_share_one_reading_of_the_list(
    at: Callable[[str], Session],
    slow: SandboxServer,
    started: Callable[..., Awaitable[list[Job]]],
    short_pages: int,
) -> None:
    session, size = at(slow.base_url), short_pages // 2
    jobs = await started(session, 5 * size)  # on three pages
    async with session.connect(session.profile()) as client:
        observer = Observer(session, client, asyncio.Semaphore(4))
        groups = [await observer.observe(jobs[start : start + size]) for start in range(0, 5 * size, size)]
        assert requests_to(slow)["lists"] == 3
        assert [len([one for one in group if one.observation]) for group in groups] == [size] * 5
        await observer.observe(jobs[:size])  # again: what was used is read anew
    assert requests_to(slow)["lists"] == 6


async def test_what_a_sweep_settles_is_stored_and_closed(
    at: Callable[[str], Session],
    slow: SandboxServer,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    intact: Callable[[], bool],
) -> None:
    session = at(slow.base_url)
    ends = await settle_all(session, await started(session), interval_s=10, timeout_s=600, clock=time_flies)
    assert states(ends) == {State.STORED}
    assert [end.job for end in ends.values()] == [session.ledger.job(job_id) for job_id in ends]
    assert intact()


async def test_what_a_list_told_is_recorded_as_such_and_only_where_it_is_news(
    at: Callable[[str], Session],
    slow: SandboxServer,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    types: Callable[[Job], list[str]],
    event: LastEvent,
) -> None:
    session = at(slow.base_url)
    [job, _] = jobs = await started(session, 2)
    await settle_all(session, jobs, interval_s=1, timeout_s=600, clock=time_flies)
    assert event(job, StatusObserved).source == "list"
    assert types(job).count("status.observed") <= 12


async def test_one_job_alone_is_asked_for_by_its_id(
    at: Callable[[str], Session],
    slow: SandboxServer,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
) -> None:
    session = at(slow.base_url)
    await settle_all(session, await started(session, 1), interval_s=30, timeout_s=600, clock=time_flies)
    assert requests_to(slow).get("lists", 0) == 0


async def test_where_the_profile_has_no_list_every_job_is_asked_for(
    at: Callable[[str], Session],
    slow: SandboxServer,
    settings: Settings,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
) -> None:
    session = at(slow.base_url)
    lite = replace(session, settings=replace(session.settings, profile_name="litellm"))
    jobs = await started(lite, profile="litellm")
    ends = await settle_all(lite, jobs, interval_s=30, timeout_s=600, clock=time_flies)
    assert (states(ends), requests_to(slow).get("lists", 0)) == ({State.STORED}, 0), ends
    assert requests_to(slow)["retrieves"] >= SOME


async def test_jobs_far_down_a_long_list_are_asked_for_one_by_one(
    at: Callable[[str], Session],
    slow: SandboxServer,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    short_pages: int,
) -> None:
    session = at(slow.base_url)
    jobs = await started(session, 2)
    await started(session, short_pages)
    await settle_all(session, jobs, interval_s=30, timeout_s=0, clock=time_flies)
    assert (requests_to(slow)["lists"], requests_to(slow)["retrieves"]) == (1, 2)


async def test_trouble_with_the_list_is_waited_out(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
) -> None:
    session = at(sandbox(faults=("list=503:2", "list=429@7:1")).base_url)
    ends = await settle_all(session, await started(session), interval_s=1, timeout_s=600, clock=time_flies)
    assert (states(ends), time_flies.now() >= 7) == ({State.STORED}, True)


async def test_a_list_that_is_refused_is_not_asked_for_again(
    at: Callable[[str], Session],
    faults: Faults,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    video: Callable[..., bytes],
    clip: bytes,
) -> None:
    for number in range(2):
        faults.then(200, video(id=f"video_{number}", status="queued"))
    faults.then(405, b'{"error": {"message": "Method Not Allowed"}}')
    faults.then(200, video(id="video_0", status="failed")).then(200, video(id="video_1", status="failed"))
    session = at(faults.base_url)
    ends = await settle_all(session, await started(session, 2), interval_s=1, timeout_s=60, clock=time_flies)
    assert states(ends) == {State.FAILED}
    assert sum(line.startswith("GET /v1/videos?") for line in faults.asked) == 1


async def test_a_video_the_server_does_not_know_ends_its_own_job_only(
    at: Callable[[str], Session],
    faults: Faults,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    video: Callable[..., bytes],
) -> None:
    for number in range(2):
        faults.then(200, video(id=f"video_{number}", status="queued"))
    failed = json.loads(video(id="video_0", status="failed"))
    faults.then(200, json.dumps({"object": "list", "data": [failed], "has_more": False}).encode())
    faults.then(404, b'{"error": {"message": "no such video", "code": "video_not_found"}}')
    session = at(faults.base_url)
    jobs = await started(session, 2)
    ends = await settle_all(session, jobs, interval_s=10, timeout_s=600, clock=time_flies)
    assert [type(ends[job.job_id].error) for job in jobs] == [type(None), VideoNotFound]
    assert [ends[job.job_id].job.state for job in jobs] == [State.FAILED, State.RUNNING]


async def test_a_video_the_server_does_not_know_a_day_later_is_lost(
    at: Callable[[str], Session],
    faults: Faults,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    video: Callable[..., bytes],
) -> None:
    faults.then(200, video(status="queued"))
    faults.then(404, b'{"error": {"message": "no such video", "code": "video_not_found"}}')
    session = at(faults.base_url)
    jobs, later = await started(session, 1), replace(session, clock=lambda: utc_now() + timedelta(days=1))
    ends = await settle_all(later, jobs, interval_s=10, timeout_s=600, clock=time_flies)
    assert [(end.job.state, type(end.error)) for end in ends.values()] == [(State.LOST, VideoNotFound)]


async def test_a_server_that_is_gone_ends_with_the_time(
    at: Callable[[str], Session],
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
    faults: Faults,
    video: Callable[..., bytes],
) -> None:
    faults.then(200, video(status="queued")).then(0)
    session = at(faults.base_url)
    ends = await settle_all(session, await started(session, 1), interval_s=1, timeout_s=30, clock=time_flies)
    [end] = ends.values()
    assert (type(end.error), end.job.state) == (PollTimeout, State.RUNNING)
    assert "gave no answer" in str(end.error)


async def test_a_demanded_wait_beyond_the_deadline_ends_the_waiting(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
) -> None:
    server = sandbox(render_seconds=RENDER_S, faults=("list=429@100",))
    session = at(server.base_url)
    ends = await settle_all(session, await started(session), interval_s=1, timeout_s=50, clock=time_flies)
    assert ({type(end.error) for end in ends.values()}, time_flies.now()) == ({PollTimeout}, 0)


async def test_jobs_without_a_video_are_returned_as_they_are(
    session: Session, started: Callable[..., Awaitable[list[Job]]]
) -> None:
    jobs = await started(session, 2, max_cost_usd_micros=1)
    ends = await settle_all(session, jobs, interval_s=1, timeout_s=1)
    assert [end.job for end in ends.values()] == jobs


async def test_the_time_counts_from_the_last_job_that_came(
    at: Callable[[str], Session],
    slow: SandboxServer,
    started: Callable[..., Awaitable[list[Job]]],
    time_flies: Clock,
) -> None:
    session = at(slow.base_url)

    async def coming() -> AsyncIterator[Job]:
        for job in await started(session, 2):
            while time_flies.now() < RENDER_S:  # noqa: ASYNC110  # time flies in another task
                await asyncio.sleep(0)
            yield job

    ends = await settle_all(
        session, await started(session, 1), coming=coming(), interval_s=10, timeout_s=20, clock=time_flies
    )
    assert states(ends) == {State.STORED}
    assert len(ends) == 3


async def test_a_watcher_is_told_of_every_change(
    session: Session, started: Callable[..., Awaitable[list[Job]]]
) -> None:
    states: list[State] = []
    jobs = await started(session, 2)
    await settle_all(session, jobs, interval_s=1, timeout_s=5, watch=lambda job: states.append(job.state))
    assert {State.RUNNING, State.COMPLETED, State.STORED} <= set(states)
