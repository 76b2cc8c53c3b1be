"""A submission asks right before its first byte whether it may still be sent.

The steps of the connection are told by the HTTP client under names of its own: these tests go over real
connections, so that a client that calls them otherwise is noticed.
"""

from typing import Any

import httpx2
import pytest

import sora_adapter.transport
from ledger.events import SubmissionAbsent, SubmissionAccepted, SubmissionIntended, SubmissionUnknown
from sora_adapter.client import VideosClient
from sora_adapter.requests import SubmitCall
from tests.sora_adapter.conftest import FaultServer

pytestmark = pytest.mark.anyio


class Gate:
    """Answers as it is told, and counts how often it was asked."""

    def __init__(self, *, answer: bool) -> None:
        self.asked = 0
        self._answer = answer

    def __call__(self) -> bool:
        self.asked += 1
        return self._answer


@pytest.fixture
def listening(server: FaultServer, video: dict[str, Any]) -> FaultServer:
    """A server that takes all that comes, and answers every request."""
    return server.answers(200, video).for_every_request()


async def arrived(client: VideosClient, server: Any) -> tuple[int, bytes]:
    """Return the submissions the server has, and what came of another; it has read all that came before."""
    await client.observe("video_1")
    return server.posts, server.broken_off


async def test_what_may_be_sent_is_asked_about_once_and_sent_once(
    listening: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    gate = Gate(answer=True)
    submitted = await client.submit_prepared(intent, await client.prepare(call), gate)
    assert isinstance(submitted.outcome, SubmissionAccepted)
    assert (gate.asked, await arrived(client, listening)) == (1, (1, b""))


async def test_what_may_no_longer_be_sent_never_arrives_and_is_absent(
    listening: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    gate = Gate(answer=False)
    submitted = await client.submit_prepared(intent, await client.prepare(call), gate)
    assert submitted.outcome == SubmissionAbsent(attempt_id="att_0198", how="never_connected")
    assert (gate.asked, await arrived(client, listening)) == (1, (0, b""))


async def test_a_connection_that_is_used_again_asks_too(
    listening: FaultServer, client: VideosClient, intent: SubmissionIntended, call: SubmitCall
) -> None:
    await client.observe("video_1")
    gate = Gate(answer=False)
    submitted = await client.submit_prepared(intent, await client.prepare(call), gate)
    assert isinstance(submitted.outcome, SubmissionAbsent)
    assert listening.connections == 1
    assert (gate.asked, await arrived(client, listening)) == (1, (0, b""))


async def test_a_client_that_does_not_say_when_it_begins_to_send_is_stopped_before_it_does(
    listening: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sora_adapter.transport, "_FIRST_BYTE", "http11.another_name.started")
    gate = Gate(answer=True)
    submitted = await client.submit_prepared(intent, await client.prepare(call), gate)
    assert isinstance(submitted.outcome, SubmissionUnknown)
    assert (gate.asked, await arrived(client, listening)) == (0, (0, b""))


async def test_a_client_that_writes_on_a_second_connection_asks_again() -> None:
    gate = Gate(answer=True)
    token = sora_adapter.transport._IN_TIME.set(gate)
    request = httpx2.Request("POST", "http://host/v1/videos")
    await sora_adapter.transport._check_deadline(request)
    sora_adapter.transport._IN_TIME.reset(token)
    step = sora_adapter.transport._FIRST_BYTE
    for event in ("connection.connect_tcp.started", step, "http11.send_request_body.started", step):
        await request.extensions["trace"](event, {})
    assert gate.asked == 2
