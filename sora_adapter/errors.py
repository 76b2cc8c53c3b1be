"""The adapter's errors, drawn as a tree; the exit code of each branch is the one of ``docs/exit-codes.md``.

AdapterError
├── SettingsUnusable         2  no client can be made of these settings; nothing was sent
│   └── UnknownProfile       2  no server profile has this name
├── ReferenceUnreadable      2  a file to be sent cannot be read; nothing was sent
├── NotAsCommitted           1  what would go out is not what the intent commits to; nothing was sent
├── OperationUnsupported     2  the server of this profile has no such operation; nothing was sent
├── ServerTrouble            8  passing: the same question may be answered later
│   ├── ServerUnreachable    8  no answer: refused, no such host, timeout, connection lost
│   ├── ServerBusy           8  429
│   └── ServerFailed         8  5xx
├── ServerRefused            8  any other 4xx or 3xx; asking again changes nothing
├── ServerUnreadable         8  an answer that is not of this protocol, such as a page of HTML
├── VideoNotFound            1  the server does not know this video
├── ContentUnavailable       1  the video is known, its bytes are not to be had
│   ├── ContentNotReady      1  not completed yet
│   ├── ContentExpired       1  kept only until ``expires_at``
│   ├── ContentMissing       1  completed, and no bytes yet: asked again for a while, and later
│   └── ContentGone          1  completed or failed, and without bytes
├── DeliveryRefused          -  a webhook that is badly signed, stale or unreadable; answered with a 4xx
├── ContentTruncated         1  fewer bytes came than were announced
├── ContentTooLarge          1  more bytes came than are fetched
└── PollTimeout              5  neither completed nor failed when the waiting time was over

A submission raises none of these for what the network or the server does: it returns an outcome event.
Messages hold no API key: whatever a server says passes `sora_adapter.redaction` first.
"""

import re
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ledger.events import ErrorDetail
    from sora_adapter.models import Observation


_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def loggable(error: Exception) -> dict[str, Any]:
    """Return what a log may say of `error`: no erasure reaches a log, so it holds no words of a server.

    An error that quotes a server says so (`quotes_server`): of such a one the class, the code and the HTTP
    status are logged. A code is the server's text as well, so only one that is an identifier counts.
    """
    name = type(error).__name__
    if not (getattr(error, "quotes_server", False) or isinstance(error.__cause__, AnswerError)):
        return {"error": name, "because": str(error)}
    detail: ErrorDetail | None = getattr(error, "detail", None)
    code = detail.code if detail and detail.code and _CODE.fullmatch(detail.code) else None
    return {"error": name, "code": code, "http_status": detail.http_status if detail else None}


class AdapterError(Exception):
    """Whatever the adapter raises on purpose."""


class SettingsUnusable(AdapterError):
    """The base URL, the key or the profile cannot be used; nothing was sent."""


class UnknownProfile(SettingsUnusable):
    """No server profile has this name; the message lists those there are."""


class ReferenceUnreadable(AdapterError):
    """A file that was to be sent along could not be read; nothing was sent."""


class NotAsCommitted(AdapterError):
    """The request is not the one that the intent commits to; nothing was sent."""


class OperationUnsupported(AdapterError):
    """The profile does not offer what was asked for; the message says why and what to do instead."""


class AnswerError(AdapterError):
    """What a server's answer, or its absence, means for the question asked.

    `detail` is the error as the server put it, if it did; `retry_after_ms` is what it asked for.
    """

    quotes_server = True

    def __init__(
        self,
        message: str,
        *,
        detail: "ErrorDetail | None" = None,
        retry_after_ms: int | None = None,
        provider_request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.detail = detail
        self.retry_after_ms = retry_after_ms
        self.provider_request_id = provider_request_id


class ServerTrouble(AnswerError):
    """Passing trouble: asking again later is reasonable."""


class ServerUnreachable(ServerTrouble):
    """No answer came: connection refused, no such host, TLS, timeout, connection lost."""


class ServerBusy(ServerTrouble):
    """The server wants fewer requests (429)."""


class ServerFailed(ServerTrouble):
    """The server failed (5xx)."""


class ServerRefused(AnswerError):
    """The server said no, and will say so again: key, permission, unsupported request, redirect."""


class ServerUnreadable(AnswerError):
    """The answer is not one of this protocol; usually the base URL is wrong."""


class VideoNotFound(AnswerError):
    """The server answered in its own words that it does not know the video."""


class ContentUnavailable(AnswerError):
    """The video is known, but these bytes cannot be had."""


class ContentNotReady(ContentUnavailable):
    """The video is not completed yet."""


class ContentExpired(ContentUnavailable):
    """The server kept the bytes only until ``expires_at``."""


class ContentGone(ContentUnavailable):
    """The video is completed or failed, and the server has no such bytes for it."""


class ContentMissing(ContentUnavailable):
    """The video is completed, and a 404 without a code came for its bytes; that proves nothing yet."""


class ContentTooLarge(AdapterError):
    """More bytes came, or were announced, than are fetched of any video."""


class DeliveryRefused(AdapterError):
    """A webhook delivery that proves nothing; `why` is the word it is counted under."""

    def __init__(self, message: str, why: Literal["unsigned", "stale", "forged", "unreadable"]) -> None:
        super().__init__(message)
        self.why = why


class ContentTruncated(AdapterError):
    """The download ended early; `received` of `announced` bytes came (None where nothing was announced)."""

    def __init__(self, message: str, *, received: int, announced: int | None) -> None:
        super().__init__(message)
        self.received = received
        self.announced = announced


class PollTimeout(AdapterError):
    """The waiting time for `video_id` is over; `last` is what was seen of it last, None where nothing was."""

    def __init__(self, message: str, *, video_id: str, last: "Observation | None") -> None:
        super().__init__(message)
        self.video_id = video_id
        self.last = last
