"""Which connection a request goes over, and what is known when it breaks."""

from typing import Any

import pytest

import sora_adapter.transport
from ledger.events import SubmissionIntended, SubmissionUnknown
from sora_adapter.calls import SubmitCall
from sora_adapter.client import VideosClient
from sora_adapter.profiles import Profile

pytestmark = pytest.mark.anyio


async def test_a_connection_is_used_again_at_once(
    server: Any, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, video).for_every_request()
    await client.observe("video_1")
    await client.observe("video_1")
    assert server.connections == 1


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again(
    server: Any, openai_profile: Profile, video: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sora_adapter.transport, "KEPT_S", 0.0)
    server.answers(200, video).for_every_request()
    async with VideosClient(openai_profile, server.base_url, "any") as client:
        await client.observe("video_1")
        await client.observe("video_1")
    assert server.connections == 2


async def test_a_submission_whose_kept_connection_breaks_is_unknown_and_not_sent_again(
    server: Any, client: VideosClient, video: dict[str, Any], intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(200, video).then_stays_open()
    await client.observe("video_1")
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionUnknown)
    assert (server.posts, server.connections) == (1, 1)
