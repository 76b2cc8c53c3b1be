"""Render a recipe to an MP4 file: the only function of `media` that the sandbox needs for a clip.

A clip that continues another consists of that clip, frame by frame, and a continuation from its last frame:
the camera keeps moving, and colours and captions are cross-faded for a second.
"""

import math
from array import array
from collections.abc import Callable, Iterator
from operator import add
from pathlib import Path

from sora_adapter.sandbox.media.landscape import Landscape
from sora_adapter.sandbox.media.panel import panel_of
from sora_adapter.sandbox.media.planes import Picture
from sora_adapter.sandbox.media.recipe import Recipe, dice
from sora_adapter.sandbox.media.still import Footage, Still, of_reference
from sora_adapter.sandbox.media.video import FRAMES_PER_SECOND, SAMPLES_PER_SECOND, encode

_CHORDS = ((0, 7, 16, 23), (0, 7, 15, 22), (0, 7, 14, 19), (0, 12, 16, 21))
_LOUDNESS = 0.045
_FADE_IN_S = 0.4
_FADE_OUT_S = 0.8


def chord(prompt: str, seconds: int) -> "array[float]":
    """Return `seconds` of mono sound, samples in -1..1."""
    sound = _loop(prompt) * seconds
    rising, falling = (int(SAMPLES_PER_SECOND * fade) for fade in (_FADE_IN_S, _FADE_OUT_S))
    for index in range(rising):
        sound[index] *= index / rising
    for index in range(1, falling + 1):
        sound[-index] *= (index - 1) / falling
    return sound


def _loop(prompt: str) -> "array[float]":
    throw = dice("chord", prompt)
    root = 110 * 2 ** (throw.randrange(8) / 12)
    notes = [round(root * 2 ** (step / 12)) for step in throw.choice(_CHORDS)]
    table = [math.sin(math.tau * index / SAMPLES_PER_SECOND) for index in range(SAMPLES_PER_SECOND)]
    loop = [0.0] * SAMPLES_PER_SECOND
    for rank, note in enumerate(notes):
        for hertz, share in ((note, 1.0), (note + 1, 0.7)):
            loop = list(map(add, loop, _tone(table, hertz, _LOUDNESS * share / (1 + rank * 0.4))))
    return array("f", loop)


def _tone(table: list[float], hertz: int, gain: float) -> list[float]:
    length = len(table)
    return [gain * table[index] for index in (step * hertz % length for step in range(length))]


_FADE_S = 1.0


def render(recipe: Recipe, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Render a clip; raises RenderStoppedError, leaving a partial file, once `stopped` returns True."""
    encode(path, recipe.size, _frames(recipe), chord(recipe.root, recipe.seconds), stopped)


def _frames(recipe: Recipe) -> Iterator[Picture]:
    before: _Shot | None = None
    number = 0
    for act in recipe.acts:
        shot, cut_s = _Shot(act), number / FRAMES_PER_SECOND
        while number < act.seconds * FRAMES_PER_SECOND:
            moment_s = number / FRAMES_PER_SECOND
            picture, share = shot.frame(moment_s), (moment_s - cut_s) / _FADE_S
            yield picture if before is None or share >= 1 else before.frame(moment_s).mixed(picture, share)
            number += 1
        before = shot


class _Shot:
    """The pictures of one act with their caption; uploaded footage has no caption.

    On a reference image the caption fades in, so that the first picture is the image itself.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._scene = _scene(recipe)
        self._panel = panel_of(recipe) if recipe.prompts else None
        self._fades_in = recipe.reference is not None

    def frame(self, moment_s: float) -> Picture:
        picture = self._scene.frame(moment_s)
        if self._panel is not None and (moment_s or not self._fades_in):
            self._panel.show(picture, moment_s / _FADE_S if self._fades_in else 1.0)
        return picture


def _scene(recipe: Recipe) -> Landscape | Still | Footage:
    if recipe.footage is not None:
        return Footage(recipe, recipe.footage)
    return of_reference(recipe, recipe.reference) if recipe.reference is not None else Landscape(recipe)
