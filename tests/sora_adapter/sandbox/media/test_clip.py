"""What a rendered clip is; each clip is rendered once for all tests of this module."""

import io
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageFilter, ImageStat

from sora_adapter.sandbox.media.planes import RenderStoppedError, spritesheet
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.renderer import render

SIZE = (1280, 720)
EDGES = ImageFilter.FIND_EDGES
PLAIN = Recipe("sora-2", SIZE, 4, ("A teal kite over the hills",))

Clip = Callable[[Recipe], Path]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("clips")
    made: dict[Recipe, Path] = {}

    def get(recipe: Recipe) -> Path:
        if recipe not in made:
            path = folder / f"{len(made)}.mp4"
            render(recipe, path)
            made[recipe] = path
        return made[recipe]

    return get


@pytest.fixture(scope="module")
def reference() -> bytes:
    corners = Image.new("RGB", (4, 4))
    corners.putdata([(40 + 50 * (i % 4), 60 + 40 * (i // 4), 200 - 12 * i) for i in range(16)])
    buffer = io.BytesIO()
    corners.resize(SIZE, Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def frame_at(path: Path, number: int) -> Image.Image:
    with av.open(path) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == number:
                image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
                return image
    raise AssertionError(number)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return how far two images are apart, 0 to 255, on the average of their pixels."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def upper_half(image: Image.Image) -> Image.Image:
    return image.crop((0, 0, image.width, image.height // 2))


def test_a_clip_is_h264_and_aac(clip: Clip) -> None:
    with av.open(clip(PLAIN)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_picture_and_sound_are_exactly_as_long_as_asked(clip: Clip, kind: str) -> None:
    with av.open(clip(PLAIN)) as container:
        (stream,) = container.streams.get({kind: 0})
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == 4


def test_a_clip_has_a_picture_for_every_moment(clip: Clip) -> None:
    with av.open(clip(PLAIN)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 96


def test_an_upright_clip_is_of_the_size_asked_for(clip: Clip) -> None:
    assert frame_at(clip(Recipe("sora-2", (720, 1280), 4, ("Snow in the forest",))), 0).size == (720, 1280)


def test_the_index_stands_before_the_pictures(clip: Clip) -> None:
    body = clip(PLAIN).read_bytes()
    assert body.index(b"moov") < body.index(b"mdat")


def test_the_picture_moves(clip: Clip) -> None:
    assert difference(frame_at(clip(PLAIN), 10), frame_at(clip(PLAIN), 40)) > 2


def test_the_sound_is_not_silence(clip: Clip) -> None:
    with av.open(clip(PLAIN)) as container:
        loudest = max(max(memoryview(frame.planes[0]).cast("f")) for frame in container.decode(audio=0))
    assert 0.05 < loudest < 0.9


def test_the_same_recipe_gives_the_same_bytes(clip: Clip, tmp_path: Path) -> None:
    render(PLAIN, tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == clip(PLAIN).read_bytes()


def test_a_colour_the_prompt_names_dominates(clip: Clip) -> None:
    red, green, blue = ImageStat.Stat(frame_at(clip(PLAIN), 0)).mean
    assert (green - red > 25, blue - red > 25, abs(green - blue) < 25) == (True, True, True)


def test_the_first_frame_is_the_reference_image(clip: Clip, reference: bytes) -> None:
    first = frame_at(clip(Recipe("sora-2", SIZE, 4, ("It comes alive",), reference)), 0)
    assert difference(first, Image.open(io.BytesIO(reference)).convert("RGB")) < 2.5


def test_a_clip_from_a_reference_image_moves(clip: Clip, reference: bytes) -> None:
    path = clip(Recipe("sora-2", SIZE, 4, ("It comes alive",), reference))
    assert difference(upper_half(frame_at(path, 0)), upper_half(frame_at(path, 48))) > 1


def test_a_remix_keeps_the_outlines_of_its_parent(clip: Clip) -> None:
    remix = Recipe("sora-2", SIZE, 4, (*PLAIN.prompts, "Same shot in rust"))
    edges = [upper_half(frame_at(clip(each), 0)).convert("L").filter(EDGES) for each in (PLAIN, remix)]
    strong = [edge.point(lambda value: 255 if value > 24 else 0) for edge in edges]
    shared = ImageStat.Stat(ImageChops.darker(*strong)).sum[0]
    assert shared > 0.5 * ImageStat.Stat(strong[0]).sum[0]


def test_a_remix_takes_the_colours_of_its_own_prompt(clip: Clip) -> None:
    remix = Recipe("sora-2", SIZE, 4, (*PLAIN.prompts, "Same shot in rust"))
    red, green, blue = ImageStat.Stat(upper_half(frame_at(clip(remix), 0))).mean
    assert red > green > blue


def test_the_spritesheet_starts_with_the_first_frame(clip: Clip) -> None:
    sheet = Image.open(io.BytesIO(spritesheet(clip(PLAIN)))).convert("RGB")
    first = frame_at(clip(PLAIN), 0).resize((320, 180))
    assert difference(sheet.crop((0, 0, 320, 180)), first) < 4


def test_a_render_that_is_told_to_stop_stops(tmp_path: Path) -> None:
    with pytest.raises(RenderStoppedError):
        render(PLAIN, tmp_path / "stopped.mp4", lambda: True)
