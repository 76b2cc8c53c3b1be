"""Layers that change an answer: JSON is buffered until complete, files are streamed."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ID = r"(?P<id>[^/]+)"
_ROUTES = (
    ("create", "POST", r"/v1/videos"),
    ("list", "GET", r"/v1/videos"),
    ("edit", "POST", r"/v1/videos/edits"),
    ("extend", "POST", r"/v1/videos/extensions"),
    ("character", "POST", r"/v1/videos/characters"),
    ("get-character", "GET", rf"/v1/videos/characters/{_ID}"),
    ("retrieve", "GET", rf"/v1/videos/{_ID}"),
    ("delete", "DELETE", rf"/v1/videos/{_ID}"),
    ("content", "GET", rf"/v1/videos/{_ID}/content"),
    ("remix", "POST", rf"/v1/videos/{_ID}/remix"),
)
_PATTERNS = [(operation, method, re.compile(path)) for operation, method, path in _ROUTES]
OPERATIONS = tuple(operation for operation, _, _ in _ROUTES)


def operation_of(scope: Scope) -> tuple[str | None, str | None]:
    """Return the operation and the id in the path, or None."""
    if scope["type"] != "http":
        return None, None
    for operation, method, path in _PATTERNS:
        match = path.fullmatch(scope["path"]) if scope["method"] == method else None
        if match:
            return operation, match.groupdict().get("id")
    return None, None


def path_of(operation: str, video_id: str | None) -> str:
    """Return the path of an operation on a video."""
    path = next(path for known, _, path in _ROUTES if known == operation)
    return path.replace(_ID, video_id or "")


Json = dict[str, Any]


@dataclass(frozen=True)
class JsonAnswer:
    """An answer in JSON; `headers` are without the body's headers."""

    status: int
    body: Json
    headers: dict[str, str]

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def response(self) -> JSONResponse:
        """The answer as a response to send."""
        return JSONResponse(self.body, self.status, headers=self.headers)


def _same(answer: JsonAnswer) -> JsonAnswer:
    return answer


def _as_it_is(_headers: MutableHeaders) -> None:
    """Leave the headers of a stream unchanged."""


@dataclass(frozen=True)
class Relay:
    """Forwards the answers of an app: JSON after `rewrite`, all others with headers changed by `head`."""

    app: ASGIApp
    rewrite: Callable[[JsonAnswer], JsonAnswer] = _same
    head: Callable[[MutableHeaders], None] = _as_it_is

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        held: Message | None = None
        body = bytearray()

        async def relayed(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("application/json"):
                    held = message
                    return
                self.head(headers)
                await send(message)
            elif held is None:
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await self.rewrite(_json_answer(held, bytes(body))).response(scope, receive, send)

        await self.app(scope, receive, relayed)


def _json_answer(start: Message, body: bytes) -> JsonAnswer:
    headers = dict(MutableHeaders(scope=start))
    passed = {
        name: value for name, value in headers.items() if name not in {"content-length", "content-type"}
    }
    return JsonAnswer(start["status"], json.loads(body), passed)
