"""Every refusal of the gateway in OpenAI's error envelope, and whether the SDKs may send the request again.

The SDKs resend after 408, 409, 429 and 5xx, up to twice. A refusal that another attempt cannot change says
``x-should-retry: false``, which they obey. A 5xx is only for what was certainly not sent.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from decision.errors import DecisionError
from ledger.errors import AmbiguousJob, BudgetExceeded, JobNotFound, LedgerError
from render_service.rules.budgets import PolicyReplaced
from render_service.runtime.errors import (
    BadInput,
    BudgetGone,
    KeyMissing,
    NotReady,
    ProfileRetired,
    RequestKeyTaken,
    ServiceError,
    WrongServer,
)
from render_service.runtime.telemetry import Log
from sora_adapter.errors import (
    AdapterError,
    AnswerError,
    OperationUnsupported,
    ReferenceUnreadable,
    ServerTrouble,
    SettingsUnusable,
    loggable,
)
from sora_adapter.serving.errors import ApiError

RETRY_S = 5
"""When to come back if the ledger cannot be used."""

_INVALID = "invalid_request_error"
_SERVER = "server_error"


class Refusal(ApiError):
    """A refusal, with the trace of its decision beside the error if a decision was made.

    `headers` are added to those of the answer, such as the job that records a denial.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        type: str = _INVALID,  # noqa: A002  # the name in the envelope
        retry_after_s: int | None = None,
        trace: Mapping[str, Any] | None = None,
        should_retry: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            message, code=code, param=param, status=status, kind=type, retry_after_s=retry_after_s
        )
        self.trace, self.should_retry, self._more = trace, should_retry, headers

    @property
    def envelope(self) -> dict[str, Any]:
        """The body of the answer."""
        return super().envelope | ({"denial_trace": self.trace} if self.trace else {})

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the refusal."""
        again = {"x-should-retry": "true" if self.should_retry else "false"}
        return super().headers | again | dict(self._more or {})


def refused(error: Exception, log: Log) -> JSONResponse:
    """Return the answer for `error`; what was not expected, or is trouble of this server, is logged."""
    refusal = refusal_of(error)
    if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("gateway.failed", status=refusal.status, **loggable(error))
    return JSONResponse(refusal.envelope, refusal.status, headers=refusal.headers)


def refusal_of(error: Exception) -> Refusal:
    """Return the refusal that `error` stands for; an unexpected one is a 500 that repeats nothing of it."""
    match error:
        case Refusal():
            return error
        case ApiError():
            return Refusal(error.status, error.code, error.message, param=error.param, type=error.kind)
        case BudgetExceeded() | BudgetGone():
            return over_budget(str(error))
        case DecisionError():
            return bad_value(str(error))
        case JobNotFound() | AmbiguousJob():
            return Refusal(404, "video_not_found", "No video with this id.", param="video_id")
        case ServiceError() if not isinstance(error, LedgerError):
            return _of_service(error)
        case AdapterError():
            return _of_server(error)
        case LedgerError() | TimeoutError():
            return ledger_unusable()
        case _:
            message = "The gateway failed on this request; its log says why."
            return Refusal(500, "internal_error", message, type=_SERVER)


def bad_value(message: str) -> Refusal:
    """Return the refusal of a value outside the vocabulary; the message of the parser names it first."""
    message = in_api_terms(message)
    return Refusal(400, "invalid_value", message, param=_param_in(message))


def over_budget(message: str, **more: Any) -> Refusal:
    """Return the refusal for lack of money, as OpenAI's own quota answers; it must not be sent again."""
    return Refusal(429, "insufficient_quota", message, type="insufficient_quota", **more)


def ledger_unusable() -> Refusal:
    """Return the refusal while nothing can be recorded: nothing was sent, so the SDKs may come back."""
    message = f"The ledger cannot record anything now, so nothing was sent. Try again in {RETRY_S} seconds."
    return Refusal(503, "ledger_unavailable", message, type=_SERVER, retry_after_s=RETRY_S, should_retry=True)


def _of_service(error: ServiceError) -> Refusal:
    message = in_api_terms(str(error))
    match error:
        case RequestKeyTaken():
            return Refusal(409, "idempotency_key_reused", message, param="Idempotency-Key")
        case WrongServer():
            return Refusal(409, "wrong_server", "This video is on a server that is not in use here now.")
        case KeyMissing() | ProfileRetired():
            message = "This gateway has no usable server behind it; its operator has to set one."
            return Refusal(503, "server_not_configured", message, type=_SERVER)
        case BadInput():
            return Refusal(400, "invalid_value", message, param=_param_in(message))
        case PolicyReplaced():
            again = "The policy was replaced during this decision; nothing was sent: try again."
            return Refusal(503, "policy_replaced", again, type=_SERVER, retry_after_s=1, should_retry=True)
        case NotReady():
            return Refusal(409, "video_not_ready", message)
        case _:
            return Refusal(500, "internal_error", message, type=_SERVER)


def _of_server(error: AdapterError) -> Refusal:
    """Return what the server behind the gateway refused, with its status; or that it cannot be reached."""
    match error:
        case AnswerError() if error.detail is not None and error.detail.http_status is not None:
            detail = error.detail
            text = detail.message.text if detail.message else None
            status = detail.http_status or HTTPStatus.BAD_GATEWAY
            return from_server(
                status, detail.code, text, detail.param, detail.type, retry_after_ms=error.retry_after_ms
            )
        case ServerTrouble():
            message = "The server behind this gateway gave no answer; nothing was created. Try again later."
            return Refusal(502, "server_unreachable", message, type=_SERVER, should_retry=True)
        case OperationUnsupported() | ReferenceUnreadable():
            return Refusal(400, "operation_not_offered", in_api_terms(str(error)))
        case SettingsUnusable():
            message = "This gateway has no usable server behind it; its operator has to set one."
            return Refusal(503, "server_not_configured", message, type=_SERVER)
        case _:
            message = "The server behind this gateway gave an answer that cannot be used."
            return Refusal(502, "server_unreadable", message, type=_SERVER)


def from_server(
    status: int,
    code: str | None,
    message: str | None,
    param: str | None,
    kind: str | None,
    *,
    retry_after_ms: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """Return a refusal of the server behind the gateway as its own client would see it.

    Its refusal of the gateway's key is not about the client's key, so that is a 502.
    """
    text = message or "The server behind this gateway refused the request."
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        text = f"The server behind this gateway refused the gateway's own key or account: {text}"
        return Refusal(502, code or "server_refused_gateway", text, type=_SERVER, headers=headers)
    busy = status == HTTPStatus.TOO_MANY_REQUESTS and code not in {"insufficient_quota"}
    wait_s = None if retry_after_ms is None else -(-retry_after_ms // 1000)
    if status < HTTPStatus.BAD_REQUEST:  # a redirect is for the gateway's operator
        status = HTTPStatus.BAD_GATEWAY
    return Refusal(
        int(status),
        code,
        text,
        param=param,
        type=kind or (_INVALID if status < HTTPStatus.INTERNAL_SERVER_ERROR else _SERVER),
        retry_after_s=wait_s,
        should_retry=busy,
        headers=headers,
    )


_FLAG = re.compile(r"--([a-z][a-z-]*)")
_FIELDS = {
    "max_cost": "max_cost_usd",
    "id": "video",
    "deadline": "deadline_minutes",
    "character_id": "characters",
    "input_reference_url": "input_reference.image_url",
    "input_reference_file_id": "input_reference.file_id",
    "request_key": "Idempotency-Key",
}


def in_api_terms(message: str) -> str:
    """Return a message of the command line with the names of the API's fields in place of options."""
    return _FLAG.sub(lambda flag: _field(flag[1].replace("-", "_")), message)


def _field(option: str) -> str:
    return _FIELDS.get(option, option)


_PARAMS = {
    "prompt": "prompt",
    "model": "model",
    "size": "size",
    "seconds": "seconds",
    "purpose": "purpose",
    "reference": "input_reference",
    "reference_url": "input_reference.image_url",
    "reference_file_id": "input_reference.file_id",
    "image": "input_reference",
    "video": "video",
    "max_cost_usd_micros": "max_cost_usd",
    "deadline_minutes": "deadline_minutes",
    "character_id": "characters",
    "request_key": "Idempotency-Key",
    "seed": "seed",
    "loop": "loop",
    "promotes": "promotes",
}


def _param_in(message: str) -> str | None:
    """Return the field that a message is about: its first word, by the convention of the parsers."""
    return _PARAMS.get(message.partition(" ")[0].rstrip(":,"))
