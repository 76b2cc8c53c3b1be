"""Translate a server's answer into an observation, an outcome event, or an error. Pure.

The other direction is `sora_adapter.requests`; errors are worded in `sora_adapter.messages`. The SDK's
exceptions do not reach this module: `sora_adapter.transport` turns those that hold an answer into an
`Answer`, and the others into what is known of the loss (`NoAnswer`). The quirks in a server's profile are
undone first; ``profiles.toml`` lists them by server, with the source.

The outcome recorded for each answer to a submission, and what that answer proves:

=================================  ==========  ==========================================================
answer                             outcome     because
=================================  ==========  ==========================================================
2xx with a video                   accepted
2xx without one (HTML, no id)      unknown     something accepted it
301, 307, 308                      rejected    "send it elsewhere, unchanged": it was not processed here
302, 303, other 3xx                unknown     what a server may answer after having created (RFC 9110)
408, 499                           unknown     gateways answer this when their upstream was too slow
409                                unknown     the conflict may be with what this request began
other 4xx, also without envelope    rejected    the server judged the request and declined; unknown where
                                                the profile says that its refusals prove nothing
5xx                                unknown     it failed at some point after reading the request
no connection                      absent      no byte left this machine
timeout, connection lost           unknown     the request may have arrived
=================================  ==========  ==========================================================

A rejection is not yet permission for another attempt: that needs `Profile.is_free`.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from ledger.events import (
    ErrorDetail,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionRejected,
    SubmissionUnknown,
    VideoDeleted,
)
from ledger.private import Private
from sora_adapter.errors import AnswerError, ServerUnreadable, VideoNotFound
from sora_adapter.messages import Server, Submission, make_refusal, make_unreachable, make_unreadable
from sora_adapter.models import Character, Observation, Page
from sora_adapter.profiles import Profile, Quirk
from sora_adapter.responses import (
    FAILURE,
    LARGEST_RECORDED,
    REDIRECT,
    REFUSAL,
    Answer,
    CharacterDocument,
    Deletion,
    NoAnswer,
    ServerError,
    VideoDocument,
    VideoList,
)
from sora_adapter.untrusted import Redact

_PREFIX = "llm_provider-"
_COST = "x-litellm-response-cost"
_MICROS = 1_000_000

Quirks = Collection[Quirk]


def undo_quirks(answer: Answer, quirks: Quirks) -> Answer:
    """Undo the quirks of every answer: headers and the error envelope."""
    if Quirk.PREFIXED_HEADERS in quirks:
        answer = replace(answer, headers=_strip_prefix(answer.headers))
    if Quirk.ERROR_IN_MESSAGE in quirks and not answer.is_success:
        answer = _with_document(answer, _original_error(answer))
    return answer


def undo_video_quirks(answer: Answer, quirks: Quirks) -> Answer:
    """Undo the quirks of an answer about one video."""
    answer = undo_quirks(answer, quirks)
    if Quirk.FAILED_JOB_IS_AN_HTTP_ERROR in quirks and _is_failed_job(answer.document):
        return replace(answer, http_status=200)
    return answer


def undo_deletion_quirks(answer: Answer, quirks: Quirks) -> Answer:
    """Undo the quirks of a confirmed deletion."""
    answer = undo_quirks(answer, quirks)
    shown = (answer.document or {}).get("status") == "deleted"
    if Quirk.DELETION_SHOWS_THE_VIDEO in quirks and answer.is_success and shown:
        return _with_document(answer, {"deleted": True})
    return answer


def read_cost_usd_micros(answer: Answer, quirks: Quirks) -> int | None:
    """Return the cost that the server reports for the call; None without a valid price.

    LiteLLM sends 0 with every error, even if the video was created before.
    """
    if Quirk.COST_HEADER not in quirks or not answer.is_success:
        return None
    try:
        micros = Decimal(answer.headers.get(_COST, "")) * _MICROS
    except InvalidOperation:
        return None
    return round(micros) if micros.is_finite() and 0 <= micros <= LARGEST_RECORDED else None


def _with_document(answer: Answer, document: Mapping[str, Any] | None) -> Answer:
    return answer if document is None else replace(answer, text=json.dumps(document))


def _strip_prefix(headers: Mapping[str, str]) -> dict[str, str]:
    """Add the headers of the server behind the gateway; the gateway's own take precedence."""
    forwarded = {name.removeprefix(_PREFIX): value for name, value in headers.items() if _PREFIX in name}
    return forwarded | dict(headers)


def _original_error(answer: Answer) -> dict[str, Any] | None:
    """Find the first JSON object with an error inside the message of an envelope."""
    message = answer.error.message or ""
    for start in (index for index, letter in enumerate(message) if letter == "{"):
        try:
            error, _ = json.JSONDecoder().raw_decode(message, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(error.get("error"), dict):
            return {"error": error["error"]}
    return None


def _is_failed_job(document: dict[str, Any] | None) -> bool:
    return document is not None and document.get("object") == "video" and document.get("status") == "failed"


Undo = Callable[[Answer, Quirks], Answer]
LostHow = Literal["timeout", "server_error", "unreadable"]
D = TypeVar("D", bound=BaseModel)

_NOT_PROCESSED = frozenset({301, 307, 308})
_NO_PROOF: dict[int, LostHow] = {408: "timeout", 409: "server_error", 499: "timeout"}


@dataclass(frozen=True)
class Translator:
    """Reads the answers of one server; `server` is its base URL, `redact` removes keys from its texts."""

    profile: Profile
    server: str
    redact: Redact

    def submission(self, attempt_id: str, received: Answer | NoAnswer) -> Submission:
        """Return the outcome of an attempt, by the table in the module's docstring."""
        if isinstance(received, NoAnswer):
            return self._judge_no_answer(attempt_id, received)
        answer = undo_quirks(received, self.profile.quirks)
        if answer.is_success:
            return self._make_creation(attempt_id, answer)
        if _proves_a_refusal(answer.http_status, self.profile):
            return SubmissionRejected(
                attempt_id=attempt_id,
                error=self._error_of(answer),
                retry_after_ms=answer.retry_after_ms,
                provider_request_id=answer.request_id,
            )
        return self._unknown(attempt_id, answer, _classify_loss(answer.http_status))

    def cost(self, received: Answer | NoAnswer) -> int | None:
        """Return the cost that the server reports for a call, in micro-dollars; None if it reports none."""
        if isinstance(received, NoAnswer):
            return None
        return read_cost_usd_micros(received, self.profile.quirks)

    def observation(self, received: Answer | NoAnswer, requested_id: str | None = None) -> Observation:
        """Read a video, requested by `requested_id` if given; any other answer raises its `AnswerError`."""
        answer = self._require_success(received, undo_video_quirks)
        observation = self._make_observation(self._parse(answer, VideoDocument, "a video"), answer)
        if requested_id is not None and Quirk.IDS_REWRITTEN in self.profile.quirks:
            return replace(observation, video_id=requested_id)
        return observation

    def character(self, received: Answer | NoAnswer) -> Character:
        """Read a character; raises the `AnswerError` of any other answer."""
        read = self._parse(self._require_success(received), CharacterDocument, "a character")
        return Character(read.id, read.name, read.created_at)

    def document(self, received: Answer | NoAnswer, model: type[D], expected: str) -> D:
        """Read another kind of document; raises the `AnswerError` of any other answer."""
        return self._parse(self._require_success(received), model, expected)

    def page(self, received: Answer | NoAnswer) -> Page:
        """Read a list of videos; raises the `AnswerError` of any other answer."""
        answer = self._require_success(received)
        listed = self._parse(answer, VideoList, "a list of videos")
        observations = tuple(self._make_observation(video, answer) for video in listed.data)
        last_id = listed.last_id or (observations[-1].video_id if observations else None)
        return Page(observations, listed.has_more, last_id)

    def deletion(self, video_id: str, received: Answer | NoAnswer) -> VideoDeleted:
        """Read the answer to a deletion; ``not_found`` (a 404 about the video) proves nothing by itself."""
        try:
            answer = self._require_success(received, undo_deletion_quirks)
        except VideoNotFound as gone:
            return VideoDeleted(
                video_id=video_id, answer="not_found", provider_request_id=gone.provider_request_id
            )
        self._parse(answer, Deletion, "the confirmation of a deletion")
        return VideoDeleted(video_id=video_id, answer="deleted", provider_request_id=answer.request_id)

    def refusal(self, received: Answer | NoAnswer) -> AnswerError:
        """Return the error for a missing or unsuccessful answer."""
        if isinstance(received, NoAnswer) and received.how != "unreadable":
            return make_unreachable(self.server, self.redact(received.why))
        if isinstance(received, NoAnswer):
            return make_unreadable(
                self.server, f"something undecodable ({self.redact(received.why)})", "JSON"
            )
        received = undo_quirks(received, self.profile.quirks)
        if received.http_status in {404, 405} and received.denies_the_path:
            return self._unreadable(received, "an answer of the Videos API")
        detail = self._error_of(received)
        server = Server(self.server, self.profile.key_variable, self.profile.can_list)
        return make_refusal(server, detail, received.retry_after_ms, received.request_id)

    def content_unreadable(self, received: Answer | NoAnswer) -> AnswerError:
        """Return the error for text that came instead of a video's bytes."""
        if isinstance(received, NoAnswer):
            return self.refusal(received)
        return self._unreadable(received, "the bytes of a video")

    def _unreadable(self, answer: Answer, expected: str) -> ServerUnreadable:
        came = f"{answer.http_status} {answer.media_type}"
        return make_unreadable(self.server, came, expected, self._error_of(answer))

    def _error_of(self, answer: Answer) -> ErrorDetail:
        if answer.http_status // 100 == REDIRECT:
            return self._seal(ServerError(message=f"redirected to {answer.location}"), answer.http_status)
        return self._seal(answer.error, answer.http_status)

    def _require_success(self, received: Answer | NoAnswer, undo: Undo = undo_quirks) -> Answer:
        if isinstance(received, NoAnswer):
            raise self.refusal(received)
        answer = undo(received, self.profile.quirks)
        if not answer.is_success:
            raise self.refusal(answer)
        return answer

    def _parse(self, answer: Answer, document: type[D], expected: str) -> D:
        try:
            return document.model_validate(answer.document)
        except ValidationError:
            raise self._unreadable(answer, expected) from None

    def _seal(self, error: ServerError, http_status: int | None) -> ErrorDetail:
        message = Private.seal("error.message", self.redact(error.message)) if error.message else None
        code, type_, param = (
            self.redact(word) if word else None for word in (error.code, error.type, error.param)
        )
        return ErrorDetail(http_status=http_status, code=code, type=type_, param=param, message=message)

    def _make_observation(self, video: VideoDocument, answer: Answer) -> Observation:
        status = self.profile.status_of(video.status)
        hidden = {"object", "id", "status", "error"}
        if Quirk.FOREIGN_SOURCE_IDS in self.profile.quirks:
            hidden.add("remixed_from_video_id")
        return Observation(
            video_id=video.id,
            status=status,
            server_status=None if video.status == status else self.redact(video.status),
            error=self._seal(video.error, None) if video.error else None,
            poll_after_ms=answer.poll_after_ms,
            retry_after_ms=answer.retry_after_ms,
            provider_request_id=answer.request_id,
            reported_cost_usd_micros=read_cost_usd_micros(answer, self.profile.quirks),
            **video.model_dump(exclude=hidden),
        )

    def _make_creation(self, attempt_id: str, answer: Answer) -> SubmissionAccepted | SubmissionUnknown:
        try:
            video = self.observation(answer)
        except ServerUnreadable:
            return self._unknown(attempt_id, answer, "unreadable")
        return SubmissionAccepted(
            attempt_id=attempt_id,
            video_id=video.video_id,
            status=video.status,
            progress=video.progress,
            reported_model=video.model,
            reported_size=video.size,
            reported_seconds=video.seconds,
            provider_request_id=video.provider_request_id,
        )

    def _judge_no_answer(self, attempt_id: str, lost: NoAnswer) -> SubmissionAbsent | SubmissionUnknown:
        if lost.how == "never_connected":
            return SubmissionAbsent(attempt_id=attempt_id, how=lost.how)
        error = self._seal(ServerError(message=lost.why), None)
        return SubmissionUnknown(attempt_id=attempt_id, lost=lost.how, error=error)

    def _unknown(self, attempt_id: str, answer: Answer, lost: LostHow) -> SubmissionUnknown:
        return SubmissionUnknown(
            attempt_id=attempt_id,
            lost=lost,
            error=self._error_of(answer),
            provider_request_id=answer.request_id,
        )


def _proves_a_refusal(http_status: int, profile: Profile) -> bool:
    if http_status // 100 == REFUSAL:
        return profile.refusal_is_proof and http_status not in _NO_PROOF
    return http_status in _NOT_PROCESSED


def _classify_loss(http_status: int) -> LostHow:
    usual: LostHow = "server_error" if http_status // 100 in {REFUSAL, FAILURE} else "unreadable"
    return _NO_PROOF.get(http_status, usual)
