"""The complete input of a clip.

Rule: the same recipe produces the same bytes, so a recipe contains no id, no time and no path. Every random
choice of the other modules comes from `dice`, which is seeded by text alone.
"""

import hashlib
import random
from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class Recipe:
    """One clip; `size` is (width, height), `prompts` runs from the root prompt to its own.

    `seconds` is the length of the whole clip, and `before` the recipe of the clip it continues. Without
    prompts it is the `footage` as uploaded.
    """

    model: str
    size: Size
    seconds: int
    prompts: tuple[str, ...]
    reference: bytes | None = None
    footage: bytes | None = None
    before: "Recipe | None" = None
    cast: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The prompt that defines the scene; all remixes derived from it keep its layout and motion."""
        return self.prompts[0]

    @property
    def prompt(self) -> str:
        """The clip's own prompt, for its caption, palette and weather."""
        return self.prompts[-1]

    @property
    def parent(self) -> str | None:
        """The prompt of the clip that this one changes or continues, if any."""
        return self.prompts[-2] if len(self.prompts) > 1 else None

    @property
    def is_continuation(self) -> bool:
        """Whether its prompt describes a continuation (and not a change of the whole clip)."""
        return self.before is not None and self.before.prompts == self.prompts[:-1]

    @property
    def acts(self) -> "tuple[Recipe, ...]":
        """The clips it is composed of, in order; the last is this one."""
        return (*self.before.acts, self) if self.before is not None else (self,)


def dice(*parts: str) -> random.Random:
    """Return a random generator that is deterministic for a text, on every machine and run."""
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - scenery, not secrets
