"""Sizes and lengths as people give them: the refusal names the nearest that is offered."""

import re
from typing import Any

import pytest

from decision.errors import BadRequest
from decision.request.dimensions import seconds_of, size_of
from decision.rules.catalog import Catalog


@pytest.mark.parametrize(("width", "height"), [(1280, 720), ("1280", "720")])
def test_width_and_height_make_a_size(catalog: Catalog, width: Any, height: Any) -> None:
    assert size_of(width, height, catalog) == "1280x720"


@pytest.mark.parametrize(
    ("width", "height", "model", "message"),
    [
        (3840, 2160, None, "size 3840x2160 is offered by no model (offered: 720x1280, "),
        (3840, 2160, None, "use --size 1920x1080"),
        (3840, 2160, "sora-2", "use --size 1280x720"),
        (3840, 2160, "sora-2-pro-2025-10-06", "use --size 1920x1080"),
        (2048, 858, "auto", "use --size 1792x1024"),
        (1080, 1080, None, "use --size 720x1280"),
        (1280, None, None, "width and height belong together; use --width 1280 --height 720"),
        (None, 720, None, "width and height belong together"),
        ("wide", 720, None, "width must be a whole number, found wide; for example --width 1280"),
    ],
)
def test_a_size_nobody_offers_is_refused_with_the_nearest(
    catalog: Catalog, width: Any, height: Any, model: str | None, message: str
) -> None:
    with pytest.raises(BadRequest, match=re.escape(message)):
        size_of(width, height, catalog, model)


@pytest.mark.parametrize(("duration", "near"), [(5, 4), (10, 8), (15, 16), ("30", 20), (0, 4)])
def test_a_length_nobody_offers_is_refused_with_the_nearest(
    catalog: Catalog, duration: Any, near: int
) -> None:
    message = f"is offered by no model (offered: 4, 8, 12, 16, 20); use --seconds {near}"
    with pytest.raises(BadRequest, match=re.escape(message)):
        seconds_of(duration, catalog)


def test_a_length_that_a_model_offers_is_taken(catalog: Catalog) -> None:
    assert seconds_of("20", catalog) == 20
