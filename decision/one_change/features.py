"""The linear models of the one-change rule: one tells one change from several, one finds their words.

Three views of the text, each a set of hashed n-grams: its letters, its words, and its skeleton, which keeps
only frequent words and punctuation and replaces every other word with the aspect it names, or with ``x``. The
skeleton generalises to words that were never seen in training.

The classifier was trained on requests in seven languages, and needs no connection: equal texts score equally
on every machine. The tagger is a linear chain over the words of a text: each begins a change, continues one,
or is outside. The verdict gives the number of changes; the tagger only says where they probably are.
"""

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from decision.one_change.lexicon import ASPECTS
from decision.one_change.words import load_words

FILE = Path(__file__).with_name("one_change.model")


class Model(NamedTuple):
    """The weights of the classifier and of the tagger.

    `levels` says how frequent words are; `weights` has a weight per feature of a text, and `scale` and
    `intercept` turn their sum into the log odds of several changes. `tags` has three weights per feature of a
    word, and `transitions` one for each pair of tags.
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
"""How frequent a word is: 3 for the most frequent, 2, 1; others are absent."""


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
    return tuple(frozenset(hash_feature(feature, BITS) for feature in view) for view in views)


def hash_feature(feature: str, bits: int) -> int:
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


def find_aspect_by_stem(text: str) -> str | None:
    """Return the first aspect named by a text in a language other than English; None if it names none."""
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
    """Yield pairs of frequent words and punctuation at a small distance."""
    frequent = [word for word in informative if word not in _RUNS]
    for start, first in enumerate(frequent):
        for second in frequent[start + 1 : start + 1 + _AHEAD]:
            yield f"g{first}_{second}"


def odds_of_several(text: str) -> float:
    """Return the log odds that `text` asks for several changes; 0 is undecided."""
    model = load_model()
    weights = model.weights
    total = sum(
        sum(weights[feature] for feature in view) / math.sqrt(len(view) + 1)
        for view in blocks(text, model.levels)
    )
    return total * model.scale + model.intercept


TAG_BITS = 16
BEGINS, CONTINUES, OUTSIDE = range(3)
TAGS = "BIO"
MOST_TOKENS = 2_000
"""Longer texts are not searched: their changes are not located."""

_FULL = 2
"""Two changes or more count the same."""
_NONE = -math.inf
_STOPS = frozenset(",;.:!?\u3002\u3001\uff0c\uff1b\uff1a\uff01\uff1f\u2026")
_FARTHEST = 6


class Place(NamedTuple):
    """The part of a text that states one change, in code points; `end` is exclusive."""

    start: int
    end: int


def locate(text: str, *, several: bool) -> tuple[Place, ...]:
    """Return the most probable places of the changes in `text`: one, or two and more if `several`."""
    found = tokens(text)
    if not found or len(found) > MOST_TOKENS or (several and len(found) < _FULL):
        return ()
    tags = _best_tags([match[0] for match in found], _FULL if several else 1)
    begins = [index for index, tag in enumerate(tags) if tag == BEGINS]
    places = []
    for begin, following in zip(begins, [*begins[1:], len(tags)], strict=True):
        last = begin
        while last + 1 < following and tags[last + 1] == CONTINUES:
            last += 1
        places.append(Place(found[begin].start(), found[last].end()))
    return tuple(places)


def token_features(words: Sequence[str]) -> Iterator[list[int]]:
    """Yield the hashed features of each word: itself, its neighbours, and their shapes."""
    lower = [word.lower() for word in words]
    shapes = [shape_of(word) for word in lower]
    since = 0
    for index, word in enumerate(words):
        named = [f"w{step}={_value_at(lower, index + step)}" for step in (-2, -1, 0, 1, 2)]
        named += [f"s{step}={_value_at(shapes, index + step)}" for step in (-2, -1, 0, 1, 2)]
        named += [
            f"p{step}={_value_at(lower, index + step)} {_value_at(lower, index + step + 1)}"
            for step in (-2, -1, 0)
        ]
        named += [f"e{step}={_value_at(lower, index + step)[-3:]}" for step in (-1, 0, 1)]
        named += [f"t={_value_at(lower, index - 1)} {lower[index]} {_value_at(lower, index + 1)}"]
        named += [f"n={min(since, _FARTHEST)}", f"u={word[:1].isupper()}", f"f={index == 0}"]
        yield [hash_feature(feature, TAG_BITS) for feature in named]
        since = 0 if lower[index] in _STOPS else since + 1


def _value_at(values: Sequence[str], index: int) -> str:
    if index < 0:
        return "<"
    return values[index] if index < len(values) else ">"


def _best_tags(words: Sequence[str], changes: int) -> list[int]:
    """Return the most probable tags with exactly one change, or with two or more (Viterbi's algorithm)."""
    model = load_model()
    steps: list[dict[tuple[int, int], tuple[int, int]]] = []
    scores: dict[tuple[int, int], float] = {}
    for features in token_features(words):
        own = [sum(model.tags[3 * feature + tag] for feature in features) for tag in range(3)]
        if not scores:
            scores = {(BEGINS, 1): own[BEGINS], (OUTSIDE, 0): own[OUTSIDE]}
            steps.append({})
            continue
        best: dict[tuple[int, int], float] = {}
        back: dict[tuple[int, int], tuple[int, int]] = {}
        for (before, count), score in scores.items():
            for tag in range(3):
                number = min(count + (tag == BEGINS), _FULL)
                if (tag == CONTINUES and before == OUTSIDE) or (changes == 1 and number > 1):
                    continue
                total = score + model.transitions[before][tag] + own[tag]
                if total > best.get((tag, number), _NONE):
                    best[tag, number], back[tag, number] = total, (before, count)
        scores = best
        steps.append(back)
    ends = [state for state in scores if state[1] == changes]
    if not ends:
        return [OUTSIDE] * len(words)
    state = max(ends, key=lambda end: (scores[end], end))
    tags = [state[0]]
    for back in reversed(steps[1:]):
        state = back[state]
        tags.append(state[0])
    return tags[::-1]
