"""The refusals of the gateway in OpenAI's error envelope, and whether the SDKs may retry.

The SDKs resend after 408, 409, 429 and 5xx, up to twice. A refusal that another attempt cannot change has
``x-should-retry: false``, which they obey. A 5xx is only for requests that were certainly not sent.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Self, Unpack

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ledger.errors import Facts, Retry, error_facts
from ledger.events import ErrorDetail
from render_service.runtime.documents import Json
from render_service.server.gateway.resources import ABOUT_THE_GATEWAY, REFUSED_GATEWAY
from sora_adapter.messages import needs_a_person
from sora_adapter.serving.errors import ApiError, encodable

PREFIX = "/v1"
"""The path of the API."""

LONGEST_PATH = 200
"""Maximum characters of a path that an answer repeats."""

RETRY_S = 5
"""When to retry if the ledger is unusable."""

INVALID = "invalid_request_error"
SERVER = "server_error"


class Refusal(ApiError):
    """A refusal, and whether the SDKs may retry."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        type: str = INVALID,  # noqa: A002  # the name in the envelope
        retry_after_s: int | None = None,
        should_retry: bool = False,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, code=code, status=status, kind=type, retry_after_s=retry_after_s, **facts)
        self._should_retry = should_retry
        self._trace: Mapping[str, Any] | None = None
        self._more: Mapping[str, str] = {}
        self._calls: list[Json] = []

    def about(self, headers: Mapping[str, str], trace: Mapping[str, Any] | None = None) -> Self:
        """Add the headers of the job that records this refusal, and the trace of its denial."""
        self._more, self._trace = headers, trace
        return self

    @property
    def envelope(self) -> dict[str, Any]:
        """The body of the answer: the error, its common fields, and the trace of a denial."""
        later, again = self.retry_after_s is not None, self._should_retry
        retry: Retry = "never" if not again else "after_s" if later else "same_key"
        envelope: Json = super().envelope["error"]
        facts = error_facts(
            self.code,
            envelope["message"],
            retry=retry,
            retry_after_s=self.retry_after_s if again else None,
            expected=encodable(self.expected),
            found=encodable(self.found),
            commands=self.commands,
        )
        error = facts | {"calls": self._calls} | envelope
        return {"error": error} | ({"denial_trace": self._trace} if self._trace else {})

    def followed_by(self, calls: Sequence[Json], commands: Sequence[Sequence[str]] = ()) -> Self:
        """Add the API calls to make next, and the equivalent commands for the operator."""
        self._calls = [*self._calls, *calls]
        self.commands = [*self.commands, *commands]
        return self

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the refusal."""
        again = {"x-should-retry": "true" if self._should_retry else "false"}
        return super().headers | again | dict(self._more)


def no_such_video(param: str = "video_id", found: str | None = None) -> Refusal:
    """Return the refusal for a video that does not exist, or that the caller may not see."""
    return Refusal(
        404,
        "video_not_found",
        "No video with this id.",
        param=param,
        expected="the id of a video that you may see",
        found=found or "another id",
    )


def over_budget(message: str, **facts: Unpack[Facts]) -> Refusal:
    """Return the refusal for lack of money, like OpenAI's own quota error; it must not be retried."""
    refusal = Refusal(429, "insufficient_quota", message, type="insufficient_quota", **facts)
    return refusal.followed_by((), [["sora-ledger", "budget", "list"]])


def ledger_unusable() -> Refusal:
    """Return the refusal while nothing can be recorded: no video was requested, so the SDKs may retry."""
    message = (
        f"The ledger cannot record anything now, so no video was requested. Try again in {RETRY_S} seconds."
    )
    return Refusal(
        503,
        "ledger_unavailable",
        message,
        type=SERVER,
        retry_after_s=RETRY_S,
        should_retry=True,
        expected="a ledger that can be written",
        found="one that cannot be at the moment",
    )


def upload_failed(error: OSError) -> Refusal:
    """Return the refusal while uploads cannot be stored, as on a full disk."""
    message = (
        f"The gateway cannot keep the upload now ({error.strerror}), so nothing was sent. Try again later."
    )
    return Refusal(
        503,
        "upload_failed",
        message,
        type=SERVER,
        retry_after_s=RETRY_S,
        should_retry=True,
        expected="room for the upload",
        found=error.strerror,
    )


def unreachable() -> Refusal:
    """Return the refusal while the server behind the gateway does not answer: no video was created."""
    message = "The server behind this gateway gave no answer; no video was created. Try again later."
    return Refusal(
        502,
        "server_unreachable",
        message,
        type=SERVER,
        should_retry=True,
        expected="an answer of the server",
        found="none",
    )


def character_unknown() -> Refusal:
    """Return the refusal for a character whose creation was not answered."""
    message = (
        "The server behind this gateway gave no usable answer. It may have created the character, under an "
        "id that nobody knows; creating it again costs nothing."
    )
    return Refusal(
        502,
        "server_unreachable",
        message,
        type=SERVER,
        expected="a usable answer of the server",
        found="none",
    )


def from_server(
    detail: ErrorDetail, retry_after_ms: int | None = None, *, may_repeat: bool = True
) -> Refusal:
    """Return a refusal of the server behind the gateway, as its own client would see it.

    `may_repeat` is whether the refused request is known to have cost nothing. A refusal of the gateway's key
    is not about the client's key, so it becomes a 502; its words quote parts of that key.
    """
    status = detail.http_status or HTTPStatus.BAD_GATEWAY
    cause = detail.message.text if detail.message else None
    text = cause or "The server behind this gateway refused the request."
    if status in ABOUT_THE_GATEWAY:
        return Refusal(
            502,
            detail.code or "server_refused_gateway",
            REFUSED_GATEWAY,
            type=SERVER,
            expected="a server that takes this gateway's key",
            found=f"HTTP {status}",
        )
    if status < HTTPStatus.BAD_REQUEST:  # a redirect is for the gateway's operator
        status = HTTPStatus.BAD_GATEWAY
    default = INVALID if status < HTTPStatus.INTERNAL_SERVER_ERROR else SERVER
    return Refusal(
        int(status),
        detail.code,
        text,
        param=detail.param,
        type=detail.type or default,
        retry_after_s=None if retry_after_ms is None else -(-retry_after_ms // 1000),
        should_retry=may_repeat and status == HTTPStatus.TOO_MANY_REQUESTS and not needs_a_person(detail),
        expected="a request that the server accepts",
        found=f"HTTP {int(status)}",
    )


def refused_by_router(request: Request, status: int) -> Response:
    """Answer for an unknown address or method, in the envelope of the API."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.path_regex.match(request.url.path)]
    what = f"{request.method} {request.url.path[:LONGEST_PATH]}"
    if status != HTTPStatus.METHOD_NOT_ALLOWED:
        return _answer(
            Refusal(
                status,
                "unknown_url",
                f"Unknown request URL: {what}.",
                param="url",
                expected="a URL of the Videos API",
                found=what,
            )
        )
    same = [route for route in matching if route.path == matching[0].path]
    methods = sorted({method for route in same for method in route.methods or ()})
    message = f"Not allowed method: {what} (allowed: {', '.join(methods)})."
    refusal = Refusal(
        status,
        "method_not_allowed",
        message,
        param="method",
        expected=", ".join(methods),
        found=request.method,
    )
    return _answer(refusal.about({"allow": ", ".join(methods)}))


def _answer(refusal: Refusal) -> Response:
    return JSONResponse(refusal.envelope, refusal.status, headers=refusal.headers)
