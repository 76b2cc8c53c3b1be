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


def is_colour(word: str) -> bool:
    """Tell whether `word` is about the palette."""
    return _ASPECT_OF.get(word) == "palette"


def _first(words: Iterable[str]) -> str | None:
    return next(filter(None, map(_of, words)), None)


def _of(word: str) -> str | None:
    """Return the aspect of a word, or of the first half of a compound: "voice-over"."""
    return _ASPECT_OF.get(word) or _ASPECT_OF.get(word.partition("-")[0])
