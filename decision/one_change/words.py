"""The word lists in ``words.toml``: stems that name an aspect, and small words that tell a language."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def load_words() -> Mapping[str, Mapping[str, str]]:
    """Return the lists by section and name, each as one text; read once per process."""
    path = Path(__file__).with_name("words.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))
