"""Silhouettes of the ridges of a landscape, chosen by the words of the prompt.

Each outline is a list of points over the width, x in units (the shorter side of the frame) and y from 0 (the
top of the relief) to 1 (its foot). Only the root prompt seeds the random choices, so a remix keeps its
parent's terrain.
"""

import math
import random
import re
from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw

from sora_adapter.sandbox.media.recipe import Size, dice

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
