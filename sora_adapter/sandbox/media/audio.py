"""A soft chord for every prompt.

Its notes are whole numbers of hertz, so one second of it is a loop, and a clip of any length costs the
same. Each note has a twin one hertz away; the two beat against each other, which is what keeps the chord
from standing still.
"""

import math
from array import array
from operator import add

from sora_adapter.sandbox.media.recipe import dice
from sora_adapter.sandbox.media.video import SAMPLES_PER_SECOND

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
