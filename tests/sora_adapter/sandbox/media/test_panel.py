"""The caption of a clip."""

import pytest
from PIL import ImageFont

from sora_adapter.sandbox.media.panel import panel_of, wrap
from sora_adapter.sandbox.media.recipe import Recipe

FONT = ImageFont.load_default(32)
ROOM = 600


def test_lines_are_no_wider_than_the_room() -> None:
    lines = wrap("a kite over golden dunes " * 3, FONT, ROOM, 9)
    assert max(FONT.getlength(line) for line in lines) <= ROOM


def test_a_text_that_fits_is_shown_in_full() -> None:
    text = "a kite over golden dunes in the late light of an afternoon"
    assert " ".join(wrap(text, FONT, ROOM, 3)) == text


def test_a_text_that_is_too_long_ends_in_an_ellipsis() -> None:
    assert wrap("kite " * 6000, FONT, ROOM, 3)[-1].endswith("\N{HORIZONTAL ELLIPSIS}")


def test_a_text_without_spaces_is_broken_where_it_must_be() -> None:
    assert len(wrap("k" * 60, FONT, ROOM, 9)) > 1


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1920, 1080), (1024, 1792)])
@pytest.mark.parametrize(
    "prompt", ["kite", "kite " * 6000, "\n\t", "\N{DRAGON} \u9f8d \u0000\u202e", "k" * 32_000]
)
def test_every_caption_stays_in_the_lower_half(size: tuple[int, int], prompt: str) -> None:
    panel = panel_of(Recipe("sora-2-pro", size, 4, (prompt, prompt)))
    bottom = panel.at[1] + panel.picture.y.height
    assert (panel.at[1] > size[1] / 2, bottom <= size[1]) == (True, True)
