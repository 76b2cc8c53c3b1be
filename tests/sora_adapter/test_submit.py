"""What becomes of one attempt, and that it is never sent twice."""

import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.events import (
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionUnknown,
)
from ledger.private import private_values
from ledger.terms import Operation, Status
from sora_adapter.client import VideosClient
from sora_adapter.errors import OperationUnsupported, ReferenceUnreadable
from sora_adapter.outcomes import Translator
from sora_adapter.profiles import Profile, profile
from sora_adapter.requests import ReferenceFile, SubmitCall
from sora_adapter.responses import Answer
from sora_adapter.untrusted import redactor
from tests.sora_adapter.conftest import FaultServer

pytestmark = pytest.mark.anyio

ENVELOPE = {"error": {"message": "No.", "type": "invalid_request_error", "param": "size", "code": "bad_size"}}
PAGE = "<!DOCTYPE html><html><body>Welcome</body></html>"


async def test_a_video_in_the_answer_is_an_acceptance(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    video: dict[str, Any],
) -> None:
    server.answers(200, video, x_request_id="req_7")
    assert await client.submit(intent, call) == SubmissionAccepted(
        attempt_id="att_0198",
        video_id="video_1",
        status=Status.QUEUED,
        progress=0,
        reported_model="sora-2",
        reported_size="1280x720",
        reported_seconds="8",
        provider_request_id="req_7",
    )


async def test_202_with_a_video_is_an_acceptance(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    video: dict[str, Any],
) -> None:
    server.answers(202, video)
    assert isinstance(await client.submit(intent, call), SubmissionAccepted)


async def test_a_refusal_keeps_the_servers_error_word_by_word(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(400, ENVELOPE, x_request_id="req_8")
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionRejected)
    error = outcome.error
    assert error.message
    assert (error.http_status, error.code, error.type, error.param, error.message.text) == (
        400,
        "bad_size",
        "invalid_request_error",
        "size",
        "No.",
    )


async def test_an_error_message_is_sealed_under_its_path_in_the_payload(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(400, ENVELOPE)
    [(path, message)] = private_values(await client.submit(intent, call))
    assert message.body
    assert message.body.field == path


async def test_the_wait_a_429_asks_for_is_recorded(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(429, ENVELOPE, retry_after="7")
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionRejected)
    assert outcome.retry_after_ms == 7000


@pytest.mark.parametrize("status", [301, 307, 308, 400, 401, 402, 403, 404, 405, 413, 415, 422, 425, 429])
@pytest.mark.parametrize(
    "body", [ENVELOPE, {"detail": "no"}, PAGE, ""], ids=["openai", "fastapi", "html", "empty"]
)
async def test_an_answer_that_proves_nothing_was_created_is_a_rejection_sent_once(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    status: int,
    body: Any,
) -> None:
    server.answers(status, body, location="https://elsewhere.example/v1/videos")
    outcome = await client.submit(intent, call)
    assert (type(outcome), server.posts, server.connections) == (SubmissionRejected, 1, 1)


@pytest.mark.parametrize(
    ("status", "body", "lost"),
    [
        (200, PAGE, "unreadable"),
        (200, "", "unreadable"),
        (200, {"ok": True}, "unreadable"),
        (200, {"id": "video_1"}, "unreadable"),
        (200, {"id": "..", "status": "queued"}, "unreadable"),
        (200, {"id": "video_1", "status": "queued", "object": "batch"}, "unreadable"),
        (200, [1], "unreadable"),
        (204, "", "unreadable"),
        (302, "", "unreadable"),
        (303, "", "unreadable"),
        (408, ENVELOPE, "timeout"),
        (409, ENVELOPE, "server_error"),
        (499, "", "timeout"),
        (500, ENVELOPE, "server_error"),
        (502, PAGE, "server_error"),
        (503, ENVELOPE, "server_error"),
        (504, PAGE, "server_error"),
    ],
)
async def test_an_answer_that_proves_nothing_is_unknown_and_sent_once(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    status: int,
    body: Any,
    lost: str,
) -> None:
    server.answers(status, body, retry_after="0", location="/login")
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionUnknown)
    assert (outcome.lost, server.posts, server.connections) == (lost, 1, 1)


@pytest.mark.parametrize("after_reading", [False, True], ids=["request lost", "answer lost"])
async def test_a_reset_is_unknown_and_sent_once(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    *,
    after_reading: bool,
) -> None:
    server.resets(after_reading=after_reading)
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionUnknown)
    assert (outcome.lost, server.posts, server.connections) == ("connection", int(after_reading), 1)


@pytest.mark.parametrize("after_reading", [False, True], ids=["request lost", "answer lost"])
async def test_a_silent_server_is_unknown_and_sent_once(
    server: FaultServer,
    openai_profile: Profile,
    intent: SubmissionIntended,
    call: SubmitCall,
    *,
    after_reading: bool,
) -> None:
    server.hangs(after_reading=after_reading)
    async with VideosClient(openai_profile, server.base_url, "sk-key-12345", timeout_s=0.2) as impatient:
        outcome = await impatient.submit(intent, call)
    assert isinstance(outcome, SubmissionUnknown)
    assert (outcome.lost, server.posts, server.connections) == ("timeout", int(after_reading), 1)


@pytest.mark.parametrize(
    ("raw", "lost"),
    [
        pytest.param(b"", "connection", id="closed without a word"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "connection", id="body cut short"),
        pytest.param(b"HTTP/1.1 500 X\r\ncontent-length: 99\r\n\r\n{", "connection", id="error cut short"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "connection", id="not HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
            "unreadable",
            id="not gzip",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-type: x; charset=zz\r\ncontent-length: 2\r\n\r\n\xff{",
            "unreadable",
            id="no such charset",
        ),
        pytest.param(
            b"HTTP/1.1 502 X\r\ncontent-type: x; charset=idna\r\ncontent-length: 2\r\n\r\n\xff{",
            "server_error",
            id="a charset that raises",
        ),
        pytest.param(
            b"HTTP/1.1 302 X\r\nlocation: http://[::1\r\ncontent-length: 0\r\n\r\n",
            "unreadable",
            id="redirected to no address",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n" + b"[" * 90_000,
            "unreadable",
            id="nested without end",
        ),
    ],
)
async def test_an_answer_that_breaks_off_or_makes_no_sense_is_unknown_and_sent_once(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    raw: bytes,
    lost: str,
) -> None:
    server.says(raw)
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionUnknown)
    assert (outcome.lost, server.posts, server.connections) == (lost, 1, 1)


async def test_a_refused_connection_proves_that_nothing_was_sent(
    openai_profile: Profile, intent: SubmissionIntended, call: SubmitCall
) -> None:
    with socket.socket() as bound:  # bound and not listening: the port is ours, and connecting is refused
        bound.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        async with VideosClient(openai_profile, base_url, "sk-key-12345", timeout_s=5) as client:
            outcome = await client.submit(intent, call)
    assert outcome == SubmissionAbsent(attempt_id="att_0198", how="never_connected")


async def test_a_host_that_does_not_exist_proves_that_nothing_was_sent(
    openai_profile: Profile, intent: SubmissionIntended, call: SubmitCall
) -> None:
    async with VideosClient(openai_profile, "http://nowhere.invalid/v1", "sk-key-12345") as client:
        outcome = await client.submit(intent, call)
    assert outcome == SubmissionAbsent(attempt_id="att_0198", how="never_connected")


async def test_a_failed_tls_handshake_proves_that_nothing_was_sent(
    server: FaultServer, openai_profile: Profile, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.mumbles(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    base_url = server.base_url.replace("http:", "https:")
    async with VideosClient(openai_profile, base_url, "sk-key-12345") as client:
        outcome = await client.submit(intent, call)
    assert outcome == SubmissionAbsent(attempt_id="att_0198", how="never_connected")


async def test_the_attempt_is_named_to_the_server(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    video: dict[str, Any],
) -> None:
    server.answers(200, video)
    await client.submit(intent, call)
    assert server.requests[0].headers["x-client-request-id"] == "att_0198"


async def test_a_create_is_multipart_with_every_field(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    video: dict[str, Any],
) -> None:
    server.answers(200, video)
    await client.submit(intent, call)
    fields = re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n--', server.requests[0].body)
    assert dict(fields) == {
        b"prompt": b"a fox runs",
        b"model": b"sora-2",
        b"size": b"1280x720",
        b"seconds": b"8",
    }


@pytest.mark.parametrize("expected", ["in memory", "in a file"])
async def test_an_input_reference_is_sent_with_name_and_type(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    video: dict[str, Any],
    tmp_path: Path,
    expected: str,
) -> None:
    server.answers(200, video)
    (tmp_path / "stored").write_bytes(b"PNG bytes")
    content = b"PNG bytes" if expected == "in memory" else tmp_path / "stored"
    await client.submit(intent, replace(call, input_reference=ReferenceFile("fox.png", "image/png", content)))
    head = b'name="input_reference"; filename="fox.png"\r\nContent-Type: image/png\r\n\r\nPNG bytes\r\n'
    assert head in server.requests[0].body


async def test_several_input_references_are_several_parts(
    server: FaultServer, intent: SubmissionIntended, call: SubmitCall, video: dict[str, Any]
) -> None:
    server.answers(200, video)
    fox, cub = (ReferenceFile(name, "image/png", name.encode()) for name in ("fox.png", "cub.png"))
    several = replace(call, input_reference=fox, more_references=(cub,))
    async with VideosClient(profile("vllm-omni"), server.base_url, None) as client:
        await client.submit(intent, several)
    sent = re.findall(rb'name="input_references"; filename="(.*?)"', server.requests[0].body)
    assert sent == [b"fox.png", b"cub.png"]


async def test_what_the_profile_does_not_offer_is_never_sent(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    with pytest.raises(OperationUnsupported, match="does not offer a seed"):
        await client.submit(intent, replace(call, options={"seed": 7}))
    assert server.connections == 0


async def test_an_input_reference_that_cannot_be_read_is_reported_before_anything_is_sent(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall, tmp_path: Path
) -> None:
    missing = ReferenceFile("fox.png", "image/png", tmp_path / "missing")
    with pytest.raises(ReferenceUnreadable, match="nothing was sent"):
        await client.submit(intent, replace(call, input_reference=missing))
    assert server.connections == 0


async def test_a_remix_is_sent_as_a_remix(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    video: dict[str, Any],
) -> None:
    server.answers(200, video)
    await client.submit(intent, replace(call, operation=Operation.REMIX, source_video_id="video_0"))
    request = server.requests[0]
    assert (request.path, request.body) == ("/v1/videos/video_0/remix", b'{"prompt":"a fox runs"}')


async def test_the_model_is_sent_under_the_servers_name(
    server: FaultServer, intent: SubmissionIntended, call: SubmitCall, video: dict[str, Any]
) -> None:
    server.answers(200, video)
    renamed = profile("custom").model_copy(update={"models": {"sora-2": "veo-3-fast"}})
    async with VideosClient(renamed, server.base_url, None) as client:
        await client.submit(intent, call)
    assert b'name="model"\r\n\r\nveo-3-fast\r\n' in server.requests[0].body


async def test_a_redirect_is_reported_without_its_query(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(308, "", location="https://user:pw@other.example/v1/videos?token=secret")
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionRejected)
    assert outcome.error.message
    assert outcome.error.message.text == "redirected to https://other.example/v1/videos"


async def test_an_unknown_outcome_names_the_exchange(
    server: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    server.answers(500, ENVELOPE, x_request_id="req_9")
    outcome = await client.submit(intent, call)
    assert isinstance(outcome, SubmissionUnknown)
    assert outcome.provider_request_id == "req_9"


@pytest.mark.parametrize(
    ("http_status", "lost"), [(400, "server_error"), (422, "server_error"), (418, "server_error")]
)
def test_a_refusal_that_proves_nothing_is_the_servers_error(http_status: int, lost: str) -> None:
    translator = Translator(profile("litellm"), "http://host/v1", redactor(None))
    outcome = translator.submission("attempt_1", Answer(http_status, {}, "{}"))
    assert isinstance(outcome, SubmissionUnknown)
    assert outcome.lost == lost
