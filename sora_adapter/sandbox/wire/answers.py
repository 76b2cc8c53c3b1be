"""What every answer carries, whatever became of the request: an id and the time it took.

Plain ASGI, outside everything else, so that a 404, a 405 and an unexpected exception are dressed like the
rest.
"""

import logging
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sora_adapter.sandbox.wire.errors import ApiError

_log = logging.getLogger(__name__)


class DressedAnswers:
    """Adds `x-request-id` and `openai-processing-ms`, and turns exceptions into envelopes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, has_begun = time.perf_counter(), False
        scope.setdefault("state", {})["request_id"] = request_id = f"req_{uuid.uuid4().hex}"

        async def dressed(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
            await send(message)

        try:
            await self._app(scope, receive, dressed)
        except ClientDisconnect:
            return  # nobody is left to be answered
        except Exception as error:
            if has_begun:
                raise
            _log.exception("sandbox.request.failed")
            refusal = ApiError.failed(error)
            await JSONResponse(refusal.envelope, refusal.status)(scope, receive, dressed)


def request_id_of(request: Request) -> str:
    """Return the id the answer to a request will carry."""
    return str(request.state.request_id)
