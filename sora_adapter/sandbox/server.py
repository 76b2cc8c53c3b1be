"""The routes of a sandbox, and a way to run it in a thread, for a test, a demo or the command line.

Each operation of the API has one function, which parses, calls the service, and answers. To add one: a
request type in `requests`, a method of `Service`, a function and a route here. Nothing here blocks; the
service is called in threads. `/_sandbox` is for tests and needs no key.

The socket is bound here, before anything starts, so that the port is known without a race and a busy port
raises OSError in the caller. Nothing is printed; an exception in an answer is logged to
`sora_adapter.sandbox.wire.refusals`.
"""

import asyncio
import contextlib
import hmac
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from sora_adapter.sandbox.emulators import imitation
from sora_adapter.sandbox.faults import Faults, FaultyMail, Mishaps, fault_routes
from sora_adapter.sandbox.renderer import MEDIA_TYPES
from sora_adapter.sandbox.service import (
    Caller,
    Service,
    character_resource,
    deleted_file,
    deleted_resource,
    file_resource,
    job_record,
    list_resource,
    video_resource,
)
from sora_adapter.sandbox.settings import SandboxSettings
from sora_adapter.sandbox.stand_ins import complete, moderate
from sora_adapter.sandbox.state.lifecycle import BIRTH
from sora_adapter.sandbox.webhooks.routes import WebhookRoutes, delivery_record
from sora_adapter.sandbox.webhooks.sender import Mail, send_what_is_due
from sora_adapter.sandbox.wire.connection import BreakableProtocol
from sora_adapter.sandbox.wire.refusals import log_failure
from sora_adapter.sandbox.wire.requests import (
    parse_character,
    parse_create,
    parse_edit,
    parse_extend,
    parse_file,
    parse_list,
    parse_remix,
    parse_variant,
)
from sora_adapter.serving.bodies import read_fields
from sora_adapter.serving.errors import ApiError, DressedAnswers, request_id_of

CLIP_PATIENCE_S = 3.0
"""How long a request for a video waits if only its clip is missing."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(settings: SandboxSettings) -> Starlette:
    """Build the server of one data dir; it renders and sends webhooks until its lifespan ends.

    Raises ValueError for an unknown fault or emulator, before anything is opened.
    """
    faults, imitated = Faults(settings.faults), imitation(settings.imitates)
    service, mail = Service(settings), Mail()
    webhooks = WebhookRoutes(service.outbox, mail, settings.clock, permissive=settings.permissive)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            async with mail:
                sending = asyncio.create_task(send_what_is_due(service.outbox, FaultyMail(mail, faults)))
                yield
                sending.cancel()
                with suppress(asyncio.CancelledError):
                    await sending
        finally:
            await run_in_threadpool(service.close)

    app = Starlette(
        routes=[*_api_routes(settings.api_key, webhooks), *_test_routes(), *fault_routes(faults)],
        middleware=[*imitated, Middleware(DressedAnswers, log_failure), Middleware(Mishaps, faults)],
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_by_router},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.faults = faults
    return app


def _api_routes(api_key: str | None, webhooks: WebhookRoutes) -> list[Route]:
    def route(path: str, method: str, counted_as: str, endpoint: Endpoint) -> Route:
        return Route(f"/v1{path}", _guard(endpoint, counted_as, api_key), methods=[method])

    return [
        route("/videos", "POST", "creates", _create),
        route("/videos", "GET", "lists", _list),
        route("/videos/edits", "POST", "edits", _edit),
        route("/videos/extensions", "POST", "extensions", _extend),
        route("/videos/characters", "POST", "characters", _create_character),
        route("/videos/characters/{character_id}", "GET", "characters", _retrieve_character),
        route("/moderations", "POST", "moderations", _moderate),
        route("/chat/completions", "POST", "completions", _complete),
        route("/files", "POST", "files", _upload),
        route("/files/{file_id}", "GET", "files", _uploaded),
        route("/files/{file_id}", "DELETE", "files", _remove_upload),
        route("/videos/{video_id}", "GET", "retrieves", _retrieve),
        route("/videos/{video_id}", "DELETE", "deletes", _delete),
        route("/videos/{video_id}/content", "GET", "contents", _content),
        route("/videos/{video_id}/remix", "POST", "remixes", _remix),
        *(route(path, method, "webhooks", endpoint) for path, method, endpoint in webhooks.table),
    ]


def _test_routes() -> list[Route]:
    return [
        Route("/_sandbox/requests", _count_requests),
        Route("/_sandbox/jobs", _list_records),
        Route("/_sandbox/deliveries", _list_deliveries),
    ]


def _guard(endpoint: Endpoint, counted_as: str, api_key: str | None) -> Endpoint:
    """Count a request, even a refused one, and require the key; incomplete requests are not counted."""

    async def guarded(request: Request) -> Response:
        store = _service(request).store
        await run_in_threadpool(store.count, counted_as)
        _check_key(request.headers.get("authorization", ""), api_key)
        try:
            return await endpoint(request)
        except ClientDisconnect:
            await run_in_threadpool(store.count, counted_as, -1)
            raise

    return guarded


def _check_key(header: str, api_key: str | None) -> None:
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        message = "You didn't provide an API key. Send it as 'Authorization: Bearer KEY'."
        raise ApiError.unauthorized(message)
    if api_key is not None and not hmac.compare_digest(key.strip().encode(), api_key.encode()):
        raise ApiError.unauthorized(
            "Incorrect API key provided: it is not the one this sandbox was started with."
        )


async def _create(request: Request) -> Response:
    fields, permissive = await read_fields(request), _service(request).permissive
    file = _service(request).read_upload
    wanted = await run_in_threadpool(parse_create, fields, permissive=permissive, file=file)
    job = await run_in_threadpool(_service(request).create, wanted, _caller(request))
    return JSONResponse(video_resource(job, BIRTH))


async def _remix(request: Request) -> Response:
    wanted = parse_remix(await read_fields(request))
    job = await run_in_threadpool(_service(request).remix, _video_id(request), wanted, _caller(request))
    return JSONResponse(video_resource(job, BIRTH))


async def _edit(request: Request) -> Response:
    fields, permissive = await read_fields(request), _service(request).permissive
    wanted = await run_in_threadpool(parse_edit, fields, permissive=permissive)
    job = await run_in_threadpool(_service(request).edit, wanted, _caller(request))
    return JSONResponse(video_resource(job, BIRTH))


async def _extend(request: Request) -> Response:
    fields, permissive = await read_fields(request), _service(request).permissive
    wanted = await run_in_threadpool(parse_extend, fields, permissive=permissive)
    job = await run_in_threadpool(_service(request).extend, wanted, _caller(request))
    return JSONResponse(video_resource(job, BIRTH))


async def _create_character(request: Request) -> Response:
    fields, permissive = await read_fields(request), _service(request).permissive
    wanted = await run_in_threadpool(parse_character, fields, permissive=permissive)
    character = await run_in_threadpool(_service(request).create_character, wanted)
    return JSONResponse(character_resource(character))


async def _retrieve_character(request: Request) -> Response:
    character_id = str(request.path_params["character_id"])
    return JSONResponse(
        character_resource(await run_in_threadpool(_service(request).character, character_id))
    )


async def _complete(request: Request) -> Response:
    return JSONResponse(complete(await read_fields(request)))


async def _moderate(request: Request) -> Response:
    return JSONResponse(moderate(await read_fields(request)))


async def _upload(request: Request) -> Response:
    file, purpose = parse_file(await read_fields(request))
    return JSONResponse(file_resource(await run_in_threadpool(_service(request).upload, file, purpose)))


async def _uploaded(request: Request) -> Response:
    file_id = str(request.path_params["file_id"])
    return JSONResponse(file_resource(await run_in_threadpool(_service(request).find_upload, file_id)))


async def _remove_upload(request: Request) -> Response:
    file_id = str(request.path_params["file_id"])
    await run_in_threadpool(_service(request).remove_upload, file_id)
    return JSONResponse(deleted_file(file_id))


async def _retrieve(request: Request) -> Response:
    service, video_id = _service(request), _video_id(request)
    job, moment = await run_in_threadpool(service.show, video_id)
    if moment.is_held_back:
        with suppress(Exception):  # a clip that cannot be rendered is reported by /content
            await asyncio.wait_for(_await_shared(service.clip(job)), CLIP_PATIENCE_S)
        job, moment = await run_in_threadpool(service.show, video_id)
    headers = None if moment.is_over else {"openai-poll-after-ms": str(moment.poll_after_ms)}
    return JSONResponse(video_resource(job, moment), headers=headers)


async def _list(request: Request) -> Response:
    jobs, has_more = await run_in_threadpool(_service(request).page, parse_list(request.query_params))
    return JSONResponse(list_resource([video_resource(*job) for job in jobs], has_more=has_more))


async def _delete(request: Request) -> Response:
    await run_in_threadpool(_service(request).delete, _video_id(request))
    return JSONResponse(deleted_resource(_video_id(request)))


async def _content(request: Request) -> Response:
    variant = parse_variant(request.query_params)
    making = await run_in_threadpool(_service(request).asset, _video_id(request), variant)
    path = await _await_shared(making)
    filename = _video_id(request) + path.suffix
    return FileResponse(path, media_type=MEDIA_TYPES[variant], filename=filename)


async def _await_shared(making: Future[Path]) -> Path:
    """Wait for a file that other requests may wait for too: a cancelled wait does not stop the work."""
    waiting = asyncio.wrap_future(making)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(waiting)


async def _count_requests(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(_service(request).store.counts))


async def _list_records(request: Request) -> Response:
    jobs = await run_in_threadpool(_service(request).list_all)
    return JSONResponse({"data": [job_record(*job) for job in jobs]})


async def _list_deliveries(request: Request) -> Response:
    deliveries = await run_in_threadpool(_service(request).outbox.deliveries.list_all)
    return JSONResponse({"data": [delivery_record(delivery) for delivery in deliveries]})


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.envelope, error.status, headers=error.headers)


async def _refuse_by_router(request: Request, error: Exception) -> Response:
    """Answer for an unknown route or method."""
    assert isinstance(error, HTTPException)
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    message = f"{error.detail}: {request.method} {request.url.path}"
    refusal = ApiError(message, code=code, status=error.status_code)
    headers = {"allow": _methods(request)} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else None
    return JSONResponse(refusal.envelope, refusal.status, headers=headers)


def _methods(request: Request) -> str:
    """Return all methods of a path; Starlette names only those of the first matching route."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    path = next(route.path for route in routes if route.path_regex.match(request.url.path))
    return ", ".join(
        sorted(method for route in routes if route.path == path for method in route.methods or ())
    )


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def _video_id(request: Request) -> str:
    return str(request.path_params["video_id"])


def _caller(request: Request) -> Caller:
    headers = request.headers
    return Caller(request_id_of(request), headers.get("x-client-request-id"), headers.get("traceparent"))


_BACKLOG = 2048
_GRACE_S = 1  # for answers in progress when the server is told to stop
_START_S = 30.0
_TICKS_IN_A_SECOND = 10  # uvicorn counts tenths, and renews its Date header every ten of them
_LOOK_S = 0.002  # interval of checks for the last connection


class SandboxServer:
    """A sandbox in a daemon thread, for the duration of a `with` block; clients use `base_url`.

    `port` 0 picks a free one. Raises OSError at construction if the port is in use. Does not handle signals.
    """

    def __init__(self, settings: SandboxSettings, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.origin = f"http://{host}:{self.port}"
        self.base_url = f"{self.origin}/v1"
        self._server = _server(settings)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), daemon=True, name="sandbox"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._server.is_up.wait(_START_S):
            raise RuntimeError(f"the sandbox at {self.base_url} did not start within {_START_S:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self._thread.join()
        self._socket.close()


class _Server(uvicorn.Server):
    """A uvicorn server that ignores signals, reports when it is ready, and stops without delay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()
        self._stop_requested = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Stop serving; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_requested.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.is_up.set()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += _TICKS_IN_A_SECOND
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_requested.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as uvicorn does, without its unconditional pause of a tenth of a second."""
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  # uvicorn has no event
                    await asyncio.sleep(_LOOK_S)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


def _server(settings: SandboxSettings) -> _Server:
    config = uvicorn.Config(
        create_app(settings),
        access_log=False,
        log_config=None,
        log_level="critical",
        lifespan="on",
        http=BreakableProtocol,
        ws="none",
    )
    return _Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol number, asyncio would leave Nagle's algorithm on, and every answer would take 40
    # ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows this option would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
