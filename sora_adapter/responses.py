"""Parse a server's answers in one place; no other module knows their shapes.

The SDK does not validate: a page of HTML comes back as a `str`, a missing field as a missing attribute. So
the SDK is only the transport (`sora_adapter.transport`), and the body is read here: strictly for ``id`` and
``status`` of a video, leniently for the rest, which servers omit, send as null or spell differently
(docs/servers.md has the table).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

from sora_adapter.untrusted import LONGEST, excerpt, storable

SUCCESS, REDIRECT, REFUSAL, FAILURE = 2, 3, 4, 5  # an HTTP status // 100
MAX_WAIT_MS = 24 * 60 * 60 * 1000
LARGEST_RECORDED = 2**53 - 1
LATEST_S = 10**11
"""The latest plausible Unix time in seconds (year 5138); a larger number is taken as milliseconds."""
NOT_A_VIDEO_PATH = ("Not Found", "Method Not Allowed")


@dataclass(frozen=True)
class NoAnswer:
    """No answer came, or none that could be read; `why` is one line for people.

    ``never_connected`` proves that no byte of the request left; after the others it may have arrived.
    """

    how: Literal["never_connected", "timeout", "connection", "unreadable"]
    why: str


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: header names in lower case, the body as text."""

    http_status: int
    headers: Mapping[str, str]
    text: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.http_status // 100 == SUCCESS

    @property
    def request_id(self) -> str | None:
        """The provider's own id of the exchange."""
        return _line(self.headers.get("x-request-id"))

    @property
    def media_type(self) -> str:
        """The content type without its parameters, or ``nothing``."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() or "nothing"

    @cached_property
    def document(self) -> dict[str, Any] | None:
        """The body as a JSON object; None if it is anything else."""
        try:
            parsed = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None

    @property
    def url(self) -> str | None:
        """The URL in a document that replaces the bytes."""
        return _address((self.document or {}).get("url"))

    @property
    def location(self) -> str:
        """The target of a redirect, without query and user, which may contain secrets."""
        try:
            target = urlsplit(self.headers.get("location", ""))
        except ValueError:
            return "a malformed address"
        host = target.netloc.rpartition("@")[2]
        return f"{target.scheme}://{host}{target.path}" if host else target.path

    @property
    def poll_after_ms(self) -> int | None:
        """When to poll again, by the server's hint (``openai-poll-after-ms``, read by the SDK as well)."""
        return _wait_ms(self.headers.get("openai-poll-after-ms"), 1)

    @property
    def retry_after_ms(self) -> int | None:
        """The delay that ``retry-after-ms`` or ``Retry-After`` demands.

        A date (RFC 9110 section 10.2.3) is compared with the answer's own ``Date``, not with our clock.
        """
        text = self.headers.get("retry-after")
        readings = (_wait_ms(self.headers.get("retry-after-ms"), 1), _wait_ms(text, 1000), self._until(text))
        return next((wait for wait in readings if wait is not None), None)

    @property
    def sent_at(self) -> datetime | None:
        """The time by the server's clock (``Date``)."""
        return _http_date(self.headers.get("date"))

    def is_after(self, unix_seconds: int | None) -> bool:
        """Whether the server's own clock (``Date``) was past `unix_seconds` when it answered."""
        sent_at = _http_date(self.headers.get("date"))
        return sent_at is not None and unix_seconds is not None and sent_at.timestamp() >= unix_seconds

    def _until(self, text: str | None) -> int | None:
        if text is None:  # the usual case: dates take long to parse, and a list checks each video
            return None
        then, sent_at = _http_date(text), _http_date(self.headers.get("date"))
        if then is None or sent_at is None:
            return None
        return _wait_ms(str((then - sent_at).total_seconds()), 1000)

    @property
    def error(self) -> "ServerError":
        """The error, from any envelope: OpenAI's, FastAPI's ``detail``, plain text, a page."""
        if self.document is None:
            return ServerError(
                message=f"{self.media_type}: {excerpt(self.text)}" if self.text.strip() else None
            )
        inner = self.document.get("error") or self.document.get("detail") or self.document
        return read_error(inner)

    @property
    def denies_the_path(self) -> bool:
        """Whether a 404 is about the path and not about a video.

        Go and nginx answer text, Starlette and FastAPI a bare ``{"detail": "Not Found"}``, OpenAI the code
        ``unknown_url`` or the sentence "Invalid URL (…)". A server that looked up a video says so in JSON.
        """
        if self.document is None or self.document.get("detail") in NOT_A_VIDEO_PATH:
            return True
        return self.error.code == "unknown_url" or (self.error.message or "").startswith("Invalid URL")


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _wait_ms(text: str | None, factor: int) -> int | None:
    try:
        wait = float(text or "nan") * factor
    except ValueError:
        return None
    return min(round(wait), MAX_WAIT_MS) if math.isfinite(wait) and wait >= 0 else None


def _line(value: Any, limit: int = 256) -> str | None:
    """Accept a short text or a number as text; anything else becomes None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return storable(text, limit) or None


def _free_text(value: Any) -> str | None:
    return storable(value) if isinstance(value, str) and value else None


def _prompt(value: Any) -> str | None:
    return storable(value, 32_000) if isinstance(value, str) and value else None


def _address(value: Any) -> str | None:
    """Accept a URL; `sora_adapter.untrusted` decides whether to follow it."""
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST else None


def _whole(value: Any) -> int | None:
    """Accept a number as an integer that fits in a record; anything else becomes None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value) if 0 <= value <= LARGEST_RECORDED else None


def _time(value: Any) -> int | None:
    """Accept a Unix time in seconds, or in milliseconds as new-api sends it; otherwise None."""
    whole = _whole(value)
    if whole is not None and whole > LATEST_S:
        whole //= 1000
    return None if whole is None or whole > LATEST_S else whole


def _percent(value: Any) -> int | None:
    whole = _whole(value)
    return None if whole is None else min(whole, 100)


Line = Annotated[str | None, BeforeValidator(_line)]
FreeText = Annotated[str | None, BeforeValidator(_free_text)]
Prompt = Annotated[str | None, BeforeValidator(_prompt)]
Moment = Annotated[int | None, BeforeValidator(_time)]
Address = Annotated[str | None, BeforeValidator(_address)]
Percent = Annotated[int | None, BeforeValidator(_percent)]
# Visible ASCII, and not only dots: the id becomes a path segment. LiteLLM's ids are long.
VideoId = Annotated[str, StringConstraints(pattern=r"^[!-~]*[!-\-/-~][!-~]*$", max_length=2048)]


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ServerError(_Lenient):
    """An error in the server's words; the message is free text, not redacted yet."""

    code: Line = None
    type: Line = None
    param: Line = None
    message: FreeText = None


def read_error(value: Any) -> ServerError:
    """Read an error object, a bare sentence, or (FastAPI's 422) a list of complaints."""
    if isinstance(value, str):
        return ServerError(message=value)
    if isinstance(value, dict):
        return ServerError.model_validate(value)
    return ServerError(message=excerpt(json.dumps(value)))


JobError = Annotated[ServerError | None, BeforeValidator(lambda value: read_error(value) if value else None)]


class VideoDocument(_Lenient):
    """A video object: ``id`` and ``status`` are required, ``object`` may be missing but not differ."""

    object: Literal["video"] = "video"
    id: VideoId
    status: Annotated[str, StringConstraints(min_length=1, max_length=64), BeforeValidator(_line)]
    progress: Percent = None
    error: JobError = None
    created_at: Moment = None
    completed_at: Moment = None
    expires_at: Moment = None
    model: Line = None
    size: Line = None
    seconds: Line = None
    prompt: Prompt = None
    remixed_from_video_id: Line = None
    url: Address = None


class CharacterDocument(_Lenient):
    """A character."""

    id: VideoId
    name: FreeText = None
    created_at: Moment = None


class VideoList(_Lenient):
    """One page of videos; without `has_more` it is unknown whether it is the last."""

    data: tuple[VideoDocument, ...]
    has_more: bool | None = None
    last_id: Line = None


class Deletion(_Lenient):
    """The confirmation of a deletion."""

    deleted: Literal[True]
