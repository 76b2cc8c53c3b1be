"""Particles in the picture: motes of light, or the snow or rain that the prompt mentions.

They are drawn on luma alone, which takes a third of the time and looks like light.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from sora_adapter.sandbox.media.planes import Picture
from sora_adapter.sandbox.media.recipe import Size, dice

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
