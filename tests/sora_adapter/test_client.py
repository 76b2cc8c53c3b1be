"""Asking about videos, deleting them, and what a person is told when it does not work."""

import gzip
import hashlib
import hmac
import json
import re
import socket
from typing import Any

import pytest

from ledger.events import SubmissionIntended, VideoDeleted
from ledger.terms import Status
from sora_adapter.client import VideosClient
from sora_adapter.errors import (
    ServerBusy,
    ServerFailed,
    ServerRefused,
    ServerUnreachable,
    ServerUnreadable,
    SettingsUnusable,
    VideoNotFound,
)
from sora_adapter.messages import Server, trouble
from sora_adapter.models import Character
from sora_adapter.profiles import Profile, profile
from sora_adapter.requests import SubmitCall
from tests.sora_adapter.conftest import FaultServer

pytestmark = pytest.mark.anyio

PAGE = "<html><title>Sign in</title></html>"
NO_VIDEO = {"error": {"message": "Video video_9 not found.", "type": "invalid_request_error", "code": None}}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def server_of(name: str, base_url: str = "") -> Server:
    return Server(base_url, profile(name).key_variable, profile(name).can_list)


async def test_an_observation_holds_what_the_server_answered(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    error = {"code": "moderation_blocked", "message": "Blocked."}
    server.answers(200, {**video, "status": "failed", "progress": 40, "error": error}, x_request_id="req_1")
    observation = await client.observe("video_1")
    assert observation.error
    assert (
        observation.status,
        observation.progress,
        observation.error.code,
        observation.provider_request_id,
    ) == (
        Status.FAILED,
        40,
        "moderation_blocked",
        "req_1",
    )


async def test_the_hint_when_to_ask_again_is_kept(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, video, openai_poll_after_ms="2500")
    assert (await client.observe("video_1")).poll_after_ms == 2500


async def test_an_unknown_status_word_is_kept_and_is_not_final(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, {**video, "status": "simmering"})
    observation = await client.observe("video_1")
    assert (observation.status, observation.server_status, observation.is_final) == (
        Status.IN_PROGRESS,
        "simmering",
        False,
    )


async def test_a_status_word_of_the_profile_is_mapped_and_kept(
    server: FaultServer, video: dict[str, Any]
) -> None:
    server.answers(200, {**video, "status": "pending"})
    async with VideosClient(profile("custom"), server.base_url, None) as client:
        observation = await client.observe("video_1")
    assert (observation.status, observation.server_status) == (Status.QUEUED, "pending")


async def test_an_id_becomes_one_segment_of_the_path(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, video)
    await client.observe("a/../b?c")
    assert server.requests[0].path == "/v1/videos/a%2F..%2Fb%3Fc"


@pytest.mark.parametrize("video_id", ["", ".", ".."])
async def test_an_id_that_would_leave_the_path_is_never_sent(
    server: FaultServer, client: VideosClient, video_id: str
) -> None:
    with pytest.raises(VideoNotFound):
        await client.delete(video_id)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"error": {"message": "Bad key."}}, ServerRefused),
        (403, PAGE, ServerRefused),
        (400, {"detail": "no"}, ServerRefused),
        (404, NO_VIDEO, VideoNotFound),
        (404, {"detail": "Video not found"}, VideoNotFound),
        (404, {"detail": "Not Found"}, ServerUnreadable),
        (404, {"error": {"message": "Invalid URL (GET /videos/video_1)"}}, ServerUnreadable),
        (404, PAGE, ServerUnreadable),
        (405, {"detail": "Method Not Allowed"}, ServerUnreadable),
        (200, PAGE, ServerUnreadable),
        (200, {"object": "list"}, ServerUnreadable),
        (429, {"error": {"message": "Slow down."}}, ServerBusy),
        (500, PAGE, ServerFailed),
        (503, None, ServerFailed),
    ],
)
async def test_each_kind_of_refusal_is_its_own_error_and_asked_once(
    server: FaultServer, client: VideosClient, status: int, body: Any, error: type[Exception]
) -> None:
    server.answers(status, body)
    with pytest.raises(error):
        await client.observe("video_1")
    assert server.connections == 1


async def test_a_wrong_key_is_answered_with_the_variable_to_set(
    server: FaultServer, client: VideosClient
) -> None:
    server.answers(401, {"error": {"message": "Incorrect API key."}})
    with pytest.raises(ServerRefused, match="set OPENAI_API_KEY to a key of this server"):
        await client.observe("video_1")


async def test_an_unreachable_server_is_answered_with_its_address_and_what_to_check(
    openai_profile: Profile,
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        async with VideosClient(openai_profile, base_url, "sk-key-12345") as client:
            with pytest.raises(
                ServerUnreachable, match=rf"{base_url} gave no answer .* is the server running"
            ):
                await client.observe("video_1")


async def test_html_is_answered_with_the_base_url_that_is_probably_meant(server: FaultServer) -> None:
    server.answers(200, PAGE)
    root = server.base_url.removesuffix("/v1")
    async with VideosClient(profile("custom"), root, None) as client:
        with pytest.raises(ServerUnreadable, match=rf"200 text/html .* set OPENAI_BASE_URL to {root}/v1"):
            await client.observe("video_1")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": {"message": "Bad key."}}, "answered 401: Bad key; set OPENAI_API_KEY"),
        (404, PAGE, "is the base URL right"),
        (307, "", "set OPENAI_BASE_URL to the address it points to"),
        (200, PAGE, "a video may have been created"),
        (500, None, "a video may have been created"),
    ],
)
async def test_an_outcome_that_is_no_acceptance_has_words_for_a_person(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    status: int,
    body: Any,
    expected: str,
) -> None:
    server.answers(status, body)
    outcome = await client.submit(intent, call)
    assert expected in str(trouble(outcome, server_of("openai", client.base_url)))


async def test_a_server_without_a_list_is_not_reported_to_have_one(
    server: FaultServer, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(400, {"error": {"message": "No.", "code": "400"}})
    async with VideosClient(profile("litellm"), server.base_url, None) as client:
        outcome = await client.submit(intent, call)
    message = str(trouble(outcome, server_of("litellm", server.base_url)))
    assert "answered 400 400: No; a video may have been created, and this server lists none" in message


async def test_a_cost_reported_with_an_observation_is_kept(
    server: FaultServer, video: dict[str, Any]
) -> None:
    server.answers(200, video, x_litellm_response_cost="0.8")
    async with VideosClient(profile("litellm"), server.base_url, None) as client:
        assert (await client.observe("video_1")).reported_cost_usd_micros == 800_000


async def test_a_character_is_shown_as_the_server_has_it(server: FaultServer, client: VideosClient) -> None:
    server.answers(200, {"id": "char_1", "name": "Rufus", "created_at": 1_790_000_000})
    assert await client.get_character("char_1") == Character("char_1", "Rufus", 1_790_000_000)
    assert server.requests[0].path == "/v1/videos/characters/char_1"


async def test_a_character_nobody_knows_is_not_found(server: FaultServer, client: VideosClient) -> None:
    server.answers(404, {"error": {"message": "No such character.", "code": "not_found"}})
    with pytest.raises(VideoNotFound):
        await client.get_character("char_9")


async def test_a_lost_answer_has_words_for_a_person(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.resets(after_reading=True)
    error = trouble(await client.submit(intent, call), server_of("openai", client.base_url))
    assert re.search(r"gave no answer \(\w+Error.*\); a video may have been created: .* looks", str(error))


async def test_a_list_is_a_page_with_the_cursor_of_the_next(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, {"object": "list", "data": [video, {**video, "id": "video_2"}], "has_more": True})
    page = await client.list(limit=2, after="video_0", order="asc")
    assert ([observation.video_id for observation in page.observations], page.has_more, page.last_id) == (
        ["video_1", "video_2"],
        True,
        "video_2",
    )


async def test_a_list_asks_for_what_was_given_and_no_more(server: FaultServer, client: VideosClient) -> None:
    server.answers(200, {"object": "list", "data": []})
    await client.list(limit=2, order="desc")
    assert server.requests[0].path == "/v1/videos?limit=2&order=desc"


async def test_a_confirmed_deletion_is_an_event(server: FaultServer, client: VideosClient) -> None:
    server.answers(200, {"id": "video_1", "object": "video.deleted", "deleted": True}, x_request_id="req_2")
    deleted = VideoDeleted(video_id="video_1", answer="deleted", provider_request_id="req_2")
    assert await client.delete("video_1") == deleted


async def test_a_video_the_server_does_not_know_counts_as_deleted(
    server: FaultServer, client: VideosClient
) -> None:
    server.answers(404, NO_VIDEO)
    assert (await client.delete("video_9")).answer == "not_found"


@pytest.mark.parametrize("body", [PAGE, {"detail": "Not Found"}, None], ids=["html", "route", "null"])
async def test_a_404_about_the_address_is_no_deletion(
    server: FaultServer, client: VideosClient, body: Any
) -> None:
    server.answers(404, body)
    with pytest.raises(ServerUnreadable):
        await client.delete("video_1")


@pytest.mark.parametrize("body", [{"deleted": False}, {"id": "video_1"}, PAGE])
async def test_a_deletion_that_is_not_confirmed_is_no_deletion(
    server: FaultServer, client: VideosClient, body: Any
) -> None:
    server.answers(200, body)
    with pytest.raises(ServerUnreadable):
        await client.delete("video_1")


@pytest.mark.parametrize("after_reading", [False, True], ids=["request lost", "answer lost"])
async def test_a_deletion_without_an_answer_is_not_sent_again(
    server: FaultServer, client: VideosClient, *, after_reading: bool
) -> None:
    server.resets(after_reading=after_reading)
    with pytest.raises(ServerUnreachable):
        await client.delete("video_1")
    assert (len(server.requests), server.connections) == (int(after_reading), 1)


@pytest.mark.parametrize("status", [307, 409, 429, 500])
async def test_a_deletion_that_is_refused_is_not_sent_again(
    server: FaultServer, client: VideosClient, status: int
) -> None:
    server.answers(status, NO_VIDEO, location="/v1/elsewhere", retry_after="0")
    with pytest.raises((ServerRefused, ServerBusy, ServerFailed)):
        await client.delete("video_1")
    assert server.connections == 1


async def test_every_call_carries_the_trace_of_its_moment(
    server: FaultServer, openai_profile: Profile, video: dict[str, Any]
) -> None:
    server.answers(200, video)
    spans = iter([TRACE, TRACE.replace("b7ad", "c7ad")])
    async with VideosClient(
        openai_profile, server.base_url, "sk-key-12345", traceparent=lambda: next(spans)
    ) as client:
        await client.observe("video_1")
        await client.observe("video_1")
    assert [request.headers["traceparent"] for request in server.requests] == [
        TRACE,
        TRACE.replace("b7ad", "c7ad"),
    ]


async def test_the_key_is_sent_as_bearer(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.answers(200, video)
    await client.observe("video_1")
    assert server.requests[0].headers["authorization"] == "Bearer sk-test-0123456789abcdef"


async def test_without_a_key_none_is_taken_from_the_environment(
    server: FaultServer, video: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-somebody")
    server.answers(200, video)
    async with VideosClient(profile("custom"), server.base_url, None) as client:
        await client.observe("video_1")
    assert "authorization" not in server.requests[0].headers


async def test_a_server_on_this_machine_is_not_asked_through_a_proxy(
    server: FaultServer, openai_profile: Profile, video: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers(200, video)
    async with VideosClient(openai_profile, server.base_url, "sk-key-12345") as client:
        assert (await client.observe("video_1")).video_id == "video_1"


async def test_the_key_we_sent_appears_nowhere_when_a_server_echoes_it(
    server: FaultServer, intent: SubmissionIntended, call: SubmitCall
) -> None:
    key = "acme/0123456789"
    echo = {"message": f"Incorrect API key provided: {key}.", "code": key, "type": key, "param": key}
    server.answers(401, {"error": echo})
    async with VideosClient(profile("custom"), server.base_url, key) as client:
        outcome = await client.submit(intent, call)
        with pytest.raises(ServerRefused) as caught:
            await client.observe("video_1")
    assert (
        key
        not in f"{outcome!r} {trouble(outcome, server_of('custom'))} {caught.value} {caught.value.detail!r}"
    )


async def test_a_key_in_a_page_is_not_kept(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(502, "<html>Bearer sk-proj-abc***xyz was refused</html>")
    outcome = await client.submit(intent, call)
    assert "sk-proj" not in str(trouble(outcome, server_of("openai")))


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (None, "set OPENAI_BASE_URL"),
        ("localhost:8000/v1", "expected one like https://host/v1"),
        ("ftp://host/v1", "expected one like https://host/v1"),
        ("http://host:99999/v1", "expected one like https://host/v1"),
        ("http://two words/v1", "expected one like https://host/v1"),
        (f"http://{'x' * 70}/v1", "expected one like https://host/v1"),
        ("http://[::1/v1", "expected one like https://host/v1"),
        ("https://me:secret@host/v1", "must not hold a user"),
        ("https://host/v1?key=secret", "must not hold a user"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused_at_once(base_url: str | None, expected: str) -> None:
    with pytest.raises(SettingsUnusable, match=expected):
        VideosClient(profile("custom"), base_url, None)


@pytest.mark.parametrize("base_url", ["https://me:hunter2@host/v1", "https://host/v1?key=hunter2"])
def test_a_secret_in_a_base_url_is_not_repeated(base_url: str) -> None:
    with pytest.raises(SettingsUnusable) as caught:
        VideosClient(profile("custom"), base_url, None)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-ä", "sk-\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(SettingsUnusable) as caught:
        VideosClient(profile("custom"), "http://host/v1", key)
    assert key not in str(caught.value)


def test_a_server_that_needs_a_key_is_not_asked_without_one() -> None:
    with pytest.raises(SettingsUnusable, match="set OPENAI_API_KEY"):
        VideosClient(profile("openai"), None, "  ")


async def test_text_no_database_takes_is_made_storable(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    server.sends(
        200, json.dumps({**video, "prompt": "a\ud800b\0c"}).encode(), {"content-type": "application/json"}
    )
    assert (await client.observe("video_1")).prompt == "a?b\ufffdc"


async def test_an_answer_that_does_not_decompress_is_unreadable(
    server: FaultServer, client: VideosClient
) -> None:
    server.sends(200, b"no gzip", {"content-type": "application/json", "content-encoding": "gzip"})
    with pytest.raises(ServerUnreadable, match=r"something undecodable .DecodingError: it is not gzip"):
        await client.observe("video_1")


async def test_an_encoding_that_was_not_asked_for_is_unreadable(
    server: FaultServer, client: VideosClient
) -> None:
    server.sends(200, b"{}", {"content-type": "application/json", "content-encoding": "br"})
    with pytest.raises(ServerUnreadable, match="'br', which was not asked for"):
        await client.observe("video_1")


async def test_a_compressed_answer_is_read(
    server: FaultServer, client: VideosClient, video: dict[str, Any]
) -> None:
    body = gzip.compress(json.dumps(video).encode())
    server.sends(200, body, {"content-type": "application/json", "content-encoding": "gzip"})
    assert (await client.observe("video_1")).video_id == "video_1"


async def test_a_redirect_is_followed_to_web_addresses_only(
    server: FaultServer, client: VideosClient
) -> None:
    server.answers(302, "", location="file:///etc/passwd")
    with pytest.raises(ServerUnreachable, match="UnsupportedProtocol"):
        await client.observe("video_1")


@pytest.mark.parametrize(
    ("organization", "project"),
    [("", ""), ("org-studio", ""), ("", "proj_film"), ("org-studio", "proj_film")],
)
async def test_the_digest_of_a_key_stands_for_organization_and_project_too(
    monkeypatch: pytest.MonkeyPatch, openai_profile: Profile, organization: str, project: str
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", organization)
    monkeypatch.setenv("OPENAI_PROJECT_ID", project)
    message = f"sora-ledger/account/v1\0attempt_1\0{organization}\0{project}".encode()
    expected = hmac.new(b"sk-test-0123456789abcdef", message, hashlib.sha256).hexdigest()[:16]
    async with VideosClient(openai_profile, "http://127.0.0.1:1/v1", "sk-test-0123456789abcdef") as client:
        assert client.key_digest("attempt_1") == expected
