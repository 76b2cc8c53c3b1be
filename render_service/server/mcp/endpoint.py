"""``/mcp``: the tools for agents over HTTP, for holders of access keys.

A key has the same roles, limits, jobs and request keys as in the gateway: a request made here can be repeated
there under the same key, and is billed once. The protocol's package is an extra, and takes a second to load,
so it is not imported before the first request.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from decision.rules.roles import Permission
from render_service.access.gatekeeper import Gatekeeper
from render_service.runtime.errors import NotAuthenticated
from render_service.runtime.ledger_process import read_path_prefix
from render_service.server.gateway.errors import refused
from render_service.server.gateway.projection import PATIENCE_S
from render_service.server.gateway.refusals import Refusal
from render_service.server.gateway.submissions import Submissions
from render_service.server.mcp import needs_extra
from render_service.session.session import Session

PATH = "/mcp"
FINISH_S = 5.0
"""Time for running answers after the signal to stop; submitted requests are always recorded."""

NOT_INSTALLED = (
    "This server has no tools for agents: its operator installs the extra with pip install '.[mcp]', or pip "
    "install mcp, and starts it again."
)


class AgentEndpoint:
    """Identifies the caller of each request, and passes it to the protocol with its permissions."""

    def __init__(
        self, session: Session, gatekeeper: Gatekeeper, submissions: Submissions, *, has_console: bool
    ) -> None:
        self._session, self._gatekeeper, self._submissions = session, gatekeeper, submissions
        self._has_console = has_console
        self._wanted = asyncio.Event()
        self._protocol: asyncio.Future[ASGIApp] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            app = await self._admitted(request)
        except Exception as error:  # noqa: BLE001  # every refusal gets the gateway's envelope
            response: Response = refused(error, self._session.log)
            if isinstance(error, NotAuthenticated):
                response.headers["www-authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None  # a server answers in tasks
        self._answering.add(task)
        try:
            await app(scope, receive, send)
        finally:
            self._answering.discard(task)

    async def _admitted(self, request: Request) -> ASGIApp:
        """Identify the caller, and return the app that answers the request."""
        if request.method not in {"POST", "DELETE"}:
            refusal = Refusal(
                405,
                "method_not_allowed",
                f"Not allowed method: {request.method} {PATH}.",
                param="method",
                expected="POST, DELETE",
                found=request.method,
            )
            raise refusal.about({"allow": "POST, DELETE"})
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise Refusal(
                403,
                "origin_not_allowed",
                "A page of another origin may not call tools.",
                param="origin",
                expected=request.headers.get("host"),
                found=origin,
            )
        async with asyncio.timeout(PATIENCE_S):
            caller = await self._gatekeeper.identify(request.headers.get("authorization"))
        request.state.logged["actor"] = caller.name
        caller.check(Permission.READ)
        self._gatekeeper.admit(caller)
        base = (self._session.settings.console_url or str(request.base_url).rstrip("/")) + read_path_prefix()
        request.state.caller = caller
        request.state.origin = base.rstrip("/")
        request.state.has_console = self._has_console
        self._protocol = self._protocol or asyncio.get_running_loop().create_future()
        self._wanted.set()
        return await asyncio.shield(self._protocol)

    async def run(self, stop: asyncio.Event) -> None:
        """Load the protocol at the first request, and serve it until `stop`."""
        waiting = [asyncio.create_task(event.wait()) for event in (self._wanted, stop)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if stop.is_set() or self._protocol is None:
            return
        async with self._loaded() as app:
            self._protocol.set_result(app)
            await stop.wait()
            self._protocol = asyncio.get_running_loop().create_future()
            self._protocol.set_result(JSONResponse(_STOPPING.envelope, _STOPPING.status))
            if self._answering:
                await asyncio.wait(self._answering, timeout=FINISH_S)

    @asynccontextmanager
    async def _loaded(self) -> AsyncIterator[ASGIApp]:
        try:
            serving = await asyncio.to_thread(importlib.import_module, "render_service.server.mcp.http")
        except ModuleNotFoundError as missing:
            needs_extra(missing)
            self._session.log.warning("mcp.not_installed", package=missing.name or "mcp")
            refusal = Refusal(
                501,
                "not_installed",
                NOT_INSTALLED,
                type="server_error",
                expected="the extra mcp",
                found="it is not installed",
            )
            yield JSONResponse(refusal.envelope, refusal.status, headers=refusal.headers)
            return
        async with serving.protocol_app(self._session, self._submissions) as app:
            yield app


_STOPPING = Refusal(
    503,
    "server_stopping",
    "This server is stopping.",
    type="server_error",
    expected="a running server",
    found="one that stops",
)
