"""The ASGI app of one ledger, and how it is served: its parts, and a log line for every answer.

``/v1`` is the Videos API (`render_service.server.gateway`), ``/mcp`` the tools for agents
(`render_service.server.mcp`), ``/console`` the pages for people (`render_service.server.console`), ``/log``
the log for outsiders. ``POST /webhooks/{profile}`` receives webhooks.
``GET /healthz`` means that the process is alive; ``GET /readyz`` means that the ledger is reachable and the
server is not stopping. ``GET /metrics`` is for Prometheus.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid4

from ledger.errors import LedgerError
from ledger.events import WebhookReceived
from render_service.access.gatekeeper import Gatekeeper
from render_service.notifications.addresses import Addresses
from render_service.notifications.outbox import Notifier
from render_service.notifications.post import Post
from render_service.runtime.ledger_process import ledger_process
from render_service.runtime.settings import SANDBOX
from render_service.runtime.spans import NO_SPAN, REQUEST, Span, SpanStart, Telemetry
from render_service.runtime.telemetry import Log, Trace, begin_trace, sender_of
from render_service.server.background import Work, working
from render_service.server.bodies import RestOfBody, has_two_lengths, refuse_two_lengths
from render_service.server.console.pages import PREFIX as CONSOLE
from render_service.server.console.pages import without_secret
from render_service.server.front import FromFront
from render_service.server.gateway.posts import Posts
from render_service.server.gateway.refusals import PREFIX, Refusal, refused_by_router
from render_service.server.gateway.request_inputs import Submit
from render_service.server.log_routes import log_routes
from render_service.server.mcp.endpoint import PATH as AGENTS_PATH
from render_service.server.mcp.endpoint import AgentEndpoint
from render_service.server.metrics import Metrics
from render_service.server.server import THREADS, address_of, serve_app
from render_service.session.session import Session
from render_service.webhooks.inbox import Inbox, Reception
from render_service.worker.leases import WorkerOptions
from sora_adapter.errors import DeliveryRefused
from sora_adapter.webhooks import Delivery, Verifier

LONGEST_PATH = 200
_TRACED = ("/v1/", CONSOLE)
_SERVER = SpanStart("server")


class AccessLog:
    """Gives each request an id, which its answer carries as ``x-request-id``, and logs ``http.answered``.

    The log line has the keys that the handler added to ``request.state.logged``. A request of the API or the
    console begins a trace, which its records and its log line share; a client's own trace is only linked,
    since its ids cannot be trusted.
    """

    def __init__(self, app: ASGIApp, log: Log, telemetry: Telemetry | None = None) -> None:
        self._app = app
        self._log = log
        self._telemetry = telemetry or Telemetry()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request and log the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0
        request_id = f"req_{uuid4().hex}"
        logged: dict[str, Any] = {"request_id": request_id}
        scope.setdefault("state", {}).update(logged=logged, request_id=request_id)
        header = (b"x-request-id", request_id.encode())
        app = refuse_two_lengths if has_two_lengths(scope) else self._app
        trace = begin_trace({}) if scope["path"].startswith(_TRACED) else None
        log = self._log if trace is None else self._log.of(trace)

        def noting(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            return send(message)

        token = REQUEST.set(trace)
        try:
            with self._span(scope, trace) as span:
                await app(scope, receive, noting)
                _describe(span, scope, request_id, status)
        finally:
            REQUEST.reset(token)
            log.info(
                "http.answered",
                method=scope["method"],
                path=without_secret(scope["path"])[:LONGEST_PATH],
                status=status,
                ms=round((time.monotonic() - started) * 1000, 1),
                **logged,
            )

    def _span(self, scope: Scope, trace: Trace | None) -> Span:
        """Return the span that begins a request's trace, or a webhook's span in the server's own trace."""
        if self._telemetry.exporter is None:
            return NO_SPAN
        if trace is None:
            is_delivery = scope["path"].startswith("/webhooks/")
            return self._telemetry.span("receive", self._log.trace, _SERVER) if is_delivery else NO_SPAN
        header = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        client = sender_of(header.decode("latin-1"))
        how = SpanStart("server", [client] if client else [], begins_trace=True)
        return self._telemetry.span("request", trace, how)


def _describe(span: Span, scope: Scope, request_id: str, status: int) -> None:
    """Add the route of a request, without the ids in it, and the status of the answer."""
    if span is NO_SPAN:
        return
    parameters = scope.get("path_params", {})
    is_known = scope.get("endpoint") is not None and (parameters or status != HTTPStatus.NOT_FOUND)
    route = scope["path"] if is_known else ""  # an unknown path may contain anything
    for name, value in parameters.items():
        route = route.replace(f"/{value}", f"/{{{name}}}", 1)
    if scope["path"].startswith(_TRACED):
        span.rename(f"{scope['method']} {route}".rstrip())
    span.note(
        {
            "http.request.method": scope["method"],
            "http.route": route or None,
            "http.response.status_code": status,
            "sora_ledger.request_id": request_id,
        }
    )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.fail(str(status))


def too_busy(log: Log) -> ASGIApp:
    """Return the app that answers requests for which there is no connection left."""
    message = "All connections of this server are in use, so nothing was done: try again in a second."
    refusal = Refusal(
        503,
        "server_busy",
        message,
        type="server_error",
        retry_after_s=1,
        should_retry=True,
        expected="a free connection",
        found="none",
    )
    headers = refusal.headers | {"connection": "close"}
    answer = JSONResponse(refusal.envelope, refusal.status, headers=headers)
    return AccessLog(RestOfBody(answer), log)


UNREADY = "the ledger cannot be used now; the log of this server says why"


READY_S = 5.0
"""A ledger slower than this, as in a fail-over, is not ready."""


GatewayRoutes = Callable[[Session, Gatekeeper, Posts, Post], Sequence[BaseRoute]]
ConsoleRoutes = Callable[
    [Session, Gatekeeper, Submit, asyncio.Event, WorkerOptions | None], Sequence[BaseRoute]
]


class Parts(NamedTuple):
    """The functions of a server; receiving webhooks and reporting health are always on."""

    gateway: GatewayRoutes | None = None
    """Makes the routes of the Videos API; without it, neither the API nor the tools for agents are served."""
    console: ConsoleRoutes | None = None
    """Makes the routes of the console; without it, the console is not served."""
    notifies: bool = False
    worker: WorkerOptions | None = None
    """The terms of the worker that runs here, for the console to show."""
    log_key: Path | None = None
    """The key that signs the checkpoint of the log under ``/log``; without one the log is not served."""


NO_PARTS = Parts()


def create_app(
    session: Session,
    secrets: Mapping[str, tuple[str, ...]],
    parts: Parts = NO_PARTS,
    *,
    works: Sequence[Work] = (),
    post: Post | None = None,
    stop: asyncio.Event | None = None,
) -> Starlette:
    """Build the app of one session; it receives webhooks for the profiles in `secrets`.

    `works` run beside it until its lifespan ends, or `stop` is set. `post` sends webhooks to clients; without
    it they are only sent to public addresses.
    """
    post = post or Post(Addresses(permits_private=False))
    stopping = stop or asyncio.Event()
    inbox, metrics, worker = Inbox(session), Metrics(session, secrets), parts.worker
    posts, gatekeeper = Posts(session), Gatekeeper(session)
    agents = AgentEndpoint(session, gatekeeper, posts.submissions, has_console=parts.console is not None)
    beside = [*works, posts.tidy, agents.run] if parts.gateway else works
    verifiers = {profile: Verifier(those) for profile, those in secrets.items()}
    receiver = WebhookReceiver(verifiers, inbox, metrics, session.log)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.is_ready = True
        async with post, working(beside, stopping, session.log):
            yield
            app.state.is_ready = False
        await posts.close()
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
        is_ready = bool(request.app.state.is_ready) and not stopping.is_set()
        return JSONResponse({"ready": is_ready, "size": head.size}, 200 if is_ready else 503)

    async def scrape(_: Request) -> Response:
        text = await asyncio.to_thread(generate_latest, metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    app = Starlette(
        routes=[
            Route("/webhooks/{profile}", receiver, methods=["POST"]),
            *(parts.gateway(session, gatekeeper, posts, post) if parts.gateway else ()),
            *([Route(AGENTS_PATH, agents)] if parts.gateway else ()),
            *(parts.console(session, gatekeeper, posts.submit, stopping, worker) if parts.console else ()),
            *_log_routes(session, parts),
            Route("/healthz", _alive),
            Route("/readyz", ready),
            Route("/metrics", scrape),
        ],
        middleware=[
            Middleware(RestOfBody),
            Middleware(AccessLog, log=session.log, telemetry=session.telemetry),
        ],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def serve(
    session: Session,
    listening: socket.socket,
    secrets: Mapping[str, tuple[str, ...]],
    started: Callable[[], None] = lambda: None,
    parts: Parts = NO_PARTS,
    works: Sequence[Work] = (),
) -> None:
    """Serve on `listening` until SIGINT or SIGTERM; `started` is called when the server is ready.

    The first signal stops the server and its background `works` at the same time; requests in progress are
    answered. The second ends it immediately.
    """
    stop = asyncio.Event()
    post = Post(Addresses(permits_private=_permits_private(session, listening)))
    if parts.notifies:
        works = [*works, lambda stop: Notifier(session, post).run(stop)]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    app: ASGIApp = create_app(session, secrets, parts, works=works, post=post, stop=stop)
    if ledger_process() is not None:
        app = FromFront(app)
    await serve_app(app, too_busy(session.log), listening, started, stop)


def _permits_private(session: Session, listening: socket.socket) -> bool:
    """Return whether webhooks may go to this machine and its network.

    That is the default only for a trial on one machine: a server on loopback may be behind a public proxy.
    """
    settings = session.settings
    if settings.private_endpoints is not None:
        return settings.private_endpoints
    is_trial = settings.chosen_profile() == SANDBOX
    return is_trial and ip_address(address_of(listening)[0]).is_loopback


def _log_routes(session: Session, parts: Parts) -> Sequence[BaseRoute]:
    if parts.log_key is None:
        return ()
    return log_routes(session.ledger, parts.log_key, witnessed=session.settings.witnesses_file is not None)


async def _alive(_: Request) -> Response:
    return JSONResponse({"alive": True})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered only for this type
    if f"{request.url.path}/".startswith(f"{PREFIX}/"):
        return refused_by_router(request, error.status_code)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


MOST_BYTES = 64 * 1024


LONGEST_S = 10.0
"""Limits of a delivery: the bytes of its body, and the seconds from its header to its record; the Videos API
sends some 200 bytes."""


RETRY_AFTER = {"Retry-After": "30"}


STATUS = {
    "unsigned": HTTPStatus.BAD_REQUEST,
    "stale": HTTPStatus.BAD_REQUEST,
    "unreadable": HTTPStatus.BAD_REQUEST,
    "forged": HTTPStatus.UNAUTHORIZED,
}


TAKEN = {outcome: JSONResponse({"outcome": outcome}) for outcome in ("recorded", "repeated", "ignored")}
"""The answers to accepted deliveries, built once."""


class _TooLarge(Exception):
    """The body has more than `MOST_BYTES`."""


class WebhookReceiver:
    """Handles deliveries for the profiles in `verifiers`, from the bytes on the wire to the inbox.

    A delivery that is not proved to come from the server is answered with a 4xx and counted, but not
    recorded. A signed event of another type is answered with 200 and counted; otherwise it would be resent
    for three days. Only a ledger that cannot be written is answered with a 503: the sender retries.
    """

    def __init__(self, verifiers: Mapping[str, Verifier], inbox: Inbox, metrics: Metrics, log: Log) -> None:
        self._verifiers, self._inbox = verifiers, inbox
        self._metrics, self._log = metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one delivery."""
        profile = str(scope["path_params"]["profile"])
        if profile not in self._verifiers:
            profile, outcome = "other", "unknown_profile"
            response = _refusal(HTTPStatus.NOT_FOUND, "there is no secret for webhooks of this profile")
        else:
            outcome, response = await self._answer(profile, scope, receive)
        self._metrics.webhook(profile, outcome)
        scope["state"]["logged"].update(profile=profile, outcome=outcome)
        await response(scope, receive, send)

    async def _answer(self, profile: str, scope: Scope, receive: Receive) -> tuple[str, Response]:
        delivery: Delivery | None = None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            async with asyncio.timeout(LONGEST_S):  # if it is recorded later, the retry is a duplicate
                body = await _body(headers.get("content-length", ""), receive)
                delivery = self._verifiers[profile].read(headers, body)
                if delivery is None:
                    return "ignored", TAKEN["ignored"]
                reception = await self._inbox.receive(profile, WebhookReceived(**delivery._asdict()))
        except (_TooLarge, ClientDisconnect, DeliveryRefused) as error:
            return _refused_delivery(error)
        except (LedgerError, TimeoutError) as error:
            if delivery is None:
                message = f"the body took longer than {LONGEST_S:g} s"
                return "slow", _refusal(HTTPStatus.REQUEST_TIMEOUT, message)
            self._log.warning("webhook.not_recorded", profile=profile, because=str(error))
            message = "the ledger cannot be written now; deliver it again"
            return "not_recorded", _refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, RETRY_AFTER)
        if reception is Reception.CONFLICTING:
            self._log.warning("webhook.conflicting", profile=profile, **delivery._asdict())
            return reception, _refusal(HTTPStatus.CONFLICT, "this event id came before with other content")
        return reception, TAKEN[reception]


def _refused_delivery(error: _TooLarge | ClientDisconnect | DeliveryRefused) -> tuple[str, Response]:
    if isinstance(error, DeliveryRefused):
        return error.why, _refusal(STATUS[error.why], str(error))
    if isinstance(error, ClientDisconnect):
        return "broken_off", _refusal(HTTPStatus.BAD_REQUEST, "the body is not whole")
    message = f"a delivery has at most {MOST_BYTES} bytes"
    return "oversized", _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


async def _body(announced: str, receive: Receive) -> bytes:
    """Return the body; stop reading if it is too large."""
    if announced.isdecimal() and int(announced) > MOST_BYTES:
        raise _TooLarge
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise _TooLarge
        more = message.get("more_body", False)
    return bytes(body)


def _refusal(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
