"""A recipe to an MP4 file: the one call the rest of the sandbox makes to have a clip.

A clip that continues another is that clip, picture by picture, and then goes on where it stood: the camera
keeps its way, and for a second the old colours and words become the new.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from sora_adapter.sandbox.media.audio import chord
from sora_adapter.sandbox.media.footage import Footage
from sora_adapter.sandbox.media.landscape import Landscape
from sora_adapter.sandbox.media.panel import panel_of
from sora_adapter.sandbox.media.planes import Picture
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.media.still import Still, of_reference
from sora_adapter.sandbox.media.video import FRAMES_PER_SECOND, encode

_FADE_S = 1.0


def render(recipe: Recipe, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Render a clip; raises RenderStoppedError, leaving half a file, once `stopped` says so."""
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
    """The pictures of one act with their caption; uploaded footage has none.

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
