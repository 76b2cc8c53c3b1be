"""What a server answered, parsed once at the door; here alone its shapes and whims are known.

The SDK does not validate: a page of HTML comes back as a `str`, a missing field as a missing attribute.
So the SDK only carries (`sora_adapter.transport`), and the body is read here: strict about what everything
hangs on (``id`` and ``status`` of a video), lenient about the rest, which servers leave out, send as
null or spell differently (docs/servers.md has the table).
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

from sora_adapter.locations import LONGEST
from sora_adapter.redaction import excerpt, storable

SUCCESS, REDIRECT, REFUSAL, FAILURE = 2, 3, 4, 5  # an HTTP status // 100
MAX_WAIT_MS = 24 * 60 * 60 * 1000
LARGEST_RECORDED = 2**53 - 1
LATEST_S = 10**11
"""The latest Unix time in seconds that is believed, of the year 5138; in milliseconds it is one of 1973."""
NOT_A_VIDEO_PATH = ("Not Found", "Method Not Allowed")


@dataclass(frozen=True)
class NoAnswer:
    """There is no answer, or none that could be read; `why` is one line for a person.

    ``never_connected`` is proof that no byte of the request left; after the others it may have arrived.
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
        """The content type without its parameters, ``nothing`` where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() or "nothing"

    @cached_property
    def document(self) -> dict[str, Any] | None:
        """The body as a JSON object; None when it is anything else."""
        try:
            parsed = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None

    @property
    def url(self) -> str | None:
        """The address that a document names instead of holding bytes."""
        return _address((self.document or {}).get("url"))

    @property
    def location(self) -> str:
        """Where a redirect points, without query and user: those may hold secrets."""
        try:
            target = urlsplit(self.headers.get("location", ""))
        except ValueError:
            return "an address that is none"
        host = target.netloc.rpartition("@")[2]
        return f"{target.scheme}://{host}{target.path}" if host else target.path

    @property
    def poll_after_ms(self) -> int | None:
        """When the server wants to be asked again (``openai-poll-after-ms``, read by the SDK as well)."""
        return _wait_ms(self.headers.get("openai-poll-after-ms"), 1)

    @property
    def retry_after_ms(self) -> int | None:
        """What ``retry-after-ms`` or ``Retry-After`` ask for.

        A date (RFC 9110 section 10.2.3) is measured against the answer's own ``Date``: no clock is read.
        """
        text = self.headers.get("retry-after")
        readings = (_wait_ms(self.headers.get("retry-after-ms"), 1), _wait_ms(text, 1000), self._until(text))
        return next((wait for wait in readings if wait is not None), None)

    @property
    def sent_at(self) -> datetime | None:
        """What time it was at the server (``Date``)."""
        return _http_date(self.headers.get("date"))

    def is_after(self, unix_seconds: int | None) -> bool:
        """Whether the server's own clock (``Date``) was past `unix_seconds` when it answered."""
        sent_at = _http_date(self.headers.get("date"))
        return sent_at is not None and unix_seconds is not None and sent_at.timestamp() >= unix_seconds

    def _until(self, text: str | None) -> int | None:
        then, sent_at = _http_date(text), _http_date(self.headers.get("date"))
        if then is None or sent_at is None:
            return None
        return _wait_ms(str((then - sent_at).total_seconds()), 1000)

    @property
    def error(self) -> "ServerError":
        """The error in whichever envelope it came: OpenAI's, FastAPI's ``detail``, plain text, a page."""
        if self.document is None:
            return ServerError(
                message=f"{self.media_type}: {excerpt(self.text)}" if self.text.strip() else None
            )
        inner = self.document.get("error") or self.document.get("detail") or self.document
        return read_error(inner)

    @property
    def denies_the_path(self) -> bool:
        """Whether a 404 is about the address and not about a video.

        Go and nginx answer text, Starlette and FastAPI a bare ``{"detail": "Not Found"}``, OpenAI the code
        ``unknown_url`` or the sentence "Invalid URL (…)"; a server that looked for a video says so in JSON.
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
    """Take a short text: numbers become text, everything else that is no text becomes None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return storable(text, limit) or None


def _free_text(value: Any) -> str | None:
    return storable(value) if isinstance(value, str) and value else None


def _prompt(value: Any) -> str | None:
    return storable(value, 32_000) if isinstance(value, str) and value else None


def _address(value: Any) -> str | None:
    """Take an address a server names; whether it is followed is for `sora_adapter.locations`."""
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST else None


def _whole(value: Any) -> int | None:
    """Take a number as an integer a record can hold; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value) if 0 <= value <= LARGEST_RECORDED else None


def _moment(value: Any) -> int | None:
    """Take a Unix time in seconds; new-api gives milliseconds. None for what can be neither."""
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
Moment = Annotated[int | None, BeforeValidator(_moment)]
Address = Annotated[str | None, BeforeValidator(_address)]
Percent = Annotated[int | None, BeforeValidator(_percent)]
# Visible ASCII, and not dots alone: it becomes a segment of a path, and LiteLLM's are long.
VideoId = Annotated[str, StringConstraints(pattern=r"^[!-~]*[!-\-/-~][!-~]*$", max_length=2048)]


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ServerError(_Lenient):
    """An error in the server's words; the message is free text and not redacted yet."""

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
    """A video object: ``id`` and ``status`` are required, ``object`` may be missing but not be another."""

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
    """One page of videos; without `has_more` it does not say whether it is the last."""

    data: tuple[VideoDocument, ...]
    has_more: bool | None = None
    last_id: Line = None


class Deletion(_Lenient):
    """The confirmation of a deletion."""

    deleted: Literal[True]
