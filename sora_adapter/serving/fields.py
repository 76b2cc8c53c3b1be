"""Checks of single fields, with the API's messages; all raise ApiError or return the value."""

import re
from collections.abc import Iterable, Mapping

from sora_adapter.serving.bodies import Fields, type_name
from sora_adapter.serving.errors import ApiError

MAX_LIMIT = 100
DEFAULT_LIMIT = 20
_LIMIT = re.compile(r"[0-9]{1,9}")


def refuse_unknown(fields: Fields, known: Iterable[str], prefix: str = "") -> None:
    """Refuse a field that is not in the official description."""
    unknown = sorted(fields.keys() - set(known))
    if unknown:
        raise ApiError.unknown_parameter(prefix + unknown[0])


def require(fields: Fields, param: str) -> None:
    """Refuse a request without a required field."""
    if param not in fields:
        raise ApiError.missing_parameter(param)


def read_text(fields: Fields, param: str, prefix: str = "") -> str:
    """Return a required string of any length."""
    require(fields, param)
    value = fields[param]
    if not isinstance(value, str):
        raise ApiError.wrong_type(prefix + param, "a string", type_name(value))
    return value


def read_text_up_to(fields: Fields, param: str, most: int) -> str:
    """Return a required string of 1 to `most` characters."""
    value = read_text(fields, param)
    if not value:
        message = (
            f"Invalid '{param}': expected a string with minimum length 1, but got an empty string instead."
        )
        raise ApiError.invalid(
            message, code="empty_string", param=param, expected="at least one character", found="none"
        )
    if len(value) > most:
        message = (
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, "
            f"but got a string with length {len(value)} instead."
        )
        raise ApiError.invalid(
            message,
            code="string_above_max_length",
            param=param,
            expected=f"at most {most} characters",
            found=len(value),
        )
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        message = f"Invalid '{param}': it holds half of a surrogate pair, which is no character."
        raise ApiError.invalid(
            message,
            code="invalid_unicode",
            param=param,
            expected="valid Unicode",
            found="half of a surrogate pair",
        )
    return value


def read_choice(fields: Fields, param: str, offered: Iterable[str], default: str | None = None) -> str:
    """Return a string from a closed list; it is required unless there is a default."""
    value = default if default is not None and param not in fields else read_text(fields, param)
    if value not in offered:
        raise ApiError.not_offered(param, value, offered)
    return value


def read_limit(query: Mapping[str, str], least: int = 0) -> int:
    """Return the requested number of items in a list."""
    written = query.get("limit", str(DEFAULT_LIMIT))
    if not (_LIMIT.fullmatch(written) and least <= int(written) <= MAX_LIMIT):
        message = (
            f"Invalid 'limit': expected an integer from {least} to {MAX_LIMIT}, but got '{written}' instead."
        )
        raise ApiError.invalid(
            message,
            code="invalid_value",
            param="limit",
            expected=f"an integer from {least} to {MAX_LIMIT}",
            found=written,
        )
    return int(written)
