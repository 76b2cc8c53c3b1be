"""Serve agents over HTTP: the protocol's own transport, with an agent for each caller.

Requests of the protocol of 2026-07-28 stand for themselves. Older clients open a session, which is bound to
their access key. A session of either kind has a ceiling of its own: that of one client under one key.
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
from render_service.server.mcp.ceiling import Ceiling
from render_service.server.mcp.server import client_name, protocol_server
from render_service.server.mcp.stdio import ANSWER_S
from render_service.session.session import Session

MOST_SESSIONS = 1_000
MOST_CEILINGS = 10_000
"""Sessions whose spending is remembered; the oldest is forgotten first."""
SESSION_ID = "mcp-session-id"


class Agents:
    """The agents of one server."""

    def __init__(self, session: Session, submissions: Submissions) -> None:
        self._session, self._submissions = session, submissions
        self.calls = Calls()
        self._ceilings: dict[tuple[str, str | None, str | None], Ceiling] = {}

    def of(self, context: ServerRequestContext[Any, Any]) -> Agent:
        """Return the agent that made a call: a client under the access key of its caller."""
        request = context.request
        assert request is not None  # this transport has one for each call
        caller: Caller = request.state.caller
        origin: str = request.state.origin
        name = client_name(context)
        at = Place(origin=origin, console=origin if request.state.has_console else None)
        ceiling = self._ceiling((_key_of(caller), name, request.headers.get(SESSION_ID)))
        agent = Agent(
            caller.session(self._session),
            caller.name,
            at,
            ANSWER_S,
            self.calls,
            ceiling,
            caller,
            self._submissions,
        )
        return agent.named(name)

    def _ceiling(self, name: tuple[str, str | None, str | None]) -> Ceiling:
        ceiling = self._ceilings.setdefault(name, Ceiling())
        if len(self._ceilings) > MOST_CEILINGS:
            del self._ceilings[next(iter(self._ceilings))]
        return ceiling


@asynccontextmanager
async def protocol_app(session: Session, submissions: Submissions) -> AsyncIterator[ASGIApp]:
    """Serve the protocol for as long as the block; what is under way is recorded at its end."""
    agents = Agents(session, submissions)
    manager = StreamableHTTPSessionManager(protocol_server(agents.of), max_sessions=MOST_SESSIONS)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["state"]["caller"]
        token = AccessToken(token="", client_id=_key_of(caller), scopes=[])  # identified before
        await manager.handle_request({**scope, "user": AuthenticatedUser(token)}, receive, send)

    async with manager.run():
        yield app
    await agents.calls.close()


def _key_of(caller: Caller) -> str:
    return caller.key_id or f"name {caller.name}"
