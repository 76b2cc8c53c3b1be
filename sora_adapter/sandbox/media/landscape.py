"""The scene of a clip without a reference image: a sky and ridges that slide past each other.

Everything is drawn once, larger than the frame; each frame is cropped from it. The camera sways from side to
side, so a clip may have any length. Layout and motion come from the root prompt, colours and weather from the
clip's own prompt.

The outlines of the ridges are chosen by the words of the prompt. Each is a list of points over the width, x
in units (the shorter side of the frame) and y from 0 (the top of the relief) to 1 (its foot). Only the root
prompt seeds the random choices, so a remix keeps its parent's terrain.
"""

import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from sora_adapter.sandbox.media.colours import WHITE, Colour, mix
from sora_adapter.sandbox.media.palette import Palette, palette_of
from sora_adapter.sandbox.media.planes import Mask, Picture, Weather, plane_values, round_to_even
from sora_adapter.sandbox.media.recipe import Recipe, Size, dice

Point = tuple[float, float]
Outline = Callable[[random.Random, float], Iterator[Point]]

_OVERSAMPLING = 2
_ANTENNAS = 0.3


def kind_of(prompt: str) -> str:
    """Return the kind of terrain that the prompt mentions, or a random one."""
    chosen = dice("ground", prompt).choice(("hills", "peaks", "waves"))
    words = set(re.findall(r"[a-z]+", prompt.lower()))
    return next((kind for kind, cues in _CUES.items() if words & cues), chosen)


def silhouette(kind: str, throw: random.Random, size: Size, relief: int, unit: int) -> Image.Image:
    """Draw one ridge as a mask: opaque below an outline within the topmost `relief` pixels."""
    width, height = (side * _OVERSAMPLING for side in size)
    scale = unit * _OVERSAMPLING
    points = [(x * scale, y * relief * _OVERSAMPLING) for x, y in _OUTLINES[kind](throw, width / scale)]
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).polygon([(0, height), (0, points[0][1]), *points, (width, height)], fill=255)
    return mask.reduce(_OVERSAMPLING)


def _hills(throw: random.Random, width: float) -> Iterator[Point]:
    waves = [(throw.uniform(*pitch), throw.uniform(0, math.tau), gain) for pitch, gain in _HILL_WAVES]
    for step in range(math.ceil(width * 50) + 1):
        x = step / 50
        yield x, 0.5 + sum(gain * math.sin(math.tau * pitch * x + phase) for pitch, phase, gain in waves)


_HILL_WAVES = (((0.35, 0.6), 0.3), ((0.9, 1.3), 0.14), ((2.2, 3.1), 0.05))


def _peaks(throw: random.Random, width: float) -> Iterator[Point]:
    x, y, rising = -0.1, 0.8, True
    while x < width + 0.3:
        far, to = (
            throw.uniform(0.12, 0.32),
            throw.uniform(0.02, 0.35) if rising else throw.uniform(0.55, 0.95),
        )
        for part in range(6):
            jag = throw.uniform(-0.05, 0.05) if part else 0
            yield x + far * part / 6, y + (to - y) * part / 6 + jag
        x, y, rising = x + far, to, not rising


def _waves(throw: random.Random, width: float) -> Iterator[Point]:
    pitch, phase, slow = throw.uniform(4.5, 6.5), throw.uniform(0, math.pi), throw.uniform(0.3, 0.6)
    for step in range(math.ceil(width * 120) + 1):
        x = step / 120
        hollow = abs(math.sin(math.pi * pitch * x + phase))
        yield x, 0.6 + 0.16 * hollow + 0.22 * math.sin(math.tau * slow * x + phase)


def _city(throw: random.Random, width: float) -> Iterator[Point]:
    x = -0.05
    while x < width + 0.1:
        wide, top = throw.uniform(0.05, 0.14), throw.uniform(0.05, 0.85) ** 0.8
        yield x, top
        if throw.random() < _ANTENNAS:
            middle = x + wide / 2
            yield from ((middle, top), (middle, max(0.0, top - 0.2)), (middle + 0.006, top))
        yield x + wide, top
        x += wide


def _trees(throw: random.Random, width: float) -> Iterator[Point]:
    x, phase = -0.05, throw.uniform(0, math.tau)
    while x < width + 0.1:
        ground = 0.85 + 0.12 * math.sin(1.7 * x + phase)
        wide, tall = throw.uniform(0.03, 0.07), throw.uniform(0.25, 0.8)
        yield x, ground
        for share in (0.35, 0.7):
            yield x + wide * (0.1 + share * 0.4), ground - tall * share
            yield x + wide * (share * 0.4), ground - tall * share + 0.04
        yield x + wide / 2, ground - tall
        for share in (0.7, 0.35):
            yield x + wide * (1 - share * 0.4), ground - tall * share + 0.04
            yield x + wide * (0.9 - share * 0.4), ground - tall * share
        yield x + wide, ground
        x += wide


_OUTLINES: dict[str, Outline] = {
    "hills": _hills,
    "peaks": _peaks,
    "waves": _waves,
    "city": _city,
    "trees": _trees,
}

_CUES = {
    "city": {
        "city",
        "street",
        "skyline",
        "tokyo",
        "rooftop",
        "rooftops",
        "downtown",
        "urban",
        "skyscraper",
        "town",
    },
    "waves": {
        "sea",
        "ocean",
        "wave",
        "waves",
        "water",
        "beach",
        "lake",
        "river",
        "boat",
        "surf",
        "sailboat",
        "ship",
    },
    "trees": {
        "forest",
        "tree",
        "trees",
        "wood",
        "woods",
        "pine",
        "pines",
        "jungle",
        "fox",
        "bear",
        "owl",
        "deer",
    },
    "peaks": {
        "mountain",
        "mountains",
        "peak",
        "peaks",
        "alps",
        "cliff",
        "cliffs",
        "volcano",
        "canyon",
        "glacier",
    },
    "hills": {
        "hill",
        "hills",
        "desert",
        "dune",
        "dunes",
        "field",
        "fields",
        "meadow",
        "valley",
        "prairie",
        "road",
    },
}


_SWAY_S = 11.0
_FIRST_RIDGE = 0.36
_RIDGE_STEP = 0.13
_SKY_REACH = 0.03  # share of the frame's width; nearer ridges reach farther
_RIDGE_REACH = 0.11
_STARS = 160
_CLOUDS = 9
_LIT_WINDOWS = 0.12


class Landscape:
    """The moving picture of a recipe, without its caption."""

    def __init__(self, recipe: Recipe) -> None:
        self._size = recipe.size
        self._weather = Weather(recipe.prompts, recipe.size)
        self._layers = list(_layers(recipe))

    def frame(self, moment_s: float) -> Picture:
        """Draw the picture at `moment_s` from the start."""
        sway = math.sin(math.tau * moment_s / _SWAY_S)
        sky, *ridges = self._layers
        picture = sky.picture.crop(sky.left(sway), self._size[0])
        for ridge in ridges:
            left, width = ridge.left(sway), self._size[0]
            visible = ridge.picture.crop(left, width)
            picture.lay(visible, ridge.mask.crop(left, width), (0, ridge.top + ridge.lift(moment_s)))
        self._weather.fall(picture, moment_s)
        return picture


@dataclass(frozen=True)
class _Layer:
    """A strip wider than the frame by twice its reach; `swell` is its vertical movement in pixels."""

    picture: Picture
    mask: Mask
    top: int
    reach: int
    swell: int
    phase: float

    def left(self, sway: float) -> int:
        return round(self.reach * (1 + sway))

    def lift(self, moment_s: float) -> int:
        return round(self.swell * math.sin(math.tau * moment_s / 4 + self.phase))


def _layers(recipe: Recipe) -> list[_Layer]:
    """Draw the sky and then the ridges, the farthest first."""
    palette, kind = palette_of(recipe.prompts), kind_of(recipe.root)
    ridges = [_ridge(kind, step, palette, recipe) for step in range(len(palette.ridges))]
    return [_sky(palette, recipe), *ridges]


def _ridge(kind: str, step: int, palette: Palette, recipe: Recipe) -> _Layer:
    """Draw one ridge, down to where the next one covers it."""
    width, height = recipe.size
    unit, throw = min(recipe.size), dice("ridge", str(step), recipe.root)
    relief, swell = (
        round_to_even(unit * (0.2 - 0.01 * step)),
        round_to_even(unit * 0.012) if kind == "waves" else 0,
    )
    is_last = step == len(palette.ridges) - 1
    top, reach = (
        round_to_even(height * (_FIRST_RIDGE + _RIDGE_STEP * step)),
        round_to_even(width * _RIDGE_REACH * (step + 1)),
    )
    depth = height - top + swell if is_last else round_to_even(height * _RIDGE_STEP) + relief + 2 * swell
    strip = (width + 2 * reach, depth)
    colour = palette.ridges[step]
    picture = Picture.gradient(strip, [(0, colour), (0.35, colour), (1, mix(colour, palette.horizon, 0.3))])
    if kind == "city":
        _light_windows(picture, palette.sun, throw, unit)
    mask = Mask.convert(silhouette(kind, throw, strip, relief, unit))
    return _Layer(picture, mask, top, reach, swell, throw.uniform(0, math.tau))


def _sky(palette: Palette, recipe: Recipe) -> _Layer:
    width, height = recipe.size
    reach, unit = round_to_even(width * _SKY_REACH), min(recipe.size)
    strip = (width + 2 * reach, height)
    stops = [(0, palette.sky), (0.16, palette.sky), (0.62, palette.horizon), (1, palette.horizon)]
    picture = Picture.gradient(strip, stops)
    if palette.is_night:
        _sow_stars(picture, dice("stars", recipe.root))
    _hang_sun(picture, palette.sun, dice("sun", recipe.root), unit)
    _hang_clouds(picture, palette.sky, dice("clouds", recipe.root), unit)
    return _Layer(picture, Mask.convert(Image.new("L", (2, 2))), 0, reach, 0, 0.0)


def _hang_sun(picture: Picture, colour: Colour, throw: random.Random, unit: int) -> None:
    width, height = picture.y.size
    x, y, radius = (
        width * throw.uniform(0.18, 0.82),
        height * throw.uniform(0.16, 0.3),
        unit * throw.uniform(0.07, 0.1),
    )
    glow = round_to_even(radius * 8)
    halo = (
        Image.radial_gradient("L").point([max(0, 150 - value) for value in range(256)]).resize((glow, glow))
    )
    picture.paint(colour, Mask.convert(halo), (round_to_even(x) - glow // 2, round_to_even(y) - glow // 2))
    side = round_to_even(radius * 2) + 4
    disc = Image.new("L", (side * 2, side * 2), 0)
    ImageDraw.Draw(disc).ellipse((8, 8, side * 2 - 8, side * 2 - 8), fill=255)
    picture.paint(
        mix(colour, WHITE, 0.4),
        Mask.convert(disc.reduce(2)),
        (round_to_even(x) - side // 2, round_to_even(y) - side // 2),
    )


def _hang_clouds(picture: Picture, colour: Colour, throw: random.Random, unit: int) -> None:
    """Draw small clouds, blur them and enlarge them: soft edges at low cost."""
    width, height = picture.y.size
    small = Image.new("L", (width // 8, height // 16), 0)
    draw = ImageDraw.Draw(small)
    for _ in range(_CLOUDS):
        x, y = throw.uniform(-0.05, 1) * small.width, throw.uniform(0.1, 0.75) * small.height
        for _ in range(5):
            long, thick = throw.uniform(0.06, 0.22) * unit / 8, throw.uniform(0.006, 0.022) * unit / 8
            at_x, at_y = x + throw.uniform(-0.12, 0.12) * unit / 8, y + throw.uniform(-0.02, 0.02) * unit / 8
            draw.ellipse((at_x - long, at_y - thick, at_x + long, at_y + thick), fill=throw.randint(60, 120))
    soft = small.filter(ImageFilter.GaussianBlur(1.2)).resize(
        (width, round_to_even(height / 2)), Image.Resampling.BICUBIC
    )
    picture.paint(mix(colour, WHITE, 0.55), Mask.convert(soft))


def _sow_stars(picture: Picture, throw: random.Random) -> None:
    width, height = picture.y.size
    draw = ImageDraw.Draw(picture.y)
    for _ in range(_STARS):
        x, y, size = (
            throw.uniform(0, width),
            throw.uniform(0, 0.5) ** 1.3 * height,
            throw.choice((0, 1, 1, 2)),
        )
        draw.ellipse((x, y, x + size, y + size), fill=throw.randint(120, 230))


def _light_windows(picture: Picture, colour: Colour, throw: random.Random, unit: int) -> None:
    """Light some windows of a grid; the mask hides those above the roofs."""
    width, height = picture.y.size
    pitch, wide, tall = round_to_even(unit * 0.022), round_to_even(unit * 0.008), round_to_even(unit * 0.011)
    values = plane_values(colour)
    draws = [ImageDraw.Draw(plane) for plane in (picture.y, picture.u, picture.v)]
    for y in range(pitch, height, pitch):
        for x in range(pitch, width, pitch):
            if throw.random() < _LIT_WINDOWS:
                for draw, value, scale in zip(draws, values, (1, 2, 2), strict=True):
                    box = (x // scale, y // scale, (x + wide) // scale - 1, (y + tall) // scale - 1)
                    draw.rectangle(box, fill=value)
