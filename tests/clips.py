"""One clip of each size and length for all the videos that the embedded sandbox makes in tests.

It takes a second to render one. The tests that use these look at what is done with a file, not at its
pictures; those in `tests/sora_adapter/sandbox` render.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sora_adapter.sandbox.media.recipe import Recipe

Render = Callable[..., None]


def sharing(folder: Path, render: Render) -> Render:
    """Return a function like `render` whose clips differ in a few bytes; what is the same is in `folder`."""

    def render_once(recipe: "Recipe", path: Path, *is_unwanted: Any) -> None:
        kept = folder / f"{recipe.size[0]}x{recipe.size[1]}-{recipe.seconds}.mp4"
        if not kept.exists():
            render(recipe, path, *is_unwanted)
            part = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(path, part)
            part.replace(kept)
        shutil.copyfile(kept, path)
        with path.open("ab") as clip:  # a box that players skip
            clip.write((40).to_bytes(4) + b"free" + hashlib.sha256(repr(recipe).encode()).digest())

    return render_once
