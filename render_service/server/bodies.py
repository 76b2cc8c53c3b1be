"""Request bodies that nobody reads to the end, and requests whose end is ambiguous."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RestOfBody:
    """Reads the rest of a request's body before the end of an answer that came early.

    A connection that is closed while the client still sends is reset, and a reset can overtake the answer:
    the client would see a broken connection instead of the refusal. The answer itself is sent immediately;
    only its end waits, for `REST_OF_BODY_S` or `REST_OF_BODY_BYTES` at most.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, and read all of its body."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)

        async def ending(message: Message) -> None:
            await send({**message, "more_body": True})
            await body.discard()
            await send({"type": "http.response.body"})

        def passing(message: Message) -> Awaitable[None]:
            ends = message["type"] == "http.response.body" and not message.get("more_body", False)
            return ending(message) if ends and body.is_coming else send(message)

        await self._app(scope, body.read, passing)


class _Body:
    """The body of a request, and whether more of it is coming."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        # A client that waits for a `100 Continue` sends nothing before the app reads.
        self.is_coming = b"expect" not in dict(scope["headers"])

    async def read(self) -> Message:
        """Return the next message about the body."""
        message = await self._receive()
        self.is_coming = message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read the rest, within the limits."""
        unread = REST_OF_BODY_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_OF_BODY_S):
                while self.is_coming and unread > 0:
                    unread -= len((await self.read()).get("body", b""))


REST_OF_BODY_S = 30.0


REST_OF_BODY_BYTES = 64 * 1024 * 1024


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def has_two_lengths(scope: Scope) -> bool:
    """Return whether a proxy that trusts the other header could read a request as two."""
    headers = dict(scope["headers"])
    return b"content-length" in headers and b"transfer-encoding" in headers


async def refuse_two_lengths(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse such a request, and close its connection."""
    error = {
        "message": "The request has both Content-Length and Transfer-Encoding: send one of them.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_http",
    }
    response = JSONResponse({"error": error}, 400, headers={"connection": "close"})
    await response(scope, receive, send)
