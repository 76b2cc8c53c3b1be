"""Clips that continue a clip or an upload; each is rendered once for all tests of this module."""

from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from sora_adapter.sandbox.media.planes import FRAMES_PER_SECOND, SAMPLES_PER_SECOND, Picture, encode
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.renderer import render

SIZE = (640, 360)
SECOND = FRAMES_PER_SECOND
PARENT = Recipe("sora-2", SIZE, 4, ("A teal kite over the hills",))
LONGER = Recipe("sora-2", SIZE, 8, (*PARENT.prompts, "It lands in rust"), before=PARENT)

Frames = Callable[[Recipe], list[Image.Image]]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Return the frames of a clip."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    made: dict[Recipe, list[Image.Image]] = {}

    def get(recipe: Recipe) -> list[Image.Image]:
        if recipe not in made:
            render(recipe, path)
            with av.open(path) as container:
                made[recipe] = [
                    frame.to_image(width=320, height=180)  # type: ignore[no-untyped-call]
                    for frame in container.decode(video=0)
                ]
        return made[recipe]

    return get


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return two seconds of red that end in blue."""
    path: Path = tmp_path_factory.mktemp("films") / "film.mp4"
    red, blue = (Picture.convert(Image.new("RGB", SIZE, colour)) for colour in ("#c02020", "#2020c0"))
    sound = array("f", bytes(4 * SAMPLES_PER_SECOND * 2))
    encode(path, SIZE, [red] * SECOND + [blue] * SECOND, sound, lambda: False)
    return path.read_bytes()


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return how far two images are apart, 0 to 255, on the average of their pixels."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def colour(image: Image.Image) -> list[float]:
    return ImageStat.Stat(image).mean


def test_an_extension_is_as_long_as_both_together(frames: Frames) -> None:
    assert len(frames(LONGER)) == 8 * SECOND


@pytest.mark.parametrize("number", [0, 2 * SECOND, 4 * SECOND - 1])
def test_an_extension_begins_with_the_pictures_of_its_parent(frames: Frames, number: int) -> None:
    assert difference(frames(LONGER)[number], frames(PARENT)[number]) < 1.5


def test_the_cut_is_no_greater_step_than_any_other(frames: Frames) -> None:
    clip = frames(LONGER)
    steps = [difference(clip[number], clip[number + 1]) for number in range(3 * SECOND, 4 * SECOND - 1)]
    assert difference(clip[4 * SECOND - 1], clip[4 * SECOND]) < 2 * max(steps)


def test_an_extension_ends_in_the_colours_of_its_own_prompt(frames: Frames) -> None:
    red, green, blue = colour(frames(LONGER)[-1].crop((0, 0, 320, 90)))
    assert red > green > blue


def test_an_edit_of_an_upload_shows_the_upload_moving(frames: Frames, film: bytes) -> None:
    edit = frames(Recipe("sora-2", SIZE, 4, ("In teal",), footage=film))
    first, last = colour(edit[0]), colour(edit[2 * SECOND - 1])
    assert (first[0] > last[0] + 40, last[2] > first[2] + 20) == (True, True)


def test_an_edit_of_an_upload_takes_the_colours_of_its_prompt(frames: Frames, film: bytes) -> None:
    edit = frames(Recipe("sora-2", SIZE, 4, ("In teal",), footage=film))
    assert colour(edit[0].crop((0, 0, 320, 60)))[1] > 50


def test_an_extension_of_an_upload_begins_with_the_upload_as_it_is(frames: Frames, film: bytes) -> None:
    upload = Recipe("sora-2", SIZE, 4, (), footage=film)
    clip = frames(replace(upload, prompts=("In teal",), seconds=8, before=upload))
    assert difference(clip[0], Image.new("RGB", (320, 180), "#c02020")) < 4


def test_an_upload_that_ends_early_stays_on_its_last_picture(frames: Frames, film: bytes) -> None:
    upload = Recipe("sora-2", SIZE, 4, (), footage=film)
    clip = frames(replace(upload, prompts=("In teal",), seconds=8, before=upload))
    assert difference(clip[4 * SECOND - 1], Image.new("RGB", (320, 180), "#2020c0")) < 4


def test_the_cast_is_in_the_small_print(frames: Frames) -> None:
    with_cast = frames(replace(PARENT, cast=("Mossy", "Fern")))
    assert difference(with_cast[0], frames(PARENT)[0]) > 0.1
