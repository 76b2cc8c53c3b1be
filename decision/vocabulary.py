"""Single values of a request, as people and files give them, read against what the catalog knows.

Each function returns the value or raises `BadRequest` with what was expected, what came and the next step.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from decision.catalog import Catalog
from decision.errors import BadRequest

_NAME = re.compile(r"[a-z0-9_]{1,64}\Z")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_SHOWN_CHARACTERS = 60


def text(thing: str, value: object) -> str:
    """Return `value` if it is text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise BadRequest(f"{thing} must be text, found {type(value).__name__}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRequest(f"{thing} is not valid Unicode; save or type it as UTF-8 and try again")
    return value


def word(thing: str, value: object, offered: Iterable[str]) -> str:
    """Return `value` if it is one of `offered`, or say which is nearest."""
    offered = tuple(offered)
    given = text(thing, value)
    if given in offered:
        return given
    near = get_close_matches(given.lower(), offered, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "; use one of these"
    raise BadRequest(f"{thing} {shown(given)} is unknown (known: {', '.join(offered)}){hint}")


def name(thing: str, value: object) -> str:
    """Return `value` if it can be a name in the record: [a-z0-9_], at most 64 of them."""
    given = text(thing, value)
    if not _NAME.match(given):
        raise BadRequest(f"{thing} {shown(given)} is no name; use 1 to 64 of a-z, 0-9 and _")
    return given


def whole_number(thing: str, value: object, example: str) -> int:
    """Return `value`, an integer or its digits, if it is a whole number and not negative."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
        return value
    if isinstance(value, str) and _WHOLE_NUMBER.match(value):
        return int(value)
    raise BadRequest(f"{thing} must be a whole number, found {shown(value)}; for example {example}")


def yes_or_no(thing: str, value: object) -> bool:
    """Return `value` if it is true or false."""
    if isinstance(value, bool):
        return value
    raise BadRequest(f"{thing} must be true or false, found {shown(value)}")


def size(value: object, catalog: Catalog) -> str:
    """Return `value` if some model offers it."""
    given = text("size", value)
    if given in catalog.sizes:
        return given
    offers = "; ".join(f"{', '.join(model.sizes)} by {model.name}" for model in catalog.models)
    hint = f"use --size {nearest_size(given, catalog.sizes)}"
    raise BadRequest(f"size {shown(given)} is offered by no model (offered: {offers}); {hint}")


def seconds(value: object, catalog: Catalog) -> int:
    """Return `value`, an integer or its digits, if some model offers that length."""
    given = whole_number("seconds", value, "--seconds 8")
    if given in catalog.seconds:
        return given
    offers = ", ".join(str(offer) for offer in catalog.seconds)
    near = min(catalog.seconds, key=lambda offer: abs(offer - given))
    raise BadRequest(f"seconds {given} is offered by no model (offered: {offers}); use --seconds {near}")


def nearest_size(size: str, offered: Iterable[str]) -> str:
    """Return the size of `offered` that is most like `size`: the orientation first, then the area."""
    return min(offered, key=lambda offer: size_distance(size, offer))


def size_distance(one: str, other: str) -> tuple[bool, int]:
    """Return how far two sizes are from each other, to compare with others of its kind."""
    (width, height), (other_width, other_height) = _pixels(one), _pixels(other)
    turned = (width > height) != (other_width > other_height)
    return turned, abs(width * height - other_width * other_height)


def shown(value: object) -> str:
    """Return `value` as it may stand in a message: on one line, and not too long."""
    as_text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return as_text if len(as_text) <= _SHOWN_CHARACTERS else f"{as_text[:_SHOWN_CHARACTERS]}…"


def _pixels(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    if _WHOLE_NUMBER.match(width) and _WHOLE_NUMBER.match(height):
        return int(width), int(height)
    return 1280, 720
