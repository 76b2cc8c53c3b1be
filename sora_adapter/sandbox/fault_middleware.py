"""Carry out the faults that `faults` has planned: a layer around the routes, and the routes for planning.

A request that is refused or lost before it is carried out never reaches a route, so the sandbox's own
counters (`/_sandbox/requests`) show what was carried out.
"""

import asyncio
import json
from asyncio import sleep
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sora_adapter.sandbox.faults import ANSWER_LOST, ANSWER_SLOW, FATES, KEPT, WEBHOOK, Fault, Faults
from sora_adapter.sandbox.webhooks.outbox import Letter
from sora_adapter.sandbox.wire.connection import hang_up, reset
from sora_adapter.sandbox.wire.refusals import REFUSALS
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer, Relay, operation_of
from sora_adapter.serving.errors import ApiError

Post = Callable[[Letter], Awaitable[int | None]]
_SIGNATURE = "webhook-signature"
_NOT_OURS = "v1,bm90IHNpZ25lZCBieSB0aGUgc2FuZGJveA=="


class FaultyMail:
    """Posts letters with `post`, applying the planned faults.

    The sender does not notice a fault: like a network or proxy that loses data, this layer reports a lost or
    delayed delivery as successful, so it is not retried. A job with a fate is not announced, because its real
    state differs from the sender's.
    """

    def __init__(self, post: Post, faults: Faults) -> None:
        self._post, self._faults = post, faults
        self._held: list[Letter] = []

    async def __call__(self, letter: Letter) -> int | None:
        """Send a letter, then those that were held back for it; return the status of its answer."""
        if self._faults.fate_of(json.loads(letter.body)["data"]["id"]) is not None:
            return HTTPStatus.OK
        fault = self._faults.next(WEBHOOK)
        if fault is not None and fault.kind == "out-of-order":
            self._held.append(letter)
            return HTTPStatus.OK
        status = await self._sent(letter, fault)
        held, self._held = self._held, []
        for late in held:
            await self._post(late)
        return status

    async def _sent(self, letter: Letter, fault: Fault | None) -> int | None:
        kind = fault.kind if fault else "none"
        if kind == "lost":
            return HTTPStatus.OK
        if kind == "doubled":
            await self._post(letter)
        if fault is not None and kind == "late":
            await asyncio.sleep(fault.number)
        if kind == "badly-signed":
            letter = replace(letter, headers={**letter.headers, _SIGNATURE: _NOT_OURS})
        return await self._post(letter)


_BLOCKED = "moderation_blocked"
Break = Callable[[Scope, Receive], Awaitable[None]]


class Mishaps:
    """Applies the planned faults to requests, and the planned fates to jobs."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or leave it unanswered."""
        operation, video_id = operation_of(scope)
        fault = self._faults.next(operation) if operation else None
        app = self._fated(operation, video_id)
        if fault is None:
            await app(scope, receive, send)
        elif fault.kind in FATES:
            await Relay(self._app, lambda answer: self._noted(answer, fault))(scope, receive, send)
        else:
            await _happen(fault, app, scope, receive, send)

    def _fated(self, operation: str | None, video_id: str | None) -> ASGIApp:
        """Return the app as it behaves for jobs with a fate."""
        fate = self._faults.fate_of(video_id) if video_id else None
        if operation == "content" and fate is not None:
            refusal = _no_content(fate, str(video_id))
            return JSONResponse(refusal.envelope, refusal.status)
        return Relay(self._app, self._shown) if operation in {"retrieve", "list"} else self._app

    def _noted(self, answer: JsonAnswer, fate: Fault) -> JsonAnswer:
        if answer.is_success:
            self._faults.befall(str(answer.body["id"]), fate)
        return answer

    def _shown(self, answer: JsonAnswer) -> JsonAnswer:
        if not answer.is_success:
            return answer
        videos = answer.body["data"] if answer.body.get("object") == "list" else [answer.body]
        for video in videos:
            fate = self._faults.fate_of(video["id"])
            video.update(_as_fated(video, fate) if fate else {})
        return answer


async def _happen(fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    kind = fault.kind
    if kind == "lost":
        await reset(scope, receive)
    elif kind == ANSWER_LOST:
        await app(scope, receive, _unheard)
        await reset(scope, receive)
    elif kind == "slow":
        await sleep(fault.number)
        await app(scope, receive, send)
    elif kind == ANSWER_SLOW:
        await _held_back(fault.number, app, scope, receive, send)
    elif kind == "reset":
        await _broken_off(app, reset, scope, receive, send)
    elif kind == "truncated":
        await _broken_off(app, hang_up, scope, receive, send)
    else:
        if kind.startswith(KEPT):
            await app(scope, receive, _unheard)
        await _refusal(fault)(scope, receive, send)


async def _unheard(_message: Message) -> None:
    """Discard an answer."""


async def _held_back(seconds: float, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Carry out a request at once, and send the answer after a delay."""
    answer: list[Message] = []

    async def hold(message: Message) -> None:
        answer.append(message)

    await app(scope, receive, hold)
    await sleep(seconds)
    for message in answer:
        await send(message)


async def _broken_off(app: ASGIApp, break_off: Break, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the first half of the announced body, and then nothing."""
    left = 0
    is_broken = False

    async def half(message: Message) -> None:
        nonlocal left, is_broken
        if is_broken:
            return
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            left = int(headers.get(b"content-length", 0)) // 2
            await send(message)
            return
        body = message.get("body", b"")[:left]
        left -= len(body)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if left == 0:
            is_broken = True
            await break_off(scope, receive)

    await app(scope, receive, half)


def _refusal(fault: Fault) -> Response:
    if fault.kind == "refused":
        refusal = REFUSALS[str(fault.detail)]
        return JSONResponse(refusal.envelope, refusal.status)
    status = int(fault.kind.removeprefix(KEPT))
    if status == 429:
        message = "Rate limit reached: you asked the sandbox for this refusal."
        error = ApiError(message, code="rate_limit_exceeded", status=status, kind="requests")
        headers = {"retry-after": fault.detail} if fault.detail else {}
        return JSONResponse(error.envelope, status, headers=headers)
    message = "The server had an error: you asked the sandbox for it."
    error = ApiError(message, code="server_error", status=status, kind="server_error")
    return JSONResponse(error.envelope, status)


def _no_content(fate: Fault, video_id: str) -> ApiError:
    if fate.kind == "stuck":
        return ApiError.not_found("Video is not ready yet.", code="video_not_ready", param="video_id")
    message = f"Video '{video_id}' failed and has no content."
    return ApiError.not_found(message, code="video_failed", param="video_id")


def _as_fated(video: Json, fate: Fault) -> Json:
    """Return the changed fields of a job with a fate; none until the fate is due."""
    if fate.kind == "stuck":
        at = int(fate.number)
        if video["progress"] < at:
            return {}
        return {"status": "in_progress", "progress": at, "completed_at": None, "expires_at": None}
    if video["status"] != "completed":
        return {}
    error = {"code": fate.detail or _BLOCKED, "message": "You asked the sandbox for this failure."}
    return {"status": "failed", "progress": 99, "completed_at": None, "expires_at": None, "error": error}


def fault_routes(faults: Faults) -> list[Route]:
    """Return the routes for planning: POST ``{"faults": [SPEC, …]}``, GET and DELETE."""

    async def planned(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
        if request.method == "POST":
            _plan(faults, await request.json())
        return JSONResponse({"faults": faults.waiting()})

    return [Route("/_sandbox/faults", planned, methods=["GET", "POST", "DELETE"])]


def _plan(faults: Faults, body: Any) -> None:
    specs = body.get("faults") if isinstance(body, dict) else None
    if not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        raise ApiError.wrong_type("faults", "a list of strings", "something else")
    try:
        faults.add(specs)
    except ValueError as error:
        raise ApiError.invalid(str(error), code="invalid_value", param="faults") from error
