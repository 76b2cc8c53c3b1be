"""The trained weights of the one-change rule: whole numbers in the file ``one_change.model``.

`tools/train_one_change.py` writes the file. Reading it needs nothing but the standard library.
"""

import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("one_change.model")


class Model(NamedTuple):
    """The weights of the classifier and of the tagger.

    `levels` says how frequent words are; `weights` has a weight per feature of a text, and `scale` and
    `intercept` turn their sum into the logarithm of the odds for several changes. `tags` has three weights
    per feature of a word, and `transitions` one for each pair of tags.
    """

    levels: Mapping[str, int]
    weights: memoryview
    scale: float
    intercept: float
    tags: memoryview
    transitions: tuple[tuple[int, ...], ...]


@cache
def load_model() -> Model:
    """Return the model in the package, read once per process."""
    header, _, content = zlib.decompress(FILE.read_bytes()).partition(b"\n")
    values = json.loads(header)
    numbers = memoryview(content).cast("b")
    size = values["weights"]
    return Model(
        levels=values["levels"],
        weights=numbers[:size],
        scale=values["scale"],
        intercept=values["intercept"],
        tags=numbers[size:],
        transitions=tuple(tuple(row) for row in values["transitions"]),
    )
