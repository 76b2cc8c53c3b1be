"""Which connection a request goes over, and what is known when it breaks."""

import asyncio
from typing import Any

import pytest

import sora_adapter.transport
from ledger.events import SubmissionIntended, SubmissionUnknown
from sora_adapter.client import VideosClient
from sora_adapter.profiles import Profile
from sora_adapter.requests import SubmitCall
from tests.sora_adapter.conftest import FaultServer

pytestmark = pytest.mark.anyio


async def test_a_connection_is_used_again_at_once(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, video).for_every_request()
    await client.observe("video_1")
    await client.observe("video_1")
    assert server.connections == 1


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again(
    server: FaultServer, openai_profile: Profile, video: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sora_adapter.transport, "IDLE_S", 0.0)
    server.answers(200, video).for_every_request()
    async with VideosClient(openai_profile, server.base_url, "any") as client:
        await client.observe("video_1")
        await client.observe("video_1")
    assert server.connections == 2


async def test_a_submission_whose_kept_connection_breaks_is_unknown_and_not_sent_again(
    server: FaultServer,
    client: VideosClient,
    video: dict[str, Any],
    intent: SubmissionIntended,
    call: SubmitCall,
) -> None:
    server.answers(200, video).then_stays_open()
    await client.observe("video_1")
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionUnknown)
    assert (server.posts, server.connections) == (1, 1)


async def test_requests_at_once_have_a_connection_each_and_later_ones_take_those_over(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, video).for_every_request()
    for _ in range(2):
        await asyncio.gather(*(client.observe("video_1") for _ in range(3)))
    assert (len(server.requests), server.connections) == (6, 3)


async def test_what_was_idle_for_too_long_is_closed_by_the_next_request(
    server: FaultServer, openai_profile: Profile, video: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sora_adapter.transport, "IDLE_S", 0.0)
    server.answers(200, video).for_every_request()
    async with VideosClient(openai_profile, server.base_url, "any") as client:
        await asyncio.gather(*(client.observe("video_1") for _ in range(3)))
        await client.observe("video_1")
        while server.open > 1:  # noqa: ASYNC110  # the server's side of each close comes a moment later
            await asyncio.sleep(0)
    assert (server.connections, server.open) == (4, 1)


async def test_a_request_that_failed_leaves_its_place_to_the_next(
    server: FaultServer,
    client: VideosClient,
    video: dict[str, Any],
    intent: SubmissionIntended,
    call: SubmitCall,
) -> None:
    server.resets(after_reading=True).answers(200, video).for_every_request()
    outcome = await client.submit(intent, call)
    await client.observe("video_1")
    assert (outcome.type, server.connections) == ("submission.unknown", 2)
