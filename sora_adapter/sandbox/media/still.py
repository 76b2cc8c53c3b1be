"""The scene of a clip with a reference image: the camera breathes in and out on it.

The first frame is the image itself. The zoom is left to FFmpeg's scaler, a fifth of the price of Pillow's;
a remix shows the same image in its own colours.
"""

import io
import math

import av
from av.video.reformatter import VideoReformatter
from PIL import Image

from sora_adapter.sandbox.media.palette import palette_of
from sora_adapter.sandbox.media.planes import Mask, Picture, even
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.media.video import as_frame
from sora_adapter.sandbox.media.weather import Weather

_BREATH_S = 10.0
_CLOSEST = 0.08
_TINT = 96


class Still:
    """The moving picture of a recipe with a reference image, without its caption."""

    def __init__(self, recipe: Recipe, reference: bytes) -> None:
        self._size = recipe.size
        self._weather = Weather(recipe.prompts, recipe.size)
        self._scaler = VideoReformatter()
        self._first = _tinted(recipe, Picture.of(open_rgb(reference)))
        self._source = as_frame(self._first)

    def frame(self, moment_s: float) -> Picture:
        """Draw the picture at `moment_s` from the start; at 0 it is the image and nothing else."""
        closer = 1 + _CLOSEST * (1 - math.cos(math.tau * moment_s / _BREATH_S)) / 2
        width, height = self._size
        zoomed = self._scaler.reformat(self._source, even(width * closer), even(height * closer), "yuv420p")
        y, u, v = (_centre(zoomed, index, self._size) for index in range(3))
        picture = Picture(y, u, v)
        if moment_s:
            self._weather.fall(picture, moment_s)
        return picture


def open_rgb(image: bytes) -> Image.Image:
    """Decode an image to RGB, on white where it is transparent."""
    with Image.open(io.BytesIO(image)) as opened:
        layer = opened.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def _tinted(recipe: Recipe, picture: Picture) -> Picture:
    if recipe.parent is not None:
        width, height = recipe.size
        palette = palette_of(recipe.prompts)
        veil = (
            Image.linear_gradient("L").resize(recipe.size).point([_TINT - value // 6 for value in range(256)])
        )
        picture.paint(palette.sky, Mask.of(veil))
        low = (
            Image.linear_gradient("L")
            .resize((width, even(height / 2)))
            .point([value // 3 for value in range(256)])
        )
        picture.paint(palette.ridges[-1], Mask.of(low), (0, height - even(height / 2)))
    return picture


def _centre(frame: av.VideoFrame, index: int, size: tuple[int, int]) -> Image.Image:
    """Copy the middle of one plane of a frame at least as large as `size`."""
    scale = 2 if index else 1
    plane = frame.planes[index]
    width, height = size[0] // scale, size[1] // scale
    whole = Image.frombuffer("L", (plane.width, plane.height), bytes(plane), "raw", "L", plane.line_size, 1)
    left, top = (plane.width - width) // 2, (plane.height - height) // 2
    return whole.crop((left, top, left + width, top + height))
