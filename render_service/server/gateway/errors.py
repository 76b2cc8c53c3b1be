"""The gateway's answer to each error: the table of refusals, and the next calls to make.

`render_service.server.gateway.refusals` has the refusals themselves.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from decision.errors import DecisionError
from ledger.errors import (
    AmbiguousJob,
    AppendRefused,
    BudgetExceeded,
    JobNotFound,
    LedgerError,
    RecordTooLarge,
    SoraLedgerError,
)
from render_service.notifications.endpoints import NoSuchEndpoint
from render_service.rules.budgets import PolicyReplaced
from render_service.runtime.documents import Json
from render_service.runtime.errors import (
    AnsweredTooLate,
    AnswerSpooled,
    AssetUnusable,
    BadInput,
    BudgetGone,
    KeyMissing,
    MayBeOurs,
    NotAsStored,
    NotAuthenticated,
    NotPermitted,
    NotReady,
    PlaceTaken,
    ProfileRetired,
    ProviderUnavailable,
    RequestKeyTaken,
    SessionCeiling,
    StorageFailed,
    TooManyRequests,
    WrongServer,
)
from render_service.runtime.telemetry import Log
from render_service.server.gateway.api_terms import api_param, in_api_terms
from render_service.server.gateway.refusals import (
    INVALID,
    RETRY_S,
    SERVER,
    Refusal,
    from_server,
    ledger_unusable,
    no_such_video,
    over_budget,
    unreachable,
)
from sora_adapter.errors import (
    AdapterError,
    AnswerError,
    OperationUnsupported,
    ReferenceUnreadable,
    ServerTrouble,
    SettingsUnusable,
    loggable,
)
from sora_adapter.serving.endpoints import no_such_endpoint
from sora_adapter.serving.errors import ApiError


def refused(error: Exception, log: Log, call: "Call | None" = None) -> JSONResponse:
    """Return the answer for `error`; unexpected errors, or problems of this server, are logged.

    `call` is the request, which may be repeated, or retried with another value.
    """
    refusal = refusal_of(error)
    if call is not None:
        refusal.followed_by(*_following(refusal, call))
    if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("gateway.failed", status=refusal.status, **loggable(error))
    return JSONResponse(refusal.envelope, refusal.status, headers=refusal.headers)


def refusal_of(error: Exception) -> Refusal:
    """Return the refusal for `error`; an unexpected error is a 500 that repeats nothing of it."""
    if isinstance(error, Refusal):
        return error
    for kinds, answer in _REFUSALS:
        if isinstance(error, kinds):
            refusal = answer(error)
            if refusal.expected is None and str(error) == str(refusal):
                return _with_facts(refusal, error)
            return refusal
    message = "The gateway failed on this request; its log says why."
    return Refusal(500, "internal_error", message, type=SERVER, expected="an answer", found="a defect")


def _with_facts(refusal: Refusal, error: Exception) -> Refusal:
    """Return a refusal in an error's own words, with the error's details for programs."""
    if isinstance(error, SoraLedgerError):
        refusal.param = refusal.param or error.param
        refusal.expected, refusal.found, refusal.instead = error.expected, error.found, error.instead
    return refusal


@dataclass(frozen=True)
class Call:
    """A request of the API: its method and path, its fields, and its idempotency key."""

    method: str
    path: str
    fields: Mapping[str, Any]
    key: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it can be repeated from this alone: it has no files, and only text that JSON can carry."""
        try:
            json.dumps(self.fields, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError):
            return False
        return True

    def document(self, **changes: Any) -> Json:
        """Return the call with these fields changed, as JSON."""
        shown: Json = {"method": self.method, "path": self.path}
        if self.key is not None:
            shown["headers"] = {"Idempotency-Key": self.key}
        if self.fields or changes:
            shown["body"] = {**self.fields, **changes}
        return shown

    def command(self, **changes: Any) -> list[str]:
        """Return the command that does the same on the ledger of this server."""
        words = ["sora-ledger", _COMMAND_OF.get(self.path, "remix")]
        fields = {**self.fields, **changes}
        if self.path.endswith("/remix"):
            words += ["--id", self.path.split("/")[-2]]
        for name, value in fields.items():
            if name in _OPTIONS and isinstance(value, str | int | float) and not isinstance(value, bool):
                words += [_OPTIONS[name], str(value)]
        return words


_COMMAND_OF = {"/v1/videos": "create"}
_OPTIONS = {name: f"--{name}" for name in ("prompt", "model", "size", "seconds", "purpose")} | {
    "max_cost_usd": "--max-cost"
}
JOBS: Json = {"method": "GET", "path": "/v1/videos"}
_LOOK_FIRST = frozenset({"video_not_found", "idempotency_key_reused", "answer_not_recorded"})


def _following(refusal: Refusal, call: Call) -> tuple[list[Json], list[list[str]]]:
    """Return the API calls and the commands that fit a refusal of `call`."""
    if refusal.code in _LOOK_FIRST:
        return [JOBS], [["sora-ledger", "jobs"]]
    if refusal.instead is not None and refusal.param is not None and call.is_whole:
        better = {refusal.param: refusal.instead}
        return [call.document(**better)], [call.command(**better)]
    is_repeated = "retry-after" in refusal.headers or refusal.headers["x-should-retry"] == "true"
    return [call.document()] if is_repeated and call.is_whole else [], []


def _provider(error: Exception) -> Refusal:
    return Refusal(
        503, "provider_unavailable", str(error), type=SERVER, retry_after_s=RETRY_S, should_retry=True
    )


def _too_many(error: Exception) -> Refusal:
    wait_s = math.ceil(error.retry_after_s) if isinstance(error, TooManyRequests) else 1
    return Refusal(
        429,
        "rate_limit_exceeded",
        str(error),
        type="rate_limit_error",
        retry_after_s=max(1, wait_s),
        should_retry=True,
    )


def _refuse(status: int, code: str, message: str, **more: Any) -> Callable[[Exception], Refusal]:
    """Return a handler with these words; the error's own words are for the operator, and in the log."""
    kind = SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else INVALID
    return lambda _: Refusal(status, code, message, type=kind, **more)


def _of_server(error: Exception) -> Refusal:
    """Return the refusal of the server behind the gateway, with its status."""
    detail = error.detail if isinstance(error, AnswerError) else None
    if isinstance(error, AnswerError) and detail is not None and detail.http_status is not None:
        return from_server(detail, error.retry_after_ms)
    if isinstance(error, ServerTrouble):
        return unreachable()
    message = "The server behind this gateway gave an answer that cannot be used."
    return Refusal(
        502,
        "server_unreadable",
        message,
        type=SERVER,
        expected="an answer of the Videos API",
        found="another",
    )


def _in_words(status: int, code: str, param: str | None = None) -> Callable[[Exception], Refusal]:
    """Return a handler with the error's own message; its first word becomes the field, if any."""

    def refusal(error: Exception) -> Refusal:
        message, named = in_api_terms(str(error)), param
        if isinstance(error, SoraLedgerError) and error.param is not None:
            named = param or api_param(error.param)
        refusal = Refusal(status, code, message, param=named)
        return _with_facts(refusal, error)

    return refusal


def _over_budget(error: Exception) -> Refusal:
    assert isinstance(error, SoraLedgerError)
    return over_budget(str(error), param=error.param, expected=error.expected, found=error.found)


def _envelope_of(error: Exception) -> Refusal:
    assert isinstance(error, ApiError)
    return Refusal(
        error.status,
        error.code,
        error.message,
        param=error.param,
        type=error.kind,
        expected=error.expected,
        found=error.found,
    )


_NOT_OUR_PLACE = (
    "The place for files of this gateway belongs to another ledger; its operator has to set another one."
)
_NOT_AS_STORED = "The stored file is not the one that was recorded; the log of this gateway says which."
_NO_STORAGE = (
    f"This gateway cannot use its files now, so no video was requested. Try again in {RETRY_S} seconds."
)
_ELSEWHERE = "This video belongs to a server that is not in use here now; nothing was sent."
_NO_SERVER = "This gateway has no usable server behind it; its operator has to set one."
_REPLACED = "The policy was replaced during this decision; nothing was sent: try again."
_UNSETTLED = "A request without an answer may have created this video; once that is known, it can be named."
_TOO_LARGE = "The request has more text than a record of the ledger may have: shorten it."
_ANSWERED = "The server has answered and the answer is not recorded yet: look at the list of videos first."
_CHANGED = "Another request changed the same at this moment, so nothing was recorded: try again."
_REFUSALS: tuple[
    tuple[type[Exception] | tuple[type[Exception], ...], Callable[[Exception], Refusal]], ...
] = (
    (ApiError, _envelope_of),
    (NotAuthenticated, lambda error: Refusal(401, "invalid_api_key", str(error))),
    (ProviderUnavailable, _provider),
    (NotPermitted, lambda error: Refusal(403, "permission_denied", str(error))),
    (TooManyRequests, _too_many),
    (
        PlaceTaken,
        _refuse(
            503,
            "storage_not_configured",
            _NOT_OUR_PLACE,
            expected="a place of this ledger",
            found="another's",
        ),
    ),
    (
        NotAsStored,
        _refuse(500, "storage_failed", _NOT_AS_STORED, expected="the recorded file", found="another"),
    ),
    (
        StorageFailed,
        _refuse(
            503,
            "storage_unavailable",
            _NO_STORAGE,
            retry_after_s=RETRY_S,
            should_retry=True,
            expected="files that can be used",
            found="files that cannot be at the moment",
        ),
    ),
    ((BudgetExceeded, BudgetGone, SessionCeiling), _over_budget),
    (RequestKeyTaken, _in_words(409, "idempotency_key_reused", "Idempotency-Key")),
    (
        WrongServer,
        _refuse(
            409,
            "wrong_server",
            _ELSEWHERE,
            param="video_id",
            expected="a video of the server in use",
            found="one of another",
        ),
    ),
    (
        (KeyMissing, ProfileRetired, SettingsUnusable),
        _refuse(
            503,
            "server_not_configured",
            _NO_SERVER,
            expected="a server behind this gateway",
            found="none that can be used",
        ),
    ),
    ((DecisionError, BadInput), _in_words(400, "invalid_value")),
    (
        PolicyReplaced,
        _refuse(
            503,
            "policy_replaced",
            _REPLACED,
            retry_after_s=1,
            should_retry=True,
            expected="the policy that decided",
            found="another in force",
        ),
    ),
    (NotReady, _in_words(409, "video_not_ready", "video_id")),
    (
        MayBeOurs,
        _refuse(
            409,
            "video_unsettled",
            _UNSETTLED,
            param="video_id",
            retry_after_s=2,
            should_retry=True,
            expected="a video of no open request",
            found="one that may be of one",
        ),
    ),
    ((JobNotFound, AmbiguousJob), lambda error: no_such_video(found=getattr(error, "found", None))),
    (NoSuchEndpoint, lambda error: refusal_of(no_such_endpoint(str(error)))),
    ((OperationUnsupported, ReferenceUnreadable), _in_words(400, "operation_not_offered")),
    ((AdapterError, AssetUnusable), _of_server),
    (
        RecordTooLarge,
        _refuse(
            413,
            "request_too_large",
            _TOO_LARGE,
            param="prompt",
            expected="a shorter text",
            found="more than a record may have",
        ),
    ),
    (
        (AnswerSpooled, AnsweredTooLate),
        _refuse(
            409, "answer_not_recorded", _ANSWERED, expected="a recorded answer", found="one that is not yet"
        ),
    ),
    (
        AppendRefused,
        _refuse(
            409,
            "changed_meanwhile",
            _CHANGED,
            retry_after_s=1,
            should_retry=True,
            expected="the state that was decided on",
            found="a later one",
        ),
    ),
    ((LedgerError, TimeoutError), lambda _: ledger_unusable()),
)
"""The answer to each error: the first match applies, so narrower classes come first."""
