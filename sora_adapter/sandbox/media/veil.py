"""The colours of a prompt, laid over a picture that was there before: what a changed image looks like."""

from PIL import Image

from sora_adapter.sandbox.media.palette import palette_of
from sora_adapter.sandbox.media.planes import Mask, Picture, even
from sora_adapter.sandbox.media.recipe import Recipe

_TINT = 96


class Veil:
    """The palette of a recipe as a tint from above and one from below."""

    def __init__(self, recipe: Recipe) -> None:
        width, height = recipe.size
        palette = palette_of(recipe.prompts)
        self._sky, self._ground = palette.sky, palette.ridges[-1]
        self._foot = (0, height - even(height / 2))
        self._high = _gradient(recipe.size, [_TINT - value // 6 for value in range(256)])
        self._low = _gradient((width, even(height / 2)), [value // 3 for value in range(256)])

    def lay(self, picture: Picture) -> None:
        """Tint a picture of the recipe's size."""
        picture.paint(self._sky, self._high)
        picture.paint(self._ground, self._low, self._foot)


def _gradient(size: tuple[int, int], strengths: list[int]) -> Mask:
    return Mask.of(Image.linear_gradient("L").resize(size).point(strengths))
