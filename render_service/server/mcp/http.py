"""Serve agents over HTTP: the protocol's own transport, with an agent for each caller.

Requests of the protocol of 2026-07-28 are self-contained. Older clients open a session, which is bound to
their access key.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import ASGIApp, Receive, Scope, Send

from render_service.access.callers import Caller
from render_service.server.gateway.submissions import Submissions
from render_service.server.mcp.calls import Agent, Calls, Place
from render_service.server.mcp.server import ANSWER_S, client_name, protocol_server
from render_service.server.mcp.tools import TOOLS
from render_service.session.session import Session

MOST_SESSIONS = 1_000


class Agents:
    """The agents of one server."""

    def __init__(self, session: Session, submissions: Submissions) -> None:
        self._session, self._submissions = session, submissions
        self.calls = Calls()

    def of(self, context: ServerRequestContext[Any, Any]) -> Agent:
        """Return the agent that made a call: a client under the access key of its caller."""
        request = context.request
        assert request is not None  # this transport has one for each call
        caller: Caller = request.state.caller
        origin: str = request.state.origin
        name = client_name(context)
        at = Place(origin=origin, console=origin if request.state.has_console else None)
        agent = Agent(
            caller.session(self._session),
            caller.name,
            at,
            ANSWER_S,
            self.calls,
            caller,
            self._submissions,
        )
        return agent.named(name)


@asynccontextmanager
async def protocol_app(session: Session, submissions: Submissions) -> AsyncIterator[ASGIApp]:
    """Serve the protocol during the block; requests in progress are recorded at its end."""
    agents = Agents(session, submissions)
    manager = StreamableHTTPSessionManager(protocol_server(agents.of, TOOLS), max_sessions=MOST_SESSIONS)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["state"]["caller"]
        token = AccessToken(token="", client_id=_key_of(caller), scopes=[])  # identified before
        await manager.handle_request({**scope, "user": AuthenticatedUser(token)}, receive, send)

    async with manager.run():
        yield app
    await agents.calls.close()


def _key_of(caller: Caller) -> str:
    return caller.key_id or f"name {caller.name}"
