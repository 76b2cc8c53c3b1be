"""Words that name colours."""

import pytest

from sora_adapter.sandbox.media.colours import find_named, mood
from sora_adapter.sandbox.media.palette import palette_of


def test_colours_are_found_in_the_order_of_the_text() -> None:
    teal, sand, rust = (0, 128, 128), (0xD8, 0xBC, 0x8A), (0xB7, 0x41, 0x0E)
    assert find_named("Shift the palette to teal/sand/rust, and more teal.") == [teal, sand, rust]


def test_two_words_may_name_one_colour() -> None:
    assert find_named("a Dark Green door") == [(0, 100, 0)]


@pytest.mark.parametrize("text", ["", "a tealight", "fresh snow", "1234", "\N{SNOWMAN}"])
def test_a_text_may_name_no_colour(text: str) -> None:
    assert find_named(text) == []


def test_a_mood_counts_where_no_colour_is_named() -> None:
    assert palette_of(["a street at sunset"]).sky == mood("sunset")[0]


def test_a_named_colour_is_stronger_than_a_mood() -> None:
    assert palette_of(["a teal street at sunset"]).sky == (0, 128, 128)


def test_a_remix_without_colours_keeps_its_parent_s_shifted() -> None:
    parent, remix = palette_of(["a teal kite"]), palette_of(["a teal kite", "slower"])
    assert 0 < sum(abs(a - b) for a, b in zip(parent.sky, remix.sky, strict=True)) < 200


def test_prompts_without_colours_differ_in_theirs() -> None:
    assert len({palette_of([f"take {number}"]).sky for number in range(20)}) > 15
