"""Requests parsed once: behind this door they are frozen types, and everything in them is on offer.

The lists are those of the API's last state (guide and price list), which the official description lags
behind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sora_adapter.sandbox.bodies import Fields, type_name
from sora_adapter.sandbox.errors import ApiError
from sora_adapter.sandbox.references import read_reference

_SMALL = ("720x1280", "1280x720")
_LARGE = (*_SMALL, "1024x1792", "1792x1024", "1080x1920", "1920x1080")
SIZES = {
    "sora-2": _SMALL,
    "sora-2-pro": _LARGE,
    "sora-2-2025-10-06": _SMALL,
    "sora-2-pro-2025-10-06": _LARGE,
    "sora-2-2025-12-08": _SMALL,
}
SECONDS = ("4", "8", "12", "16", "20")
VARIANTS = ("video", "thumbnail", "spritesheet")
MAX_PROMPT = 32_000
MAX_LIMIT = 100
DEFAULT_LIMIT = 20

Order = Literal["asc", "desc"]
Variant = Literal["video", "thumbnail", "spritesheet"]


@dataclass(frozen=True)
class CreateRequest:
    """A clip asked for from nothing, or from an image that is decodable and exactly of `size`."""

    prompt: str
    model: str
    size: str
    seconds: str
    reference: bytes | None


@dataclass(frozen=True)
class RemixRequest:
    """A change asked for; all else is the source's."""

    prompt: str


@dataclass(frozen=True)
class ListRequest:
    """A page asked for; `after` is the last id of the page before."""

    limit: int
    order: Order
    after: str | None


def parse_create(fields: Fields) -> CreateRequest:
    """Check a create request; raises ApiError."""
    _refuse_unknown(fields, ("prompt", "model", "size", "seconds", "input_reference"))
    prompt = _prompt(fields)
    model = _one_of(fields, "model", SIZES, "sora-2")
    seconds = _one_of(fields, "seconds", SECONDS, "4")
    size = _one_of(fields, "size", SIZES[model], "720x1280")
    reference = read_reference(fields["input_reference"], size) if "input_reference" in fields else None
    return CreateRequest(prompt, model, size, seconds, reference)


def parse_remix(fields: Fields) -> RemixRequest:
    """Check a remix request; raises ApiError."""
    _refuse_unknown(fields, ("prompt",))
    return RemixRequest(_prompt(fields))


def parse_list(query: Mapping[str, str]) -> ListRequest:
    """Check the query of a list; raises ApiError."""
    order = _one_of(dict(query), "order", ("asc", "desc"), "desc")
    return ListRequest(_limit(query), "asc" if order == "asc" else "desc", query.get("after"))


def parse_variant(query: Mapping[str, str]) -> Variant:
    """Check which asset of a video is wanted; raises ApiError."""
    chosen = _one_of(dict(query), "variant", VARIANTS, "video")
    return next(variant for variant in _VARIANTS if variant == chosen)


_VARIANTS: tuple[Variant, ...] = ("video", "thumbnail", "spritesheet")


def _refuse_unknown(fields: Fields, known: Iterable[str]) -> None:
    unknown = sorted(fields.keys() - set(known))
    if unknown:
        raise ApiError.unknown_parameter(unknown[0])


def _text(fields: Fields, param: str) -> str:
    value = fields[param]
    if not isinstance(value, str):
        raise ApiError.wrong_type(param, "a string", type_name(value))
    return value


def _one_of(fields: Fields, param: str, offered: Iterable[str], default: str) -> str:
    value = _text(fields, param) if param in fields else default
    if value not in offered:
        raise ApiError.not_offered(param, value, offered)
    return value


def _prompt(fields: Fields) -> str:
    if "prompt" not in fields:
        raise ApiError.missing_parameter("prompt")
    prompt = _text(fields, "prompt")
    if not prompt:
        message = (
            "Invalid 'prompt': expected a string with minimum length 1, but got an empty string instead."
        )
        raise ApiError.invalid(message, code="empty_string", param="prompt")
    if len(prompt) > MAX_PROMPT:
        message = (
            f"Invalid 'prompt': string too long. Expected a string with maximum length {MAX_PROMPT}, "
            f"but got a string with length {len(prompt)} instead."
        )
        raise ApiError.invalid(message, code="string_above_max_length", param="prompt")
    if not prompt.isascii() and any("\ud800" <= letter <= "\udfff" for letter in prompt):
        message = "Invalid 'prompt': it holds half of a surrogate pair, which is no character."
        raise ApiError.invalid(message, code="invalid_unicode", param="prompt")
    return prompt


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and int(text[:9]) <= MAX_LIMIT):
        message = f"Invalid 'limit': expected an integer from 0 to {MAX_LIMIT}, but got '{text}' instead."
        raise ApiError.invalid(message, code="invalid_value", param="limit")
    return int(text)
