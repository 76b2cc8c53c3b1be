"""The ASGI app: which path is answered by whom, and the log line every answer leaves.

``POST /webhooks/{profile}`` receives; ``GET /healthz`` says that the process lives, ``GET /readyz`` that the
ledger can be reached and the server is not stopping; ``GET /metrics`` is for Prometheus.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.errors import LedgerError
from render_service.runtime.telemetry import Log
from render_service.server.metrics import Metrics
from render_service.server.receiver import WebhookReceiver
from render_service.session.session import Session
from render_service.webhooks.inbox import Inbox
from sora_adapter.webhooks import Verifier

LONGEST_PATH = 200


class AccessLog:
    """Logs ``http.answered``, and what the answering function adds to ``request.state.logged``."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and log how."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0
        logged: dict[str, Any] = {}
        scope.setdefault("state", {})["logged"] = logged

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._log.info(
                "http.answered",
                method=scope["method"],
                path=scope["path"][:LONGEST_PATH],
                status=status,
                ms=round((time.monotonic() - started) * 1000, 1),
                **logged,
            )


UNREADY = "the ledger cannot be used now; the log of this server says why"
READY_S = 5.0
"""A ledger that is waited for, as in a fail-over, is not ready."""


def create_app(session: Session, secrets: Mapping[str, tuple[str, ...]]) -> Starlette:
    """Build the app of one session; it receives webhooks of the profiles that `secrets` names."""
    inbox, metrics = Inbox(session), Metrics(session.ledger, session.settings.longest_render_s)
    verifiers = {profile: Verifier(those) for profile, those in secrets.items()}
    receiver = WebhookReceiver(verifiers, inbox, metrics, session.log)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.is_ready = True
        yield
        app.state.is_ready = False
        await inbox.close()

    async def ready(request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_S):
                head = await asyncio.to_thread(session.ledger.head)
        except TimeoutError:
            because = f"the ledger has not answered for {READY_S:g} s"
            return JSONResponse({"ready": False, "because": because}, 503)
        except LedgerError as error:
            session.log.warning("ledger.unusable", because=str(error))  # names path and user
            return JSONResponse({"ready": False, "because": UNREADY}, 503)
        is_ready = bool(request.app.state.is_ready)
        return JSONResponse({"ready": is_ready, "size": head.size}, 200 if is_ready else 503)

    async def scrape(_: Request) -> Response:
        told = await asyncio.to_thread(generate_latest, metrics.registry)
        return Response(told, media_type=CONTENT_TYPE_LATEST)

    app = Starlette(
        routes=[
            Route("/webhooks/{profile}", receiver, methods=["POST"]),
            Route("/healthz", _alive),
            Route("/readyz", ready),
            Route("/metrics", scrape),
        ],
        middleware=[Middleware(AccessLog, log=session.log)],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _alive(_: Request) -> Response:
    return JSONResponse({"alive": True})


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for nothing else
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
