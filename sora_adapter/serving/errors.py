"""Every refusal of a server of the Videos API, as one exception with its error envelope.

    ApiError
        .missing_parameter  .unknown_parameter  .duplicate_parameter  .wrong_type  .not_offered
        .invalid            .unauthorized       .no_such_video        .not_found

The envelope is OpenAI's: {"error": {"message", "type", "param", "code"}}. Codes are the real API's where one
is known; the real server leaves `param` and `code` null more often than these do.
"""

import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Self, Unpack, overload

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.errors import Facts, SoraLedgerError


class ApiError(SoraLedgerError):
    """A refusal: an HTTP status, the four fields of the envelope, and when to retry; `code` may be empty."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None,
        status: int = 400,
        kind: str = "invalid_request_error",
        retry_after_s: int | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.message, self.code = message, code or ""
        self.status, self.kind, self.retry_after_s = status, kind, retry_after_s

    @property
    def envelope(self) -> dict[str, Any]:
        """The body of the answer."""
        param, message = encodable(self.param), encodable(self.message)
        return {"error": {"message": message, "type": self.kind, "param": param, "code": self.code or None}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the refusal."""
        return {} if self.retry_after_s is None else {"retry-after": f"{self.retry_after_s:g}"}

    @classmethod
    def missing_parameter(cls, param: str) -> Self:
        """Return the refusal of a request without a required parameter."""
        return cls(
            f"Missing required parameter: '{param}'.",
            code="missing_required_parameter",
            param=param,
            expected="a value",
            found="nothing",
        )

    @classmethod
    def unknown_parameter(cls, param: str) -> Self:
        """Return the refusal of a parameter that is not in the official description."""
        return cls(
            f"Unknown parameter: '{param}'.",
            code="unknown_parameter",
            param=param,
            expected="a parameter of this operation",
            found=param,
        )

    @classmethod
    def duplicate_parameter(cls, param: str) -> Self:
        """Return the refusal of a form with a repeated parameter."""
        return cls(
            f"Duplicate parameter: '{param}'.",
            code="duplicate_parameter",
            param=param,
            expected="one value",
            found="several",
        )

    @classmethod
    def wrong_type(cls, param: str, expected: str, got: str) -> Self:
        """Return the refusal of a value of the wrong JSON type; both types are named with their article."""
        message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
        return cls(message, code="invalid_type", param=param, expected=expected, found=got)

    @classmethod
    def not_offered(cls, param: str, value: str, offered: Iterable[str]) -> Self:
        """Return the refusal of a value outside a closed list, with that list."""
        offered = tuple(offered)
        supported = ", ".join(f"'{name}'" for name in offered)
        message = f"Invalid value: '{value}'. Supported values are: {supported}."
        return cls(message, code="invalid_value", param=param, expected=", ".join(offered), found=value)

    @classmethod
    def invalid(cls, message: str, *, code: str, **facts: Unpack[Facts]) -> Self:
        """Return the refusal of a request for another reason."""
        return cls(message, code=code, **facts)

    @classmethod
    def unauthorized(cls, message: str) -> Self:
        """Return the refusal of a caller without the key."""
        return cls(
            message, code="invalid_api_key", status=401, expected="a key of this server", found="another"
        )

    @classmethod
    def no_such_video(cls, video_id: str, param: str = "video_id") -> Self:
        """Return the answer for an unknown or deleted job."""
        return cls(
            f"Video with id '{video_id}' not found.",
            code="video_not_found",
            status=404,
            param=param,
            expected="the id of a video",
            found=video_id,
        )

    @classmethod
    def not_found(cls, message: str, *, code: str, **facts: Unpack[Facts]) -> Self:
        """Return the answer for another unknown object."""
        return cls(message, code=code, status=404, **facts)


@overload
def encodable(text: str) -> str: ...
@overload
def encodable(text: None) -> None: ...
def encodable(text: str | None) -> str | None:
    """Return `text` without lone surrogates, which UTF-8 cannot encode: a refusal may quote one from JSON."""
    return None if text is None else text.encode(errors="backslashreplace").decode()


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
    """Return the id for the answer to a request."""
    return str(request.state.request_id)
