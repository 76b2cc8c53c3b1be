"""Sizes and lengths as people give them, against what the catalog offers.

Each function returns the value or raises `BadRequest`, which names what is offered and the nearest of it;
where a model was asked for by name, the nearest that this model offers.
"""

import re
from collections.abc import Iterable

from decision.errors import BadRequest
from decision.request import validators
from decision.rules.catalog import Catalog

_DIGITS = re.compile(r"[0-9]{1,9}\Z")


def size_of(width: object, height: object, catalog: Catalog, model: object = None) -> str:
    """Return WIDTHxHEIGHT, from two integers or their digits, if some model offers it."""
    if width is None or height is None:
        raise BadRequest(
            "width and height belong together; use --width 1280 --height 720, or --size 1280x720"
        )
    pixels = (
        validators.whole_number("width", width, "--width 1280"),
        validators.whole_number("height", height, "--height 720"),
    )
    return read_size("x".join(map(str, pixels)), catalog, model)


def read_size(value: object, catalog: Catalog, model: object = None) -> str:
    """Return `value` if some model offers it."""
    given = validators.text("size", value)
    if given in catalog.sizes:
        return given
    offers = "; ".join(f"{', '.join(offer.sizes)} by {offer.name}" for offer in catalog.models)
    wished = catalog.model(model) if isinstance(model, str) else None
    near = nearest_size(given, wished.sizes if wished else catalog.sizes)
    raise BadRequest(
        f"size {validators.shown(given)} is offered by no model (offered: {offers}); use --size {near}"
    )


def seconds_of(value: object, catalog: Catalog) -> int:
    """Return the length of a new clip, an integer or its digits, if some model offers it."""
    given = validators.whole_number("seconds", value, "--seconds 8")
    if given in catalog.seconds:
        return given
    raise BadRequest(f"seconds {given} is offered by no model {_nearest_seconds(given, catalog.seconds)}")


def extension_seconds_of(value: object, catalog: Catalog) -> int:
    """Return how much an extension adds, an integer or its digits, if that length is offered."""
    given = validators.whole_number("seconds", value, "--seconds 8")
    if given in catalog.extension.seconds:
        return given
    offered = _nearest_seconds(given, catalog.extension.seconds)
    raise BadRequest(f"seconds {given} is not offered for an extension {offered}")


def _nearest_seconds(given: int, offered: tuple[int, ...]) -> str:
    near = min(offered, key=lambda offer: abs(offer - given))
    return f"(offered: {', '.join(map(str, offered))}); use --seconds {near}"


def nearest_size(size: str, offered: Iterable[str]) -> str:
    """Return the size of `offered` that is most like `size`: the orientation first, then the area."""
    return min(offered, key=lambda offer: size_distance(size, offer))


def size_distance(one: str, other: str) -> tuple[bool, int]:
    """Return how far two sizes are from each other, to compare with others of its kind."""
    (width, height), (other_width, other_height) = _pixels(one), _pixels(other)
    turned = (width > height) != (other_width > other_height)
    return turned, abs(width * height - other_width * other_height)


def _pixels(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    if _DIGITS.match(width) and _DIGITS.match(height):
        return int(width), int(height)
    return 1280, 720
