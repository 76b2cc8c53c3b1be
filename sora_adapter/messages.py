"""Error messages for refusals and failures of a server: the object, the answer, the next step.

A failed request raises them. For a submission that was not accepted, the outcome is recorded, and `trouble`
puts it into words. Pure; does not import `openai`.
"""

from typing import TYPE_CHECKING, NamedTuple, assert_never

from ledger.events import (
    ErrorDetail,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionRejected,
    SubmissionUnknown,
)
from ledger.terms import Status
from sora_adapter.errors import (
    AnswerError,
    ContentExpired,
    ContentGone,
    ContentMissing,
    ContentNotReady,
    ServerBusy,
    ServerFailed,
    ServerRefused,
    ServerUnreachable,
    ServerUnreadable,
    VideoNotFound,
)
from sora_adapter.responses import FAILURE, REDIRECT

if TYPE_CHECKING:
    from sora_adapter.models import Observation

Submission = SubmissionAccepted | SubmissionRejected | SubmissionUnknown | SubmissionAbsent


class Server(NamedTuple):
    """A server in messages: its address, the setting that has its key, whether it lists videos."""

    base_url: str
    key_variable: str
    can_list: bool


_BY_STATUS: dict[int, tuple[type[AnswerError], str]] = {
    401: (ServerRefused, "set {key} to a key of this server"),
    403: (ServerRefused, "the key in {key} may not do this; use another, or ask its owner"),
    404: (VideoNotFound, "check the id and the profile: a video is known only to the server that made it"),
    405: (ServerRefused, "it does not offer this operation; ask its operator whether there is another way"),
    429: (ServerBusy, "ask again {when}, or less often"),
}
_BY_FAMILY: dict[int, tuple[type[AnswerError], str]] = {
    REDIRECT: (ServerRefused, "set OPENAI_BASE_URL to the address it points to"),
    FAILURE: (ServerFailed, "ask again {when}"),
}
_BY_CODE = {
    "invalid_api_key": (
        "the key in {key} is not one of this server's: compare it with the one you were given, or make "
        "another (OpenAI: https://platform.openai.com/api-keys)"
    ),
    "insufficient_quota": (
        "the credits are used up, and waiting does not help: add some (OpenAI: "
        "https://platform.openai.com/account/billing), or set {key} to another key"
    ),
    "model_not_found": (
        "the server has no such model, or none for the key in {key}: ask its operator, use another --model, "
        "or say in a profile of your own (SORA_LEDGER_PROFILES) what this server calls it"
    ),
    "not_verified": (
        "the organisation behind {key} has to be verified first; an owner does that, and it may take half an "
        "hour to be known (OpenAI: https://platform.openai.com/settings/organization/general)"
    ),
}
"""Errors only a person can fix, by code; retrying changes nothing."""
_SAME_AS = {"billing_hard_limit_reached": "insufficient_quota", "invalid_authentication": "invalid_api_key"}
_VERIFY = "must be verified"  # OpenAI's wording, without a code
_OTHERWISE = (ServerRefused, "asking again changes nothing; change the request")
MAY_EXIST = (
    "a video may have been created: `sora-ledger reconcile --all` looks for it; do that before asking again"
)
MAY_EXIST_UNLISTED = (
    "a video may have been created, and this server lists none: ask its operator before submitting again, "
    "then tell `sora-ledger reconcile`"
)


def trouble(outcome: Submission, server: Server) -> AnswerError | None:
    """Return the error for an outcome, as a failed request would raise it; None if accepted.

    `server` is the one that the attempt went to.
    """
    match outcome:
        case SubmissionAccepted():
            return None
        case SubmissionRejected():
            return _make_rejection(outcome, server)
        case SubmissionUnknown():
            return _unknown(outcome, server)
        case SubmissionAbsent():
            return make_unreachable(server.base_url, "no connection; nothing was sent")
        case _:
            assert_never(outcome)


def make_unreachable(server: str, why: str) -> ServerUnreachable:
    """Return the error for a server that did not answer."""
    return ServerUnreachable(
        f"{server} gave no answer ({why}); is the server running, and is this its base URL? "
        "OPENAI_BASE_URL sets another"
    )


def make_unreadable(
    server: str, came: str, expected: str, detail: ErrorDetail | None = None
) -> ServerUnreadable:
    """Return the error for an unexpected answer."""
    return ServerUnreadable(
        f"{server} answered {came} instead of {expected}; {_base_url_hint(server)}", detail=detail
    )


def make_refusal(
    server: Server, detail: ErrorDetail, retry_after_ms: int | None, request_id: str | None
) -> AnswerError:
    """Return the error for the HTTP status of `detail`."""
    status, remedy = detail.http_status or 0, _remedy(detail)
    by_status = _BY_STATUS.get(status) or _BY_FAMILY.get(status // 100, _OTHERWISE)
    kind, next_step = (ServerRefused, remedy) if remedy else by_status
    advice = next_step.format(key=server.key_variable, when=_format_retry(retry_after_ms))
    return kind(
        f"{server.base_url} {_quote(detail)}; {advice}",
        detail=detail,
        retry_after_ms=retry_after_ms,
        provider_request_id=request_id,
    )


def needs_a_person(detail: ErrorDetail) -> bool:
    """Return whether the error is about the key, account or model, so that waiting is useless."""
    return _remedy(detail) is not None


def _remedy(detail: ErrorDetail) -> str | None:
    code = detail.code or ""
    if detail.message and _VERIFY in (detail.message.text or ""):
        code = "not_verified"
    return _BY_CODE.get(_SAME_AS.get(code, code))


def explain_missing_content(
    server: str, video: "Observation", *, expired: bool, unexplained: bool = False
) -> AnswerError:
    """Return the error that says why the bytes of `video` are not available.

    `expired`: by the server's own clock; `unexplained`: the answer was a 404 without a code, as from a
    replica or gateway that does not have the file yet.
    """
    known = f"{server} has no bytes of {video.video_id}"
    if not video.is_final:
        return ContentNotReady(f"{known} yet: it is {video.status}; wait until it is completed")
    if video.status is Status.FAILED:
        return ContentGone(f"{known}: it failed; render it again")
    if expired:
        until = f"until {video.expires_at} (Unix seconds)" if video.expires_at else "for a while"
        return ContentExpired(f"{known} any more: they were kept {until}; render it again")
    if unexplained:
        return ContentMissing(
            f"{known} yet, although it is completed; `sora-ledger poll` asks again, "
            "`sora-ledger give-up` ends the job"
        )
    return ContentGone(f"{known}, although it is completed; render it again")


def _format_retry(retry_after_ms: int | None) -> str:
    return "later" if retry_after_ms is None else f"in {-(-retry_after_ms // 1000)} s"


def _quote(detail: ErrorDetail) -> str:
    message = detail.message.text if detail.message else None
    if detail.http_status is None:
        return f"gave no answer ({message})" if message else "gave no answer"
    label = " ".join(
        str(part) for part in (detail.http_status, detail.code or detail.type) if part is not None
    )
    return f"answered {label}: {message.rstrip('. ')}" if message else f"answered {label}"


def _make_rejection(outcome: SubmissionRejected, server: Server) -> AnswerError:
    """Return the error for a rejection; a 404 is about the address or the source video."""
    request_id = outcome.provider_request_id
    error = make_refusal(server, outcome.error, outcome.retry_after_ms, request_id)
    if not isinstance(error, VideoNotFound):
        return error
    hint = f"if this changes no video unknown there, {_base_url_hint(server.base_url)}"
    return ServerRefused(
        f"{server.base_url} {_quote(outcome.error)}; {hint}",
        detail=outcome.error,
        provider_request_id=request_id,
    )


def _unknown(outcome: SubmissionUnknown, server: Server) -> AnswerError:
    answer = _quote(outcome.error) if outcome.error else f"gave no answer ({outcome.lost})"
    message = f"{server.base_url} {answer}; {MAY_EXIST if server.can_list else MAY_EXIST_UNLISTED}"
    match outcome.lost:
        case "unreadable":
            return ServerUnreadable(f"{message}; {_base_url_hint(server.base_url)}", detail=outcome.error)
        case "server_error":
            return ServerFailed(message, detail=outcome.error)
        case "timeout" | "connection" | "crash":
            return ServerUnreachable(message, detail=outcome.error)
        case _:
            assert_never(outcome.lost)


def _base_url_hint(server: str) -> str:
    if server.endswith("/v1"):
        return "is the base URL right? OPENAI_BASE_URL sets another"
    return f"is the base URL right? It usually ends in /v1: set OPENAI_BASE_URL to {server}/v1"
