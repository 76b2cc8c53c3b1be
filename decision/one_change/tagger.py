"""Find the words of each change in a text, with a linear-chain model over its words.

Each word begins a change, continues one, or is outside of all. How many changes there are is known from the
verdict; the model only says where they most probably are.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from decision.one_change.features import hashed, shape_of, tokens
from decision.one_change.model import load_model

BITS = 16
BEGINS, CONTINUES, OUTSIDE = range(3)
TAGS = "BIO"
MOST_TOKENS = 2_000
"""Longer texts are not searched: their changes are not located."""

_FULL = 2
"""Two changes or more count alike."""
_NONE = -math.inf
_STOPS = frozenset(",;.:!?\u3002\u3001\uff0c\uff1b\uff1a\uff01\uff1f\u2026")
_FARTHEST = 6


class Place(NamedTuple):
    """The part of a text that states one change, in code points; `end` is exclusive."""

    start: int
    end: int


def locate(text: str, *, several: bool) -> tuple[Place, ...]:
    """Return where the changes of `text` most probably are: one, or two and more if `several`."""
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
        named = [f"w{step}={_at(lower, index + step)}" for step in (-2, -1, 0, 1, 2)]
        named += [f"s{step}={_at(shapes, index + step)}" for step in (-2, -1, 0, 1, 2)]
        named += [
            f"p{step}={_at(lower, index + step)} {_at(lower, index + step + 1)}" for step in (-2, -1, 0)
        ]
        named += [f"e{step}={_at(lower, index + step)[-3:]}" for step in (-1, 0, 1)]
        named += [f"t={_at(lower, index - 1)} {lower[index]} {_at(lower, index + 1)}"]
        named += [f"n={min(since, _FARTHEST)}", f"u={word[:1].isupper()}", f"f={index == 0}"]
        yield [hashed(feature, BITS) for feature in named]
        since = 0 if lower[index] in _STOPS else since + 1


def _at(values: Sequence[str], index: int) -> str:
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
