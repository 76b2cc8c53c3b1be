"""Every refusal of the sandbox, as one exception with its error envelope.

    ApiError
        .missing_parameter  .unknown_parameter  .duplicate_parameter  .wrong_type  .not_offered
        .invalid            .unauthorized       .no_such_video        .not_found   .failed
        .too_many_requests  .too_many_running

The envelope is OpenAI's: {"error": {"message", "type", "param", "code"}}. Codes are those of the real API
where one is known; the real server leaves `param` and `code` null more often than this one does.
"""

import logging
import time
import uuid
from collections.abc import Iterable
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
        fields = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": fields}

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

    @classmethod
    def too_many_requests(cls, model: str, limit: int, wait_s: int) -> Self:
        """Return the refusal of a job over the rate limit, with the time to wait."""
        message = (
            f"Rate limit reached for {model} on requests per min (RPM): Limit {limit}, Used {limit}, "
            f"Requested 1. Please try again in {wait_s}s."
        )
        return cls(message, code="rate_limit_exceeded", status=429, kind="requests", retry_after_s=wait_s)

    @classmethod
    def too_many_running(cls) -> Self:
        """Return the refusal of one running job too many, in a real server's words, with no time to wait."""
        return cls("Too many running tasks", code=None, status=429, kind="video_generation_user_error")

    @classmethod
    def failed(cls, cause: Exception) -> Self:
        """Return the answer for an internal error; its cause is not secret on the reader's machine."""
        message = f"The sandbox failed: {type(cause).__name__}: {cause}"
        return cls(message, code="server_error", status=500, kind="server_error")


REFUSALS: dict[str, ApiError] = {
    "invalid_api_key": ApiError(
        "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
        status=401,
    ),
    "not_verified": ApiError(
        "Your organization must be verified to use the model `sora-2`. Please go to: "
        "https://platform.openai.com/settings/organization/general and click on Verify Organization.",
        code=None,
        status=403,
    ),
    "model_not_found": ApiError(
        "The model `sora-2` does not exist or you do not have access to it.",
        code="model_not_found",
        status=404,
    ),
    "insufficient_quota": ApiError(
        "You exceeded your current quota, please check your plan and billing details.",
        code="insufficient_quota",
        status=429,
        kind="insufficient_quota",
    ),
    "billing_hard_limit_reached": ApiError(
        "Billing hard limit has been reached.", code="billing_hard_limit_reached"
    ),
}


_log = logging.getLogger(__name__)


class DressedAnswers:
    """Adds `x-request-id` and `openai-processing-ms`, and turns exceptions into error envelopes.

    It is the outermost layer, so that a 404, a 405 and an unexpected exception get the same headers.
    """

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
            return  # the client is gone
        except Exception as error:
            if has_begun:
                raise
            _log.exception("sandbox.request.failed")
            refusal = ApiError.failed(error)
            await JSONResponse(refusal.envelope, refusal.status)(scope, receive, dressed)


def request_id_of(request: Request) -> str:
    """Return the id that the answer to a request will have."""
    return str(request.state.request_id)
