"""The whole way against the sandbox, over real HTTP."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.events import SubmissionAccepted, SubmissionIntended
from ledger.terms import Operation, Status, Variant
from sora_adapter.client import VideosClient
from sora_adapter.errors import ContentNotReady, ServerUnreadable, VideoNotFound
from sora_adapter.models import Observation
from sora_adapter.polling import poll
from sora_adapter.profiles import profile
from sora_adapter.requests import SubmitCall
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[VideosClient]:
    settings = SandboxSettings(data_dir=tmp_path, render_seconds=0, media="cached")
    with SandboxServer(settings) as server:
        async with VideosClient(profile("sandbox"), server.base_url, None) as client:
            yield client


async def _ignore(_: Observation) -> None:
    """Take note of nothing."""


async def _rendered(client: VideosClient, intent: SubmissionIntended, call: SubmitCall) -> str:
    accepted = await client.submit(intent, call)
    assert isinstance(accepted, SubmissionAccepted)
    observation = await poll(client, accepted.video_id, interval_s=0.05, timeout_s=30, on_observation=_ignore)
    assert observation.status is Status.COMPLETED
    return accepted.video_id


async def test_a_render_is_submitted_awaited_and_downloaded_whole(
    sandbox: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    video_id = await _rendered(sandbox, intent, call)
    async with sandbox.fetch(video_id, Variant.VIDEO) as content:
        received = [chunk async for chunk in content]
    assert sum(map(len, received)) == content.content_length
    assert received[0][4:8] == b"ftyp"


async def test_a_remix_names_its_source(
    sandbox: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    source = await _rendered(sandbox, intent, call)
    remix = await _rendered(sandbox, intent, replace(call, operation=Operation.REMIX, source_video_id=source))
    assert (await sandbox.observe(remix)).remixed_from_video_id == source


async def test_a_list_finds_what_was_rendered(
    sandbox: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    video_id = await _rendered(sandbox, intent, call)
    assert [observation.video_id for observation in (await sandbox.list(limit=5)).observations] == [video_id]


async def test_a_deletion_is_confirmed_and_then_not_found(
    sandbox: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    video_id = await _rendered(sandbox, intent, call)
    assert [(await sandbox.delete(video_id)).answer for _ in range(2)] == ["deleted", "not_found"]


async def test_a_download_that_comes_too_early_is_not_ready(
    tmp_path: Path, intent: SubmissionIntended, call: SubmitCall
) -> None:
    with SandboxServer(SandboxSettings(data_dir=tmp_path, render_seconds=3600, media="cached")) as server:
        async with VideosClient(profile("sandbox"), server.base_url, None) as client:
            accepted = await client.submit(intent, call)
            assert isinstance(accepted, SubmissionAccepted)
            with pytest.raises(ContentNotReady):
                async with client.fetch(accepted.video_id, Variant.VIDEO):
                    pass


async def test_a_video_it_never_made_is_not_found(sandbox: VideosClient) -> None:
    with pytest.raises(VideoNotFound):
        await sandbox.observe("video_0")


async def test_a_base_url_without_v1_is_refused_with_the_one_that_is_meant(sandbox: VideosClient) -> None:
    root = sandbox.base_url.removesuffix("/v1")
    async with VideosClient(profile("custom"), root, "any-key") as client:
        with pytest.raises(ServerUnreadable, match=f"set OPENAI_BASE_URL to {root}/v1"):
            await client.observe("video_0")
