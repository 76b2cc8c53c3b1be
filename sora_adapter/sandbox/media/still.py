"""A still picture in motion: the camera slowly zooms in and out.

The first frame is the picture itself. The zoom uses FFmpeg's scaler, at a fifth of the cost of Pillow's.
"""

import io
import math
from collections.abc import Iterator

import av
from av.video.reformatter import VideoReformatter
from PIL import Image

from sora_adapter.sandbox.media.palette import palette_of
from sora_adapter.sandbox.media.planes import Mask, Picture, even
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.media.video import as_frame, as_picture
from sora_adapter.sandbox.media.weather import Weather

_TINT = 96


class Veil:
    """The palette of a recipe as one tint from above and one from below."""

    def __init__(self, recipe: Recipe) -> None:
        width, height = recipe.size
        palette = palette_of(recipe.prompts)
        self._sky, self._ground = palette.sky, palette.ridges[-1]
        self._foot = (0, height - even(height / 2))
        self._high = _gradient(recipe.size, [_TINT - value // 6 for value in range(256)])
        self._low = _gradient((width, even(height / 2)), [value // 3 for value in range(256)])

    def lay(self, picture: Picture) -> None:
        """Tint a picture of the recipe's size."""
        picture.paint(self._sky, self._high)
        picture.paint(self._ground, self._low, self._foot)


def _gradient(size: tuple[int, int], strengths: list[int]) -> Mask:
    return Mask.of(Image.linear_gradient("L").resize(size).point(strengths))


_BREATH_S = 10.0
_CLOSEST = 0.08


class Still:
    """The moving picture of a recipe that starts from an image, without its caption."""

    def __init__(self, recipe: Recipe, first: Picture) -> None:
        self._size = recipe.size
        self._weather = Weather(recipe.prompts, recipe.size) if recipe.prompts else None
        self._scaler = VideoReformatter()
        self._source = as_frame(first)

    def frame(self, moment_s: float) -> Picture:
        """Draw the picture at `moment_s` from the start; at 0 it is exactly the first picture."""
        closer = 1 + _CLOSEST * (1 - math.cos(math.tau * moment_s / _BREATH_S)) / 2
        width, height = self._size
        zoomed = self._scaler.reformat(self._source, even(width * closer), even(height * closer), "yuv420p")
        picture = as_picture(zoomed, self._size)
        if moment_s and self._weather is not None:
            self._weather.fall(picture, moment_s)
        return picture


def of_reference(recipe: Recipe, reference: bytes) -> Still:
    """Return the scene of a reference image; a remix shows the same image in its own colours."""
    first = Picture.of(open_rgb(reference))
    if recipe.parent is not None:
        Veil(recipe).lay(first)
    return Still(recipe, first)


def open_rgb(image: bytes) -> Image.Image:
    """Decode an image to RGB, on white where it is transparent."""
    with Image.open(io.BytesIO(image)) as opened:
        layer = opened.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


class Footage:
    """The moving picture of an upload, without a caption; moments must be requested in order.

    If the upload ends before the clip does, its last picture stays, with a slow zoom.
    """

    def __init__(self, recipe: Recipe, film: bytes) -> None:
        self._recipe = recipe
        self._veil = Veil(recipe) if recipe.prompts else None
        self._frames = _frames(film)
        self._ends_s = 0.0
        self._shown: av.VideoFrame | None = None
        self._rest: Still | None = None

    def frame(self, moment_s: float) -> Picture:
        """Draw the picture at `moment_s` from the start of the upload."""
        while self._rest is None and self._ends_s <= moment_s:
            self._advance()
        if self._rest is not None:
            return self._rest.frame(moment_s - self._ends_s)
        return self._picture()

    def _advance(self) -> None:
        following = next(self._frames, None)
        if following is None:
            self._rest = Still(self._recipe, self._picture())
        else:
            self._shown, self._ends_s = following

    def _picture(self) -> Picture:
        assert self._shown is not None
        picture = as_picture(self._shown, self._recipe.size)
        if self._veil is not None:
            self._veil.lay(picture)
        return picture


def _frames(film: bytes) -> Iterator[tuple[av.VideoFrame, float]]:
    """Decode the frames, each with the moment at which it ends."""
    scaler = VideoReformatter()
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            assert frame.pts is not None
            assert frame.time_base is not None  # an MP4 always has them
            ends_s = float((frame.pts + max(1, frame.duration)) * frame.time_base)
            yield scaler.reformat(frame, format="yuv420p"), ends_s
