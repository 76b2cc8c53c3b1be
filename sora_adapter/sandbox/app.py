"""The routes: one function for each operation of the API, which parses, asks the desk, and answers.

To add an operation: a request type in `requests`, a method of `Desk`, a function and a route here. Nothing
here blocks; the desk's work is done in threads. `/_sandbox` is for tests and needs no key.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from sora_adapter.sandbox.answers import DressedAnswers, request_id_of
from sora_adapter.sandbox.bodies import read_fields
from sora_adapter.sandbox.desk import Caller, Desk
from sora_adapter.sandbox.errors import ApiError
from sora_adapter.sandbox.life import BIRTH
from sora_adapter.sandbox.requests import parse_create, parse_list, parse_remix, parse_variant
from sora_adapter.sandbox.resources import deleted_resource, job_record, list_resource, video_resource
from sora_adapter.sandbox.settings import SandboxSettings
from sora_adapter.sandbox.studio import MEDIA_TYPES

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(settings: SandboxSettings) -> Starlette:
    """Build the server of one data dir; it renders until its lifespan ends."""
    desk = Desk(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(desk.close)

    app = Starlette(
        routes=[*_api_routes(settings.api_key), *_test_routes()],
        middleware=[Middleware(DressedAnswers)],
        exception_handlers={ApiError: _refused, HTTPException: _refused_by_router},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.desk = desk
    return app


def _api_routes(api_key: str | None) -> list[Route]:
    def route(path: str, method: str, counted_as: str, endpoint: Endpoint) -> Route:
        return Route(f"/v1{path}", _guarded(endpoint, counted_as, api_key), methods=[method])

    return [
        route("/videos", "POST", "creates", _create),
        route("/videos", "GET", "lists", _list),
        route("/videos/{video_id}", "GET", "retrieves", _retrieve),
        route("/videos/{video_id}", "DELETE", "deletes", _delete),
        route("/videos/{video_id}/content", "GET", "contents", _content),
        route("/videos/{video_id}/remix", "POST", "remixes", _remix),
    ]


def _test_routes() -> list[Route]:
    return [Route("/_sandbox/requests", _count_requests), Route("/_sandbox/jobs", _list_records)]


def _guarded(endpoint: Endpoint, counted_as: str, api_key: str | None) -> Endpoint:
    """Count a request, refused or not, and let it in if it has the key."""

    async def guarded(request: Request) -> Response:
        await run_in_threadpool(_desk(request).store.count, counted_as)
        _check_key(request.headers.get("authorization", ""), api_key)
        return await endpoint(request)

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
    wanted = await run_in_threadpool(parse_create, await read_fields(request))
    job = await run_in_threadpool(_desk(request).create, wanted, _caller(request))
    return JSONResponse(video_resource(job, BIRTH))


async def _remix(request: Request) -> Response:
    wanted = parse_remix(await read_fields(request))
    job = await run_in_threadpool(_desk(request).remix, _video_id(request), wanted, _caller(request))
    return JSONResponse(video_resource(job, BIRTH))


async def _retrieve(request: Request) -> Response:
    job, moment = await run_in_threadpool(_desk(request).find, _video_id(request))
    headers = None if moment.is_over else {"openai-poll-after-ms": str(moment.poll_after_ms)}
    return JSONResponse(video_resource(job, moment), headers=headers)


async def _list(request: Request) -> Response:
    jobs, has_more = await run_in_threadpool(_desk(request).page, parse_list(request.query_params))
    return JSONResponse(list_resource([video_resource(*job) for job in jobs], has_more=has_more))


async def _delete(request: Request) -> Response:
    await run_in_threadpool(_desk(request).delete, _video_id(request))
    return JSONResponse(deleted_resource(_video_id(request)))


async def _content(request: Request) -> Response:
    variant = parse_variant(request.query_params)
    making = await run_in_threadpool(_desk(request).asset, _video_id(request), variant)
    path = await _patiently(making)
    filename = _video_id(request) + path.suffix
    return FileResponse(path, media_type=MEDIA_TYPES[variant], filename=filename)


async def _patiently(making: Future[Path]) -> Path:
    """Wait for a file that others may wait for too: who goes away does not stop the work."""
    waiting = asyncio.wrap_future(making)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(waiting)


async def _count_requests(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(_desk(request).store.counts))


async def _list_records(request: Request) -> Response:
    jobs = await run_in_threadpool(_desk(request).everything)
    return JSONResponse({"data": [job_record(*job) for job in jobs]})


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for nothing else
    return JSONResponse(error.envelope, error.status)


async def _refused_by_router(request: Request, error: Exception) -> Response:
    """Answer for a route or a method that is not there."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    message = f"{error.detail}: {request.method} {request.url.path}"
    refusal = ApiError(message, code=code, status=error.status_code)
    return JSONResponse(refusal.envelope, refusal.status, headers=error.headers)


def _desk(request: Request) -> Desk:
    desk = request.app.state.desk
    assert isinstance(desk, Desk)  # noqa: S101 - put there by create_app
    return desk


def _video_id(request: Request) -> str:
    return str(request.path_params["video_id"])


def _caller(request: Request) -> Caller:
    headers = request.headers
    return Caller(request_id_of(request), headers.get("x-client-request-id"), headers.get("traceparent"))
