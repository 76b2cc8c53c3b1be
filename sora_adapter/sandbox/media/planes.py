"""Pictures in the encoder's format: three planes, luma at full size and chroma at half.

Drawing directly into the planes avoids converting every frame from RGB, which would be most of the cost of a
clip. The values are ITU-R BT.709 in limited range, which players assume for HD video. Positions and sizes are
even numbers of luma pixels; an odd position shifts its chroma by half a pixel, which is invisible.

`Weather` draws particles: motes of light, or the snow or rain that the prompt mentions. They are on luma
alone, which takes a third of the time and looks like light.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from PIL import Image, ImageDraw, ImageFilter

from sora_adapter.sandbox.media.colours import Colour, mix
from sora_adapter.sandbox.media.recipe import Size, dice

_BT709 = (
    0.1826, 0.6142, 0.0620, 16.0,
    -0.1006, -0.3386, 0.4392, 128.0,
    0.4392, -0.3989, -0.0403, 128.0,
)  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """The opacity of a picture, 0..255, at both resolutions."""

    full: Image.Image
    half: Image.Image

    @classmethod
    def of(cls, full: Image.Image) -> Self:
        """Return a mask made from one greyscale image."""
        return cls(full, full.reduce(2))

    def crop(self, left: int, width: int) -> Self:
        """Cut out a vertical strip of full height."""
        return type(self)(_strip(self.full, left, width), _strip(self.half, left // 2, width // 2))

    def faded(self, share: float) -> Self:
        """Return the mask at `share` (0..1) of its opacity."""
        table = [round(value * share) for value in range(256)]
        return type(self)(self.full.point(table), self.half.point(table))


@dataclass(frozen=True)
class Picture:
    """A picture that can be painted on."""

    y: Image.Image
    u: Image.Image
    v: Image.Image

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """Convert an RGB image."""
        y, u, v = image.convert("RGB", _BT709).split()
        return cls(y, u.reduce(2), v.reduce(2))

    @classmethod
    def gradient(cls, size: Size, stops: Sequence[tuple[float, Colour]]) -> Self:
        """Return a picture filled from top to bottom with colours at given heights (0..1, rising)."""
        width, height = size
        column = Image.new("RGB", (1, height))
        column.putdata([_at(stops, row / max(1, height - 1)) for row in range(height)])
        y, u, v = column.convert("RGB", _BT709).split()
        half = (width // 2, height // 2)
        nearest = Image.Resampling.NEAREST
        return cls(y.resize(size, nearest), u.resize(half, nearest), v.resize(half, nearest))

    def crop(self, left: int, width: int) -> Self:
        """Cut out a vertical strip of full height."""
        chroma = (left // 2, width // 2)
        return type(self)(_strip(self.y, left, width), _strip(self.u, *chroma), _strip(self.v, *chroma))

    def mixed(self, other: "Picture", share: float) -> Self:
        """Return the picture `share` (0..1) of the way to another."""
        planes = ((self.y, other.y), (self.u, other.u), (self.v, other.v))
        return type(self)(*(Image.blend(plane, two, share) for plane, two in planes))

    def lay(self, other: "Picture", mask: Mask, at: tuple[int, int] = (0, 0)) -> None:
        """Place another picture on this one, through the mask."""
        chroma = (at[0] // 2, at[1] // 2)
        self.y.paste(other.y, at, mask.full)
        self.u.paste(other.u, chroma, mask.half)
        self.v.paste(other.v, chroma, mask.half)

    def paint(self, colour: Colour, mask: Mask, at: tuple[int, int] = (0, 0)) -> None:
        """Paint a plain colour on this picture, through the mask."""
        y, u, v = plane_values(colour)
        chroma = (at[0] // 2, at[1] // 2)
        _fill(self.y, y, at, mask.full)
        _fill(self.u, u, chroma, mask.half)
        _fill(self.v, v, chroma, mask.half)


def plane_values(colour: Colour) -> tuple[int, int, int]:
    """Return a colour's value in each of the three planes."""
    pixel = Image.new("RGB", (1, 1), colour).convert("RGB", _BT709).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    y, u, v = (int(value) for value in pixel)
    return y, u, v


def even(length: float) -> int:
    """Return the even number of pixels nearest to a length."""
    return round(length / 2) * 2


def _fill(plane: Image.Image, value: int, at: tuple[int, int], mask: Image.Image) -> None:
    plane.paste(value, (at[0], at[1], at[0] + mask.width, at[1] + mask.height), mask)


def _strip(image: Image.Image, left: int, width: int) -> Image.Image:
    return image.crop((left, 0, left + width, image.height))


def _at(stops: Sequence[tuple[float, Colour]], height: float) -> Colour:
    for (low, first), (high, second) in pairwise(stops):
        if height <= high:
            return mix(first, second, max(0.0, height - low) / (high - low))
    return stops[-1][1]


_LIGHT = 225


@dataclass(frozen=True)
class _Drop:
    """One particle: its start, its movement per second (in frame sizes), its picture."""

    x: float
    y: float
    dx: float
    dy: float
    sprite: Image.Image


class Weather:
    """The particles of one clip; `fall` paints them at a moment."""

    def __init__(self, prompts: Sequence[str], size: Size) -> None:
        throw = dice("weather", prompts[0])
        make = _MAKERS[_kind(prompts)]
        self._size = size
        self._drops = make(throw, min(size))

    def fall(self, picture: Picture, moment_s: float) -> None:
        """Paint every particle where it is at `moment_s`; those leaving on one side return on the other."""
        width, height = self._size
        for drop in self._drops:
            room = (width + drop.sprite.width, height + drop.sprite.height)
            x = int((drop.x + drop.dx * moment_s) % 1 * room[0]) - drop.sprite.width
            y = int((drop.y + drop.dy * moment_s) % 1 * room[1]) - drop.sprite.height
            box = (x, y, x + drop.sprite.width, y + drop.sprite.height)
            picture.y.paste(_LIGHT, box, drop.sprite)


def _kind(prompts: Sequence[str]) -> str:
    for prompt in reversed(prompts):
        words = set(re.findall(r"[a-z]+", prompt.lower()))
        for kind, cues in _CUES.items():
            if words & cues:
                return kind
    return "motes"


_CUES = {
    "rain": {"rain", "rains", "raining", "rainy", "storm", "drizzle", "downpour"},
    "snow": {"snow", "snows", "snowing", "snowy", "snowfall", "blizzard", "winter"},
}


def _motes(throw: random.Random, unit: int) -> list[_Drop]:
    sprites = [
        _disc(round(unit * share), strength) for share, strength in ((0.03, 70), (0.014, 150), (0.008, 220))
    ]
    return [
        _Drop(throw.random(), throw.random(), throw.uniform(-0.02, 0.03), throw.uniform(-0.05, -0.01), sprite)
        for sprite in sprites
        for _ in range(14)
    ]


def _snow(throw: random.Random, unit: int) -> list[_Drop]:
    sprites = [
        _disc(round(unit * share), strength) for share, strength in ((0.018, 190), (0.011, 170), (0.007, 150))
    ]
    return [
        _Drop(
            throw.random(),
            throw.random(),
            throw.uniform(-0.03, 0.03),
            0.22 - 0.05 * far + throw.random() / 20,
            sprite,
        )
        for far, sprite in enumerate(sprites)
        for _ in range(34)
    ]


def _rain(throw: random.Random, unit: int) -> list[_Drop]:
    sprites = [_streak(round(unit * share), strength) for share, strength in ((0.09, 120), (0.06, 90))]
    return [
        _Drop(throw.random(), throw.random(), -0.12, 1.5 - 0.4 * far + throw.random() / 5, sprite)
        for far, sprite in enumerate(sprites)
        for _ in range(45)
    ]


_MAKERS = {"motes": _motes, "snow": _snow, "rain": _rain}


def _disc(diameter: int, strength: int) -> Image.Image:
    size = diameter * 2
    sprite = Image.new("L", (size, size), 0)
    edge = diameter // 2
    ImageDraw.Draw(sprite).ellipse((edge, edge, size - edge, size - edge), fill=strength)
    return sprite.filter(ImageFilter.GaussianBlur(diameter / 5))


def _streak(length: int, strength: int) -> Image.Image:
    sprite = Image.new("L", (max(3, length // 7), length), 0)
    ImageDraw.Draw(sprite).line((sprite.width - 2, 0, 1, length), fill=strength, width=2)
    return sprite
