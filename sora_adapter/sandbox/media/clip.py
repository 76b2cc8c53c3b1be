"""A recipe to an MP4 file: the one call the rest of the sandbox makes to have a clip."""

from collections.abc import Callable, Iterator
from pathlib import Path

from sora_adapter.sandbox.media.audio import chord
from sora_adapter.sandbox.media.landscape import Landscape
from sora_adapter.sandbox.media.panel import panel_of
from sora_adapter.sandbox.media.planes import Picture
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.media.still import Still
from sora_adapter.sandbox.media.video import FRAMES_PER_SECOND, encode

_FADE_S = 1.0


def render(recipe: Recipe, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Render a clip; raises RenderStoppedError, leaving half a file, once `stopped` says so."""
    encode(path, recipe.size, _frames(recipe), chord(recipe.root, recipe.seconds), stopped)


def _frames(recipe: Recipe) -> Iterator[Picture]:
    """Draw the frames; on a reference image the caption fades in, so that the first is the image itself."""
    scene = Still(recipe, recipe.reference) if recipe.reference else Landscape(recipe)
    panel = panel_of(recipe)
    for number in range(recipe.seconds * FRAMES_PER_SECOND):
        moment_s = number / FRAMES_PER_SECOND
        frame = scene.frame(moment_s)
        if moment_s or not recipe.reference:
            panel.show(frame, moment_s / _FADE_S if recipe.reference else 1.0)
        yield frame
