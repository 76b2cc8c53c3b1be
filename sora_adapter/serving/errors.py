"""Every refusal of a server of the Videos API, as one exception with its error envelope.

    ApiError
        .missing_parameter  .unknown_parameter  .duplicate_parameter  .wrong_type  .not_offered
        .invalid            .unauthorized       .no_such_video        .not_found

The envelope is OpenAI's: {"error": {"message", "type", "param", "code"}}. Codes are those of the real API
where one is known; the real server leaves `param` and `code` null more often than these do.
"""

import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Self

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ApiError(Exception):
    """A refusal: an HTTP status, the four fields of the envelope, and when to retry."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None,
        param: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param
        self.status, self.kind, self.retry_after_s = status, kind, retry_after_s

    @property
    def envelope(self) -> dict[str, Any]:
        """The body of the answer."""
        param = self.param and _encodable(self.param)
        message = _encodable(self.message)
        return {"error": {"message": message, "type": self.kind, "param": param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the refusal."""
        return {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}

    @classmethod
    def missing_parameter(cls, param: str) -> Self:
        """Return the refusal of a request without a required parameter."""
        return cls(f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)

    @classmethod
    def unknown_parameter(cls, param: str) -> Self:
        """Return the refusal of a parameter that is not in the official description."""
        return cls(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)

    @classmethod
    def duplicate_parameter(cls, param: str) -> Self:
        """Return the refusal of a form with a duplicate parameter."""
        return cls(f"Duplicate parameter: '{param}'.", code="duplicate_parameter", param=param)

    @classmethod
    def wrong_type(cls, param: str, expected: str, got: str) -> Self:
        """Return the refusal of a value of the wrong JSON type; both types are named with their article."""
        message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
        return cls(message, code="invalid_type", param=param)

    @classmethod
    def not_offered(cls, param: str, value: str, offered: Iterable[str]) -> Self:
        """Return the refusal of a value outside a closed list, with that list."""
        supported = ", ".join(f"'{one}'" for one in offered)
        message = f"Invalid value: '{value}'. Supported values are: {supported}."
        return cls(message, code="invalid_value", param=param)

    @classmethod
    def invalid(cls, message: str, *, code: str, param: str | None = None) -> Self:
        """Return the refusal of a request for another reason."""
        return cls(message, code=code, param=param)

    @classmethod
    def unauthorized(cls, message: str) -> Self:
        """Return the refusal of a caller without the key."""
        return cls(message, code="invalid_api_key", status=401)

    @classmethod
    def no_such_video(cls, video_id: str, param: str = "video_id") -> Self:
        """Return the answer for an unknown or deleted job."""
        return cls(f"Video with id '{video_id}' not found.", code="video_not_found", param=param, status=404)

    @classmethod
    def not_found(cls, message: str, *, code: str, param: str | None = None) -> Self:
        """Return the answer for another unknown object."""
        return cls(message, code=code, param=param, status=404)


def _encodable(text: str) -> str:
    """Return `text` as UTF-8 can carry it: a refusal may quote half of a surrogate pair from JSON."""
    return text.encode(errors="backslashreplace").decode()


class DressedAnswers:
    """Adds `x-request-id` and `openai-processing-ms`, and turns exceptions into error envelopes by `failed`.

    It is the outermost layer, so that a 404, a 405 and an unexpected exception get the same headers.
    """

    def __init__(self, app: ASGIApp, failed: Callable[[Exception], ApiError]) -> None:
        self._app = app
        self._failed = failed

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
            return  # the client is gone
        except Exception as error:
            if has_begun:
                raise
            refusal = self._failed(error)
            await JSONResponse(refusal.envelope, refusal.status)(scope, receive, dressed)


def request_id_of(request: Request) -> str:
    """Return the id that the answer to a request will have."""
    return str(request.state.request_id)
