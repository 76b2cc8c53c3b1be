"""Single values of a request, from people and files: words, names, numbers, yes or no.

Each function returns the value or raises `BadRequest` with what was expected, what was found and the next
step.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from decision.errors import BadRequest
from ledger.terms import Operation

NOUNS: Mapping[Operation, str] = {
    Operation.CREATE: "a create",
    Operation.REMIX: "a remix",
    Operation.EDIT: "an edit",
    Operation.EXTEND: "an extension",
}
"""The name of an operation in a sentence."""

_NAME = re.compile(r"[a-z0-9_-]{1,64}\Z")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,400}\Z")
LARGEST_NUMBER = 2**53 - 1
"""The largest integer that a record, and JSON anywhere, holds exactly."""
_SHOWN_CHARACTERS = 60
_LABEL_CHARACTERS = 200


def parse_text(thing: str, value: object) -> str:
    """Return `value` if it is text that can be written as UTF-8, without the character NUL.

    Databases and servers drop or replace NUL, so the result would differ from the request.
    """
    if not isinstance(value, str):
        raise BadRequest(
            f"{thing} must be text, found {type(value).__name__}",
            param=thing,
            expected="text",
            found=type(value).__name__,
        )
    if (at := value.find("\0")) >= 0:
        raise BadRequest(
            f"{thing} holds the character NUL (U+0000) at position {at + 1}, which no server keeps; "
            "take it out and ask again",
            param=thing,
            expected="text without the character NUL",
            found=f"NUL at position {at + 1}",
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(
            f"{thing} is not valid Unicode; save or type it as UTF-8 and try again",
            param=thing,
            expected="valid Unicode",
            found="text that is not",
        ) from None
    return value


def parse_word(thing: str, value: object, offered: Iterable[str]) -> str:
    """Return `value` if it is one of `offered`; the error names the nearest."""
    offered = tuple(offered)
    checked = parse_text(thing, value)
    if checked in offered:
        return checked
    near = get_close_matches(checked.lower(), offered, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "; use one of these"
    raise BadRequest(
        f"{thing} {show_value(checked)} is unknown (known: {', '.join(offered)}){hint}",
        param=thing,
        expected=", ".join(offered),
        found=show_value(checked),
        instead=near[0] if near else None,
    )


def parse_name(thing: str, value: object) -> str:
    """Return `value` if it can name a profile in the record: [a-z0-9_-], at most 64 of them."""
    checked = parse_text(thing, value)
    if not _NAME.match(checked):
        raise BadRequest(
            f"{thing} {show_value(checked)} is no name; use 1 to 64 of a-z, 0-9, - and _",
            param=thing,
            expected="1 to 64 of a-z, 0-9, - and _",
            found=show_value(checked),
        )
    return checked


def parse_whole_number(thing: str, value: object, example: str) -> int:
    """Return `value`, an integer or its digits, if it is a whole number from 0 to `LARGEST_NUMBER`."""
    number = int(value) if isinstance(value, str) and _WHOLE_NUMBER.match(value) else value
    if isinstance(number, int) and number > LARGEST_NUMBER:
        raise BadRequest(
            f"{thing} is at most {LARGEST_NUMBER}, found {show_value(value)}; for example {example}",
            param=thing,
            expected=f"at most {LARGEST_NUMBER}",
            found=show_value(value),
        )
    if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
        return number
    raise BadRequest(
        f"{thing} must be a whole number, found {show_value(value)}; for example {example}",
        param=thing,
        expected="a whole number",
        found=show_value(value),
    )


def parse_boolean(thing: str, value: object) -> bool:
    """Return `value` if it is true or false."""
    if isinstance(value, bool):
        return value
    raise BadRequest(
        f"{thing} must be true or false, found {show_value(value)}",
        param=thing,
        expected="true or false",
        found=show_value(value),
    )


def parse_label(thing: str, value: object, example: str, most: int = _LABEL_CHARACTERS) -> str:
    """Return `value` if it is 1 to `most` printable characters, such as a key or an id."""
    checked = parse_text(thing, value)
    if checked.strip() and checked.isprintable() and len(checked) <= most:
        return checked
    raise BadRequest(
        f"{thing} must be 1 to {most} printable characters, found {show_value(checked)}; "
        f"use for example {example}",
        param=thing,
        expected=f"1 to {most} printable characters",
        found=show_value(checked),
    )


def show_value(value: object) -> str:
    """Return `value` in a form for messages: on one line, and not too long."""
    as_text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return as_text if len(as_text) <= _SHOWN_CHARACTERS else f"{as_text[:_SHOWN_CHARACTERS]}…"
