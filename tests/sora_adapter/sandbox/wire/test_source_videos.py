"""Uploaded videos are measured before anything is made of them."""

from collections.abc import Callable

import pytest

from sora_adapter.sandbox.wire.media import Film, check_character, check_source, read_film
from sora_adapter.serving.bodies import Upload
from sora_adapter.serving.errors import ApiError

Make = Callable[..., bytes]


def measured(seconds: float, width: int = 1280, height: int = 720) -> Film:
    return Film(b"", width, height, seconds)


def test_a_film_is_measured(film: Make) -> None:
    found = read_film(Upload("a.mp4", "video/mp4", film((1280, 720), 2)))
    assert found.size == "1280x720"
    assert found.duration_s == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize(("seconds", "whole"), [(0.5, 4), (4, 4), (4.05, 4), (5, 8), (20, 20)])
def test_a_clip_of_a_film_is_of_a_length_the_model_makes(seconds: float, whole: int) -> None:
    assert measured(seconds).whole_seconds == whole


@pytest.mark.parametrize("body", [b"", b"hello", b"\0" * 5000])
def test_what_does_not_decode_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="does not decode"):
        read_film(Upload("a.mp4", "video/mp4", body))


def test_a_film_of_another_kind_is_refused(picture: Make) -> None:
    with pytest.raises(ApiError, match="expected an MP4 file, but got"):
        read_film(Upload("a.mp4", "video/mp4", picture()))


def test_text_is_no_film() -> None:
    with pytest.raises(ApiError, match="expected a file, but got a string"):
        read_film("a.mp4")


@pytest.mark.parametrize("seconds", [1.8, 4.2])
def test_a_character_needs_2_to_4_seconds(seconds: float) -> None:
    with pytest.raises(ApiError, match="expected 2 to 4 seconds"):
        check_character(measured(seconds))


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(1280, 800, "16:9"), (640, 360, "720p"), (3840, 2160, "720p")]
)
def test_a_character_needs_a_usual_picture(width: int, height: int, expected: str) -> None:
    with pytest.raises(ApiError, match=expected):
        check_character(measured(3, width, height))


def test_a_source_must_be_of_a_size_the_model_makes() -> None:
    with pytest.raises(ApiError, match="expected 720x1280 or 1280x720 pixels, but got 1920x1080"):
        check_source(measured(4, 1920, 1080), ("720x1280", "1280x720"))


def test_a_source_must_not_be_longer_than_a_clip() -> None:
    with pytest.raises(ApiError, match="at most 20 seconds"):
        check_source(measured(21), ("1280x720",))
