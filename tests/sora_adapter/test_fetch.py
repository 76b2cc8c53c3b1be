"""Downloading: streamed, complete or said to be incomplete, and why there is nothing to download."""

import json
from typing import Any

import pytest

from ledger.terms import Variant
from sora_adapter.client import VideosClient
from sora_adapter.errors import (
    ContentExpired,
    ContentGone,
    ContentMissing,
    ContentNotReady,
    ContentTruncated,
    ServerFailed,
    ServerUnreachable,
    ServerUnreadable,
    VideoNotFound,
)
from sora_adapter.transport import CHUNK_BYTES
from tests.sora_adapter.conftest import FaultServer

pytestmark = pytest.mark.anyio

MP4 = {"content-type": "video/mp4"}
NOT_FOUND = {"error": {"message": "Video is not ready yet, use GET /v1/videos/{video_id} to check status."}}
NOON = "Fri, 20 Nov 2026 12:00:00 GMT"
NOON_UNIX = 1_795_176_000


async def _download(client: VideosClient, variant: Variant = Variant.VIDEO) -> list[bytes]:
    async with client.fetch("video_1", variant) as content:
        return [chunk async for chunk in content]


async def test_the_bytes_come_as_they_are(server: FaultServer, client: VideosClient) -> None:
    server.sends(200, b"\0\1\2" * 200_000, MP4)
    assert b"".join(await _download(client)) == b"\0\1\2" * 200_000


async def test_no_chunk_is_larger_than_the_memory_promised(server: FaultServer, client: VideosClient) -> None:
    server.sends(200, bytes(3 * CHUNK_BYTES + 1), MP4)
    assert [len(chunk) for chunk in await _download(client)] == [CHUNK_BYTES] * 3 + [1]


async def test_type_and_length_are_known_before_the_first_byte(
    server: FaultServer, client: VideosClient
) -> None:
    server.sends(200, b"RIFF", {"content-type": "image/webp; q=1"})
    async with client.fetch("video_1", Variant.THUMBNAIL) as content:
        assert (content.content_type, content.content_length) == ("image/webp", 4)


async def test_a_body_without_announced_length_is_taken_whole(
    server: FaultServer, client: VideosClient
) -> None:
    server.says(b"HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\nconnection: close\r\n\r\nabc")
    assert await _download(client) == [b"abc"]


async def test_the_variant_is_asked_for_by_name(server: FaultServer, client: VideosClient) -> None:
    server.sends(200, b"x", MP4)
    await _download(client, Variant.SPRITESHEET)
    assert server.requests[0].path == "/v1/videos/video_1/content?variant=spritesheet"


async def test_bytes_are_asked_for_as_they_are_so_that_they_can_be_counted(
    server: FaultServer, client: VideosClient
) -> None:
    server.sends(200, b"x", MP4)
    await _download(client)
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_redirect_to_where_the_bytes_are_is_followed(
    server: FaultServer, client: VideosClient
) -> None:
    server.answers(302, "", location="/signed/1").sends(200, b"abc", MP4)
    assert await _download(client) == [b"abc"]


async def test_leaving_early_closes_the_connection_quietly(server: FaultServer, client: VideosClient) -> None:
    server.sends(200, bytes(CHUNK_BYTES * 40), MP4)
    async with client.fetch("video_1", Variant.VIDEO) as content:
        async for chunk in content:
            assert chunk
            break
    assert server.connections == 1


async def test_fewer_bytes_than_announced_are_a_truncation(server: FaultServer, client: VideosClient) -> None:
    server.sends(200, b"abc", MP4, announced=10)
    with pytest.raises(ContentTruncated, match="after 3 of 10 bytes") as caught:
        await _download(client)
    assert (caught.value.received, caught.value.announced) == (3, 10)


async def test_a_chunked_body_that_breaks_off_is_a_truncation(
    server: FaultServer, client: VideosClient
) -> None:
    server.says(
        b"HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    with pytest.raises(ContentTruncated, match="3 of an unknown number"):
        await _download(client)


@pytest.mark.parametrize("status", ["queued", "in_progress"])
async def test_no_bytes_before_completion_are_not_ready(
    server: FaultServer, client: VideosClient, video: dict[str, Any], status: str
) -> None:
    server.answers(404, NOT_FOUND).answers(200, {**video, "status": status})
    with pytest.raises(ContentNotReady):
        await _download(client)


async def test_no_bytes_after_expires_at_are_expired_by_the_servers_own_clock(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    completed = {**video, "status": "completed", "expires_at": NOON_UNIX}
    server.answers(404, NOT_FOUND, date=NOON).answers(200, completed)
    with pytest.raises(ContentExpired):
        await _download(client)


async def test_410_is_expired(server: FaultServer, client: VideosClient, video: dict[str, Any]) -> None:
    server.answers(410, NOT_FOUND).answers(200, {**video, "status": "completed"})
    with pytest.raises(ContentExpired):
        await _download(client)


async def test_a_404_with_a_code_is_believed(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    completed = {**video, "status": "completed", "expires_at": NOON_UNIX + 1}
    gone = {"error": {"message": "no such file", "code": "content_gone"}}
    server.answers(404, gone, date=NOON).answers(200, completed)
    with pytest.raises(ContentGone):
        await _download(client)


async def test_a_404_without_a_code_before_expires_at_proves_nothing_yet(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    completed = {**video, "status": "completed", "expires_at": NOON_UNIX + 1}
    server.answers(404, NOT_FOUND, date=NOON).answers(200, completed)
    with pytest.raises(ContentMissing, match="yet, although it is completed"):
        await _download(client)


async def test_a_failed_video_has_no_bytes(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(422, NOT_FOUND).answers(200, {**video, "status": "failed"})
    with pytest.raises(ContentGone, match="failed"):
        await _download(client)


async def test_a_video_nobody_knows_is_not_found(server: FaultServer, client: VideosClient) -> None:
    server.answers(404, {"error": {"message": "Video video_1 not found."}})
    with pytest.raises(VideoNotFound):
        await _download(client)


async def test_a_failing_server_is_asked_once(server: FaultServer, client: VideosClient) -> None:
    server.answers(503, None)
    with pytest.raises(ServerFailed):
        await _download(client)
    assert server.connections == 1


async def test_a_connection_lost_before_the_answer_is_unreachable(
    server: FaultServer, client: VideosClient
) -> None:
    server.resets(after_reading=True)
    with pytest.raises(ServerUnreachable):
        await _download(client)


async def test_an_error_that_breaks_off_is_unreachable(server: FaultServer, client: VideosClient) -> None:
    server.sends(404, b"{", {"content-type": "application/json"}, announced=99)
    with pytest.raises(ServerUnreachable):
        await _download(client)


@pytest.mark.parametrize("body", ["<html>Sign in</html>", {"error": {"message": "not ready"}}])
async def test_text_in_the_place_of_bytes_is_no_video(
    server: FaultServer, client: VideosClient, body: Any
) -> None:
    kind = "text/html" if isinstance(body, str) else "application/json"
    server.sends(200, json.dumps(body).encode(), {"content-type": kind})
    with pytest.raises(ServerUnreadable, match=f"200 {kind} instead of the bytes of a video"):
        await _download(client)


@pytest.mark.parametrize(
    ("headers", "tag"),
    [
        ({"accept-ranges": "bytes", "etag": '"v1"'}, '"v1"'),
        ({"accept-ranges": "Bytes", "etag": '"v1"'}, '"v1"'),
        ({"accept-ranges": "bytes", "etag": 'W/"v1"'}, None),
        ({"accept-ranges": "bytes"}, None),
        ({"accept-ranges": "none", "etag": '"v1"'}, None),
        ({"etag": '"v1"'}, None),
    ],
)
async def test_a_file_has_a_tag_if_a_strong_one_of_it_can_be_asked_for_in_parts(
    server: FaultServer, client: VideosClient, headers: dict[str, str], tag: str | None
) -> None:
    server.sends(200, b"abc", MP4 | headers)
    async with client.fetch("video_1", Variant.VIDEO) as content:
        assert (content.tag, content.begins_at) == (tag, 0)
