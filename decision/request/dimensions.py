"""Check requested sizes and lengths against the catalog.

Each function returns the value or raises `BadRequest`, which lists what is offered and names the nearest
value; if a model was requested by name, the nearest that this model offers.
"""

import re
from collections.abc import Iterable

from decision.errors import BadRequest
from decision.request import validators
from decision.rules.catalog import Catalog

_DIGITS = re.compile(r"[0-9]{1,9}\Z")


def size_of(width: object, height: object, catalog: Catalog, model: object = None) -> str:
    """Return WIDTHxHEIGHT, from two integers or strings of digits, if a model offers it."""
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
    """Return `value` if a model offers it."""
    wanted = validators.text("size", value)
    if wanted in catalog.sizes:
        return wanted
    offers = "; ".join(f"{', '.join(offer.sizes)} by {offer.name}" for offer in catalog.models)
    wished = catalog.model(model) if isinstance(model, str) else None
    near = nearest_size(wanted, wished.sizes if wished else catalog.sizes)
    raise BadRequest(
        f"size {validators.shown(wanted)} is offered by no model (offered: {offers}); use --size {near}"
    )


def seconds_of(value: object, catalog: Catalog) -> int:
    """Return the length of a new clip, from an integer or a string of digits, if a model offers it."""
    wanted = validators.whole_number("seconds", value, "--seconds 8")
    if wanted in catalog.seconds:
        return wanted
    raise BadRequest(f"seconds {wanted} is offered by no model {_nearest_seconds(wanted, catalog.seconds)}")


def extension_seconds_of(value: object, catalog: Catalog) -> int:
    """Return the length that an extension adds, from an integer or a string of digits, if it is offered."""
    wanted = validators.whole_number("seconds", value, "--seconds 8")
    if wanted in catalog.extension.seconds:
        return wanted
    offered = _nearest_seconds(wanted, catalog.extension.seconds)
    raise BadRequest(f"seconds {wanted} is not offered for an extension {offered}")


def _nearest_seconds(wanted: int, offered: tuple[int, ...]) -> str:
    near = min(offered, key=lambda offer: abs(offer - wanted))
    return f"(offered: {', '.join(map(str, offered))}); use --seconds {near}"


def nearest_size(size: str, offered: Iterable[str]) -> str:
    """Return the size in `offered` nearest to `size`: by orientation first, then by area."""
    return min(offered, key=lambda offer: size_distance(size, offer))


def size_distance(one: str, other: str) -> tuple[bool, int]:
    """Return the distance between two sizes, for comparison with other distances."""
    (width, height), (other_width, other_height) = _pixels(one), _pixels(other)
    turned = (width > height) != (other_width > other_height)
    return turned, abs(width * height - other_width * other_height)


def _pixels(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    if _DIGITS.match(width) and _DIGITS.match(height):
        return int(width), int(height)
    return 1280, 720
