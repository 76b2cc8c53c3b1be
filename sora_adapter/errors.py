"""The adapter's errors, drawn as a tree; exit codes as in ``docs/exit-codes.md``.

AdapterError
├── SettingsUnusable         2  no client can be made of these settings; nothing was sent
│   └── UnknownProfile       2  no server profile has this name
├── ReferenceUnreadable      2  a file to be sent cannot be read; nothing was sent
├── NotAsCommitted           1  what would go out is not what the intent commits to; nothing was sent
├── OperationUnsupported     2  the server of this profile has no such operation; nothing was sent
├── ServerTrouble            8  temporary: the same request may succeed later
│   ├── ServerUnreachable    8  no answer: refused, no such host, timeout, connection lost
│   ├── ServerBusy           8  429
│   └── ServerFailed         8  5xx
├── ServerRefused            8  any other 4xx or 3xx; retrying changes nothing
├── ServerUnreadable         8  an answer that is not of this protocol, such as a page of HTML
├── VideoNotFound            1  the server does not know this video
├── ContentUnavailable       1  the video is known, but its bytes are not available
│   ├── ContentNotReady      1  not completed yet
│   ├── ContentExpired       1  kept only until ``expires_at``
│   ├── ContentMissing       1  completed, but no bytes yet: retried for a while, and later
│   └── ContentGone          1  completed or failed, and without bytes
├── DeliveryRefused          -  a webhook that is badly signed, stale or unreadable; answered with a 4xx
├── ContentTruncated         1  fewer bytes came than were announced
├── ContentTooLarge          1  more bytes came than are fetched
└── PollTimeout              5  neither completed nor failed in time (`sora_adapter.polling`)

A submission raises none of these for failures of the network or the server: it returns an outcome event.
Messages contain no API key: text from a server passes through `sora_adapter.untrusted` first.
"""

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ledger.errors import Retry, SoraLedgerError

if TYPE_CHECKING:
    from ledger.events import ErrorDetail


_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def loggable(error: Exception) -> dict[str, Any]:
    """Return the loggable part of `error`. Erasure does not reach logs, so they hold no server text.

    For an error that quotes a server (`quotes_server`), the class, the code and the HTTP status are logged. A
    code is server text too, so it is logged only if it is an identifier.
    """
    name = type(error).__name__
    if not (getattr(error, "quotes_server", False) or isinstance(error.__cause__, AnswerError)):
        return {"error": name, "because": str(error)}
    detail: ErrorDetail | None = getattr(error, "detail", None)
    code = detail.code if detail and detail.code and _CODE.fullmatch(detail.code) else None
    return {"error": name, "code": code, "http_status": detail.http_status if detail else None}


class AdapterError(SoraLedgerError):
    """Base class of everything the adapter raises on purpose."""


class SettingsUnusable(AdapterError):
    """The base URL, the key or the profile cannot be used; nothing was sent."""


class UnknownProfile(SettingsUnusable):
    """No server profile has this name; the message lists the known ones."""


class ReferenceUnreadable(AdapterError):
    """A file to be sent cannot be read; nothing was sent."""


class NotAsCommitted(AdapterError):
    """The request does not match the intent's commitment; nothing was sent."""


class OperationUnsupported(AdapterError):
    """The profile does not offer the operation; the message says why and what to do instead."""


class AnswerError(AdapterError):
    """A server's unsuccessful answer, or the lack of an answer.

    `detail` is the error in the server's words, if there are any; `retry_after_ms` is the delay it demands.
    """

    quotes_server = True
    wanted: ClassVar[str] = "an answer of the Videos API"

    def __init__(
        self,
        message: str,
        *,
        detail: "ErrorDetail | None" = None,
        retry_after_ms: int | None = None,
        provider_request_id: str | None = None,
    ) -> None:
        status = detail.http_status if detail else None
        super().__init__(
            message, expected=self.wanted, found=f"HTTP {status}" if status else "no usable answer"
        )
        self.detail = detail
        self.retry_after_ms = retry_after_ms
        self.provider_request_id = provider_request_id


class ServerTrouble(AnswerError):
    """A temporary failure: a later retry is reasonable."""

    retry: ClassVar[Retry] = "same_key"


class ServerUnreachable(ServerTrouble):
    """No answer came: connection refused, no such host, TLS, timeout, connection lost."""


class ServerBusy(ServerTrouble):
    """The server wants fewer requests (429)."""


class ServerFailed(ServerTrouble):
    """The server failed (5xx)."""


class ServerRefused(AnswerError):
    """A lasting refusal: key, permission, unsupported request, redirect."""


class ServerUnreadable(AnswerError):
    """The answer is not part of this protocol; usually the base URL is wrong."""


class VideoNotFound(AnswerError):
    """The server does not know the video, and said so in an error of its API."""

    wanted: ClassVar[str] = "a video that the server knows"


class ContentUnavailable(AnswerError):
    """The video is known, but these bytes are not available."""

    wanted: ClassVar[str] = "a file that the server still has"


class ContentNotReady(ContentUnavailable):
    """The video is not completed yet."""


class ContentExpired(ContentUnavailable):
    """The server kept the bytes only until ``expires_at``."""


class ContentGone(ContentUnavailable):
    """The video is completed or failed, and the server does not have these bytes."""


class ContentMissing(ContentUnavailable):
    """The video is completed, but its bytes got a 404 without a code; that proves nothing yet."""


class ContentTooLarge(AdapterError):
    """More bytes came, or were announced, than the limit for any video."""


class DeliveryRefused(AdapterError):
    """An untrusted webhook delivery; `why` is the label of its metric."""

    def __init__(self, message: str, why: Literal["unsigned", "stale", "forged", "unreadable"]) -> None:
        super().__init__(message, expected="a delivery signed with the secret", found=why)
        self.why = why


class ContentTruncated(AdapterError):
    """The download ended early: `received` of `announced` bytes (None if the server announced no size)."""

    def __init__(self, message: str, *, received: int, announced: int | None) -> None:
        super().__init__(message, expected=f"{announced} bytes", found=f"{received} bytes")
        self.received = received
        self.announced = announced
