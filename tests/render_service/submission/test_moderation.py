"""Asking for a moderation before a decision: bounded in time, each trouble a result, only where wanted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from decision.engine.guardrails import ModerationStatus
from decision.request.request import RenderRequest
from decision.rules.guardrails import Guardrails
from decision.rules.policy import with_guardrails
from decision.rules.toml import load_document
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.server.mcp.arguments import DecideArguments
from render_service.server.mcp.calls import Agent
from render_service.server.mcp.tools import decide_tool
from render_service.session.session import Session
from render_service.submission import moderation
from render_service.submission.moderation import moderate_each, moderated
from tests.render_service.conftest import decide_by

pytestmark = pytest.mark.anyio

RequestFor = Callable[..., RenderRequest]
At = Callable[[str], Session]
TEXT = 'version = 1\n[[terms]]\ncode = "NAMES"\nthen = "deny"\nterms = ["Emma Watson"]\n[moderation]\n'


def guarded(session: Session) -> Session:
    """Return the session under a policy that wants moderation."""
    bare = session.policy.model_copy(update={"guardrails": None})
    return decide_by(session, with_guardrails(bare, load_document(Guardrails, TEXT.encode())))


@asynccontextmanager
async def answering(raw: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve an address that answers every request with `raw`, or never; with what it was sent."""
    requests: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        if raw is None:
            await over.wait()
        else:
            writer.write(raw)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests
    finally:
        over.set()
        server.close()
        await server.wait_closed()


def answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (None, "unreachable"),
        (answer(503, b"{}"), "unreachable"),
        (answer(429, b"{}"), "unreachable"),
        (b"", "unreachable"),
        (answer(400, b'{"error": {"message": "too long"}}'), "refused"),
        (answer(200, b"[]"), "unreadable"),
        (answer(200, b'{"results": [{"flagged": false}]}'), "checked"),
    ],
)
async def test_every_answer_and_none_is_a_result(
    at: At, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch, raw: bytes | None, status: str
) -> None:
    monkeypatch.setattr(moderation, "LONGEST_S", 0.5 if raw is None else 10.0)
    async with answering(raw) as (address, _):
        result = await moderated(guarded(at(address)), request_for())
    assert result is not None
    assert result.status == status


async def test_of_many_a_server_that_does_not_answer_is_asked_about_a_few(
    at: At, request_for: RequestFor
) -> None:
    async with answering(answer(503, b"{}")) as (address, requests):
        session = guarded(at(address))
        results = await moderate_each(session, [request_for(prompt=f"fox {n}") for n in range(100)])
    assert {result and result.status for result in results} == {ModerationStatus.UNREACHABLE}
    assert 0 < len(requests) <= moderation.TOGETHER


async def test_nobody_is_asked_without_moderation_in_the_policy_or_where_a_term_denies(
    at: At, request_for: RequestFor
) -> None:
    async with answering(answer(503, b"{}")) as (address, requests):
        session = at(address)
        assert await moderated(session, request_for()) is None
        assert await moderated(guarded(session), request_for(prompt="Emma Watson runs")) is None
    assert requests == []


async def test_an_agent_is_told_what_the_guardrails_find(session: Session, tmp_path: Path) -> None:
    rules = Rules(guarded(session).policy, session.catalog)
    activate(session.settings, session.trace, session.clock(), rules, "for a test")
    session.in_force.follow()
    agent = Agent(session, "ana", tmp_path, 1.0)
    named = await decide_tool(agent, DecideArguments(prompt="Emma Watson runs"))
    assert (named["decision"], named["recorded"]) == ("DENY", False)
    assert named["what_now"] == ['leave out "Emma Watson": the rule NAMES does not allow them']
    flagged = await decide_tool(agent, DecideArguments(prompt="a gory beheading in a barn"))
    assert flagged["decision"] == "HOLD"
    assert "flagged violence 97 %" in " ".join(flagged["why"])
