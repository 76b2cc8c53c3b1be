"""Features of a text by which the classifier tells one change from several.

Three views of the text, each a set of hashed n-grams: its letters, its words, and its skeleton, in which only
frequent words and punctuation remain and every other word is replaced by the aspect it names, or by ``x``.
The skeleton is what carries over to words that were never seen in training.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from decision.one_change.aspects import ASPECTS
from decision.one_change.words import load_words

BITS = 20
"""A feature is one of ``2 ** BITS`` numbers."""

_IDEOGRAPHS = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
_TOKEN = re.compile(rf"[{_IDEOGRAPHS}]|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d+(?:[.,:]\d+)*|\S")
_IDEOGRAPH = re.compile(rf"[{_IDEOGRAPHS}]")
_RUNS = frozenset({"x", "han", "hira", "kata"})
_LETTERS, _WORDS, _SKELETON, _COARSE = 5, 3, 5, 6
_AHEAD = 6
_SHORTEST_STEM = 3

Levels = Mapping[str, int]
"""How frequent a word is: 3 for the most frequent, 2, 1; others are not in it."""


def tokens(text: str) -> list[re.Match[str]]:
    """Return the words, numbers and other characters of `text`; each Chinese or Japanese letter is one."""
    return list(_TOKEN.finditer(text))


def blocks(text: str, levels: Levels) -> tuple[frozenset[int], ...]:
    """Return the hashed features of `text`, by view; equal texts have equal features on every machine."""
    words = [match[0].lower() for match in tokens(text)]
    shapes = [shape_of(word) for word in words]
    views = (
        _letters(text.lower()),
        _grams("w", words, _WORDS),
        _grams("s", skeleton(words, shapes, levels, least=1), _SKELETON),
        _grams("S", skeleton(words, shapes, levels, least=3), _COARSE),
        _pairs([_frequent(word, shape, levels, least=2) for word, shape in zip(words, shapes, strict=True)]),
    )
    return tuple(frozenset(hashed(feature, BITS) for feature in view) for view in views)


def hashed(feature: str, bits: int) -> int:
    """Return the number of a feature, below ``2 ** bits``."""
    return zlib.crc32(feature.encode("utf-8", "surrogatepass")) >> (32 - bits)


def skeleton(words: Sequence[str], shapes: Sequence[str], levels: Levels, *, least: int) -> list[str]:
    """Return `words` with those below the level `least` replaced by their shapes, runs of one as one."""
    informative = [_frequent(word, shape, levels, least) for word, shape in zip(words, shapes, strict=True)]
    joined = [one for one, other in pairwise([*informative, ""]) if one != other or one not in _RUNS]
    return ["<", *joined, ">"]


def _frequent(word: str, shape: str, levels: Levels, least: int) -> str:
    return word if levels.get(word, 0) >= least else shape


@lru_cache(maxsize=8192)
def shape_of(word: str) -> str:
    """Return a word's placeholder in the skeleton: its aspect, its kind of letters, or the word itself."""
    first = word[0]
    if _IDEOGRAPH.match(first):
        return "hira" if "\u3040" <= first <= "\u309f" else "kata" if "\u30a0" <= first <= "\u30ff" else "han"
    if first.isalpha():
        return _aspect(word) or "x"
    return "9" if first.isdigit() else word


def _aspect(word: str) -> str | None:
    """Return the aspect that a word names: an English word, or one that begins with a known stem."""
    named = _ENGLISH.get(word)
    if named is not None:
        return named
    stems = (word[:end] for end in range(len(word), _SHORTEST_STEM - 1, -1))
    return next((_STEMS[stem] for stem in stems if stem in _STEMS), None)


_ENGLISH = {word: aspect for aspect, words in reversed(tuple(ASPECTS.items())) for word in words}
_STEMS = {
    stem: aspect for aspect, stems in reversed(tuple(load_words()["stems"].items())) for stem in stems.split()
}


def named_by_stem(text: str) -> str | None:
    """Return the aspect that a text in another language than English names first; None if it names none."""
    words = (word.group().lower() for word in _TOKEN.finditer(text))
    named = next((aspect for word in words if (aspect := _aspect(word))), None)
    if named is not None:
        return named
    stems = [(text.find(stem), -len(stem), aspect) for stem, aspect in _ANYWHERE.items() if stem in text]
    return min(stems)[2] if stems else None


_ANYWHERE = {stem: aspect for stem, aspect in _STEMS.items() if _IDEOGRAPH.match(stem)}


def _letters(text: str) -> Iterator[str]:
    for word in text.split():
        padded = f" {word} "
        for size in range(1, _LETTERS + 1):
            for start in range(len(padded) - size + 1):
                yield f"c{padded[start : start + size]}"


def _grams(view: str, words: Sequence[str], longest: int) -> Iterator[str]:
    for size in range(1, longest + 1):
        for start in range(len(words) - size + 1):
            yield f"{view}{' '.join(words[start : start + size])}"


def _pairs(informative: Sequence[str]) -> Iterator[str]:
    """Yield pairs of frequent words and punctuation that follow each other at a small distance."""
    frequent = [word for word in informative if word not in _RUNS]
    for start, first in enumerate(frequent):
        for second in frequent[start + 1 : start + 1 + _AHEAD]:
            yield f"g{first}_{second}"
