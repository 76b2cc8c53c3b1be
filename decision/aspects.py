"""Which aspect of a video some words are about."""

from collections.abc import Iterable, Sequence

from decision import lexicon

_ASPECT_OF = {word: aspect for aspect, words in reversed(tuple(lexicon.ASPECTS.items())) for word in words}


def named_aspect(words: Sequence[str]) -> str | None:
    """Return the aspect of the first word that names one, None where none does.

    The verb that directs ("move it …", "turn the …") is no action of somebody in the video.
    """
    directs = set(words[:1]) & (lexicon.VERBS | lexicon.NOUN_LIKE) & lexicon.ASPECTS["action"]
    return _first(words[len(directs) :])


def aspect_of_thing(words: Sequence[str]) -> str | None:
    """Return the aspect a noun phrase is about: its last word's, so "a grey sky" is setting."""
    return _first(reversed(words))


def _first(words: Iterable[str]) -> str | None:
    return next((_ASPECT_OF[word] for word in words if word in _ASPECT_OF), None)
