"""Check requested sizes and lengths against the catalog.

Each function returns the value or raises `BadRequest`, which lists what is offered and names the nearest
value; if a model was requested by name, the nearest that this model offers.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from decision.errors import BadRequest
from decision.request import validators
from decision.rules.catalog import Catalog

_DIGITS = re.compile(r"[0-9]{1,9}\Z")
_SIZE = re.compile(r"[0-9]{1,9}x[0-9]{1,9}\Z")


def size_of(width: object, height: object, catalog: Catalog, model: object = None) -> str:
    """Return WIDTHxHEIGHT, from two integers or strings of digits, if a model offers it."""
    if width is None or height is None:
        raise BadRequest(
            "width and height belong together; use --width 1280 --height 720, or --size 1280x720",
            param="size",
            expected="both width and height",
            found="one of them",
        )
    pixels = (
        validators.parse_whole_number("width", width, "--width 1280"),
        validators.parse_whole_number("height", height, "--height 720"),
    )
    return read_size("x".join(map(str, pixels)), catalog, model)


def read_size(value: object, catalog: Catalog, model: object = None) -> str:
    """Return `value` if a model offers it."""
    wanted = validators.parse_text("size", value)
    if wanted in catalog.sizes:
        return wanted
    offers = "; ".join(f"{', '.join(offer.sizes)} by {offer.name}" for offer in catalog.models)
    wished = catalog.model(model) if isinstance(model, str) else None
    near = nearest_size(wanted, wished.sizes if wished else catalog.sizes)
    raise BadRequest(
        f"size {validators.show_value(wanted)} is offered by no model (offered: {offers}); use --size {near}",
        param="size",
        expected=offers,
        found=validators.show_value(wanted),
        instead=near,
    )


def seconds_of(value: object, catalog: Catalog) -> int:
    """Return the length of a new clip, from an integer or a string of digits, if a model offers it."""
    wanted = validators.parse_whole_number("seconds", value, "--seconds 8")
    if wanted in catalog.seconds:
        return wanted
    raise BadRequest(
        f"seconds {wanted} is offered by no model {_nearest_seconds(wanted, catalog.seconds)}",
        param="seconds",
        expected=", ".join(map(str, catalog.seconds)),
        found=wanted,
        instead=_nearest_length(wanted, catalog.seconds),
    )


def extension_seconds_of(value: object, catalog: Catalog) -> int:
    """Return the length that an extension adds, from an integer or a string of digits, if it is offered."""
    wanted = validators.parse_whole_number("seconds", value, "--seconds 8")
    if wanted in catalog.extension.seconds:
        return wanted
    offered = _nearest_seconds(wanted, catalog.extension.seconds)
    raise BadRequest(
        f"seconds {wanted} is not offered for an extension {offered}",
        param="seconds",
        expected=", ".join(map(str, catalog.extension.seconds)),
        found=wanted,
        instead=_nearest_length(wanted, catalog.extension.seconds),
    )


class NearestOffer(NamedTuple):
    """The offer nearest to the wish, as text for `read_size` and `seconds_of`, and what changed."""

    size: str | None
    seconds: str | None
    changes: tuple[str, ...]


def nearest_offer(size: str | None, seconds: object, catalog: Catalog, model: str) -> NearestOffer:
    """Return the size and length nearest to those wished that `model` offers, or any model for another name.

    Of two equally near lengths, the shorter one, which costs less. An invalid size or length is unchanged.
    """
    wished = catalog.model(model)
    sizes, lengths = (wished.sizes, wished.seconds) if wished else (catalog.sizes, catalog.seconds)
    changes: list[str] = []
    if size is not None and size not in sizes and _SIZE.match(size):
        near = nearest_size(size, sizes)
        changes.append(f"size {size} is not offered; the nearest is {near}")
        size = near
    text = None if seconds is None else str(seconds)
    if text is not None and _DIGITS.match(text) and int(text) not in lengths:
        length = _nearest_length(int(text), lengths)
        changes.append(f"{text} seconds are not offered; the nearest are {length}")
        text = str(length)
    return NearestOffer(size, text, tuple(changes))


def _nearest_length(wanted: int, offered: Iterable[int]) -> int:
    return min(offered, key=lambda offer: (abs(offer - wanted), offer))


def _nearest_seconds(wanted: int, offered: tuple[int, ...]) -> str:
    near = _nearest_length(wanted, offered)
    return f"(offered: {', '.join(map(str, offered))}); use --seconds {near}"


def nearest_size(size: str, offered: Iterable[str]) -> str:
    """Return the size in `offered` nearest to `size`: by orientation first, then by area."""
    return min(offered, key=lambda offer: size_distance(size, offer))


def size_distance(size: str, other: str) -> tuple[bool, int]:
    """Return the distance between two sizes, for comparison with other distances."""
    (width, height), (other_width, other_height) = _pixels(size), _pixels(other)
    turned = (width > height) != (other_width > other_height)
    return turned, abs(width * height - other_width * other_height)


def _pixels(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    if _DIGITS.match(width) and _DIGITS.match(height):
        return int(width), int(height)
    return 1280, 720
