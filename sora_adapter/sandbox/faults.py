"""Faults on demand, for the next request of an operation, the next job, or the next delivery.

A fault is planned as ``OPERATION=FAULT[@DETAIL][:TIMES]``; without TIMES it lasts until it is cleared.
The faults of one operation happen one after the other, in the planned order.

==========================  =========================================================================
any operation               what happens to the request
==========================  =========================================================================
none                        nothing: lets TIMES requests through before the next fault
lost                        the connection is reset before anything is read or carried out
kept-but-answer-lost        it is carried out, and the connection is reset instead of an answer
429[@SECONDS]               refused before it is carried out, with Retry-After if given
refused@CODE                refused for its key, account or model: one of `refusals.REFUSALS`
500, 502, 503, 504          the server fails before it is carried out
kept-but-500, …             it is carried out, but the answer is a server error
slow@SECONDS                it is carried out after that time, if the caller still waits
kept-but-slow@SECONDS       it is carried out, and answered after that time
reset                       the connection is reset in the middle of the answer's body
truncated                   the body ends halfway, although content-length announces more
==========================  =========================================================================

==========================  =========================================================================
create remix edit extend    what happens to the job
==========================  =========================================================================
stuck@PERCENT               it never proceeds beyond this
failing[@CODE]              it fails when it would have been completed
==========================  =========================================================================

==========================  =========================================================================
webhook                     what happens to a delivery
==========================  =========================================================================
lost, doubled, late@SECONDS, out-of-order, badly-signed
==========================  =========================================================================

The plan lives as long as the server. `Mishaps` carries faults out, as a layer around the routes: a request
that is refused or lost before it is carried out never reaches one, so the counters of the sandbox
(`/_sandbox/requests`) show what was carried out. A job that is stuck or failing is not announced by webhook.
"""

import asyncio
import json
import re
import threading
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sora_adapter.sandbox.webhooks.outbox import Letter
from sora_adapter.sandbox.wire.connection import hang_up, reset
from sora_adapter.sandbox.wire.refusals import REFUSALS
from sora_adapter.sandbox.wire.relay import OPERATIONS, Json, JsonAnswer, Relay, operation_of
from sora_adapter.serving.errors import ApiError

GRAMMAR = "OPERATION=FAULT[@DETAIL][:TIMES], such as create=429@2:3 or create=stuck@40"
WEBHOOK = "webhook"
CREATORS = ("create", "remix", "edit", "extend")
KEPT = "kept-but-"
ANSWER_LOST = f"{KEPT}answer-lost"
ANSWER_SLOW = f"{KEPT}slow"
FATES = ("stuck", "failing")
_FAILURES = ("500", "502", "503", "504")
_ANYWHERE = (
    "none", "lost", ANSWER_LOST, "429", "refused", *_FAILURES, *(f"{KEPT}{status}" for status in _FAILURES),
    "slow", ANSWER_SLOW, "reset", "truncated",
)  # fmt: skip
_OF_WEBHOOKS = ("none", "lost", "doubled", "late", "out-of-order", "badly-signed")
_WITH_NUMBER = ("slow", ANSWER_SLOW, "stuck", "late")
_SPEC = re.compile(r"(?P<operation>[a-z-]+)=(?P<kind>[a-z0-9-]+)(?:@(?P<detail>[\w.]+))?(?::(?P<times>\d+))?")


@dataclass(frozen=True)
class Fault:
    """A planned fault, for `times` more occurrences (None: always); `detail` is a number or an error code."""

    operation: str
    kind: str
    detail: str | None = None
    times: int | None = None

    @property
    def number(self) -> float:
        """The numeric detail of a fault: seconds or percent."""
        return float(self.detail or 0)

    def __str__(self) -> str:
        detail = "" if self.detail is None else f"@{self.detail}"
        return f"{self.operation}={self.kind}{detail}" + ("" if self.times is None else f":{self.times}")


class Faults:
    """The faults still planned, in order, and the fates of jobs; thread-safe."""

    def __init__(self, specs: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self._fates: dict[str, Fault] = {}
        self.add(specs)

    def add(self, specs: Iterable[str]) -> None:
        """Plan faults after the already planned ones, all or none; raises ValueError."""
        faults = [parse_fault(spec) for spec in specs]
        with self._lock:
            self._waiting.extend(faults)

    def clear(self) -> None:
        """Remove all faults, including the fates of jobs that were stuck or failing."""
        with self._lock:
            self._waiting.clear()
            self._fates.clear()

    def list_planned(self) -> list[str]:
        """Return the planned faults, as specifications."""
        with self._lock:
            return [str(fault) for fault in self._waiting]

    def next(self, operation: str) -> Fault | None:
        """Return the fault of this request or delivery, and count it; None if there is none."""
        with self._lock:
            for index, fault in enumerate(self._waiting):
                if fault.operation == operation:
                    if fault.times is not None:
                        self._waiting[index : index + 1] = _count_down(fault)
                    return None if fault.kind == "none" else fault
        return None

    def befall(self, job_id: str, fate: Fault) -> None:
        """Record the fate of a job."""
        with self._lock:
            self._fates[job_id] = fate

    def fate_of(self, job_id: str) -> Fault | None:
        """Return the fate of a job: a fault that is one of FATES, or None."""
        with self._lock:
            return self._fates.get(job_id)


def parse_fault(spec: str) -> Fault:
    """Parse one fault; raises ValueError that says what was expected."""
    read = _SPEC.fullmatch(spec)
    if read is None:
        raise ValueError(f"{spec!r} is not a fault; expected one like create=kept-but-answer-lost:1")
    operation, kind, detail, times = read.group("operation", "kind", "detail", "times")
    if operation not in (*OPERATIONS, WEBHOOK):
        offered = ", ".join((*OPERATIONS, WEBHOOK))
        raise ValueError(f"{spec!r}: unknown operation {operation} (known: {offered})")
    if kind not in _kinds_of(operation):
        raise ValueError(
            f"{spec!r}: {operation} has no fault {kind} (known: {', '.join(_kinds_of(operation))})"
        )
    if (kind in _WITH_NUMBER and detail is None) or (
        kind in (*_WITH_NUMBER, "429") and not _is_number(detail)
    ):
        raise ValueError(f"{spec!r}: {kind} needs a number, as in {operation}={kind}@2")
    if kind == "refused" and detail not in REFUSALS:
        raise ValueError(f"{spec!r}: refused needs a code (known: {', '.join(REFUSALS)})")
    return Fault(operation, kind, detail, None if times is None else int(times))


def _kinds_of(operation: str) -> tuple[str, ...]:
    if operation == WEBHOOK:
        return _OF_WEBHOOKS
    return (*_ANYWHERE, *FATES) if operation in CREATORS else _ANYWHERE


def _is_number(detail: str | None) -> bool:
    return detail is None or re.fullmatch(r"\d+(\.\d+)?", detail) is not None


def _count_down(fault: Fault) -> list[Fault]:
    """Return a fault with one occurrence less."""
    assert fault.times is not None  # only called for counted faults
    return [replace(fault, times=fault.times - 1)] if fault.times > 1 else []


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
        """Send a letter, then the ones held back for it; return the status of its answer."""
        if self._faults.fate_of(json.loads(letter.body)["data"]["id"]) is not None:
            return HTTPStatus.OK
        fault = self._faults.next(WEBHOOK)
        if fault is not None and fault.kind == "out-of-order":
            self._held.append(letter)
            return HTTPStatus.OK
        status = await self._send(letter, fault)
        held, self._held = self._held, []
        for late in held:
            await self._post(late)
        return status

    async def _send(self, letter: Letter, fault: Fault | None) -> int | None:
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
        app = self._choose_app(operation, video_id)
        if fault is None:
            await app(scope, receive, send)
        elif fault.kind in FATES:
            await Relay(self._app, lambda answer: self._note(answer, fault))(scope, receive, send)
        else:
            await _happen(fault, app, scope, receive, send)

    def _choose_app(self, operation: str | None, video_id: str | None) -> ASGIApp:
        """Return the app as it behaves for jobs with a fate."""
        fate = self._faults.fate_of(video_id) if video_id else None
        if operation == "content" and fate is not None:
            refusal = _no_content(fate, str(video_id))
            return JSONResponse(refusal.envelope, refusal.status)
        return Relay(self._app, self._show) if operation in {"retrieve", "list"} else self._app

    def _note(self, answer: JsonAnswer, fate: Fault) -> JsonAnswer:
        if answer.is_success:
            self._faults.befall(str(answer.body["id"]), fate)
        return answer

    def _show(self, answer: JsonAnswer) -> JsonAnswer:
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
        await app(scope, receive, _discard)
        await reset(scope, receive)
    elif kind == "slow":
        await sleep(fault.number)
        await app(scope, receive, send)
    elif kind == ANSWER_SLOW:
        await _hold_back(fault.number, app, scope, receive, send)
    elif kind == "reset":
        await _break_off(app, reset, scope, receive, send)
    elif kind == "truncated":
        await _break_off(app, hang_up, scope, receive, send)
    else:
        if kind.startswith(KEPT):
            await app(scope, receive, _discard)
        await _refusal(fault)(scope, receive, send)


async def _discard(_message: Message) -> None:
    """Discard an answer."""


async def _hold_back(seconds: float, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Carry out a request immediately, and send the answer after a delay."""
    answer: list[Message] = []

    async def hold(message: Message) -> None:
        answer.append(message)

    await app(scope, receive, hold)
    await sleep(seconds)
    for message in answer:
        await send(message)


async def _break_off(app: ASGIApp, break_off: Break, scope: Scope, receive: Receive, send: Send) -> None:
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
        return JSONResponse({"faults": faults.list_planned()})

    return [Route("/_sandbox/faults", planned, methods=["GET", "POST", "DELETE"])]


def _plan(faults: Faults, body: Any) -> None:
    specs = body.get("faults") if isinstance(body, dict) else None
    if not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        raise ApiError.wrong_type("faults", "a list of strings", "something else")
    try:
        faults.add(specs)
    except ValueError as error:
        raise ApiError.invalid(str(error), code="invalid_value", param="faults") from error
