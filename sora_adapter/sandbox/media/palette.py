"""Choose the colours of a scene from the prompts.

Rules: a colour that the prompt names is always used, and covers more of the picture than any other. If none
is named, a mood word decides, or else the prompt's hash. A remix that names no colour keeps its parent's
colours, visibly shifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sora_adapter.sandbox.media.colours import (
    BLACK,
    WHITE,
    Colour,
    brightness,
    find_named,
    from_hue,
    mix,
    mood,
)
from sora_adapter.sandbox.media.recipe import dice

_REMIX_SHIFT = 0.3  # shift of a remix that names no colours
_RIDGES = 4
_DARK = 100  # the brightest part of a night sky's colour
_PALE = 200


@dataclass(frozen=True)
class Palette:
    """The colours of a scene by role; `ridges` runs from the farthest to the nearest."""

    sky: Colour
    horizon: Colour
    sun: Colour
    ridges: tuple[Colour, ...]
    accent: Colour

    @property
    def is_night(self) -> bool:
        """Whether the sky is dark enough for stars."""
        return max(self.sky) < _DARK


def palette_of(prompts: Sequence[str]) -> Palette:
    """Return the palette of the last of a chain of prompts (root first)."""
    return _roles(_colours(prompts))


def _colours(prompts: Sequence[str]) -> list[Colour]:
    prompt = prompts[-1]
    own = find_named(prompt) or mood(prompt)
    if own:
        return own
    hashed = _hash_hues(prompt)
    if len(prompts) == 1:
        return hashed
    inherited = _colours(prompts[:-1])
    return [mix(colour, hashed[0], _REMIX_SHIFT) for colour in inherited]


def _hash_hues(prompt: str) -> list[Colour]:
    """Return neighbouring hues, which harmonise wherever the random choice starts."""
    throw = dice("palette", prompt)
    hue, turn = throw.random(), throw.choice((-0.12, -0.08, 0.08, 0.12))
    return [from_hue(hue, 0.52, 0.42), from_hue(hue + turn, 0.72, 0.62), from_hue(hue - turn / 2, 0.3, 0.4)]


def _roles(colours: list[Colour]) -> Palette:
    sky, second = colours[0], colours[1 % len(colours)]
    horizon = _horizon(sky, second)
    body = colours[1:] or [sky]
    ridges = [mix(body[-1 - step % len(body)], BLACK, 0.14 * step) for step in range(_RIDGES)]
    ridges[0] = mix(ridges[0], horizon, 0.35)
    return Palette(sky, horizon, mix(horizon, WHITE, 0.65), tuple(ridges), _choose_liveliest(colours))


def _horizon(sky: Colour, second: Colour) -> Colour:
    """Return a colour that differs visibly from the sky that fades into it."""
    if brightness(second) > _PALE and brightness(sky) > _PALE:
        return mix(second, BLACK, 0.22)
    return mix(second, WHITE, 0.5 if second == sky else 0.2)


def _choose_liveliest(colours: list[Colour]) -> Colour:
    """Return the colour that stands out best on the dark panel."""
    best = max(colours, key=lambda colour: max(colour) - min(colour) + brightness(colour) / 4)
    return mix(best, WHITE, 0.15)
