"""Texts that cannot be told, which is said rather than guessed.

A text in another language or in none; a change that does not say what ("make it better"); a choice that is
left to the renderer ("either … or …").
"""

from collections.abc import Sequence

from decision.one_change import lexicon
from decision.one_change.aspects import aspect_of_thing, named_aspect
from decision.one_change.grammar import is_imperative

_KNOWN = (
    lexicon.CLOSED
    | lexicon.VERBS
    | lexicon.NOUN_LIKE
    | lexicon.SOFT_STOPS
    | lexicon.FILLERS
    | lexicon.NOVELTIES
    | lexicon.COMPARATIVES
    | lexicon.KEEPING
    | lexicon.STAYING
    | lexicon.STATES
    | lexicon.GRADABLE
    | lexicon.THINGS
    | lexicon.PRAISE
    | lexicon.REQUESTS
)
_ENGLISH_ENDINGS = ("ed", "ing", "ly")
_LEAST_KNOWN_PERCENT = 25


def is_unreadable(words: Sequence[str]) -> bool:
    """Return whether `words`, all of a text, are not English as far as it is known here."""
    spoken = [word for word in words if word[:1].isalpha()]
    if not spoken or "->" in words:
        return False
    foreign = sum(word in lexicon.FOREIGN for word in spoken)
    closed = sum(word in lexicon.CLOSED for word in spoken)
    known = sum(
        word in _KNOWN
        or lexicon.is_comparative(word)
        or word.endswith(_ENGLISH_ENDINGS)
        or named_aspect([word]) is not None
        for word in spoken
    )
    return foreign > closed or known * 100 < _LEAST_KNOWN_PERCENT * len(spoken)


def says_nothing(words: Sequence[str]) -> bool:
    """Return whether the words of a change do not say what is to change."""
    return all(word in lexicon.EMPTY or word in lexicon.SOFT_STOPS for word in words)


def leaves_a_choice(words: Sequence[str]) -> bool:
    """Return whether `words` ask for one of several changes, without saying which."""
    joints = [index for index, word in enumerate(words) if word == "or"]
    if "either" in words or any(is_imperative(words[index + 1 :]) for index in joints):
        return True
    sides = [(aspect_of_thing(words[:index]), named_aspect(words[index + 1 :])) for index in joints]
    return any(None not in pair and pair[0] != pair[1] for pair in sides)
