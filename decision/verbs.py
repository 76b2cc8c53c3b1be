"""Whether words begin with an imperative, which a list of verbs alone cannot tell.

A verb of directing is one. A word that is as often a noun ("light", "dim", "frame") is one where an object or
a particle shows it ("light the candles", "zoom in"). Any other word that is in no closed class is one before
a determiner ("embroider the jacket"), also with a particle between ("lock off the camera").
"""

from collections.abc import Sequence

from decision import lexicon

_ADVERBS = frozenset({"away", "back", "down", "off", "out", "up"})
"""Particles that are no prepositions before a determiner: "lock off the camera", but "a roll to the left"."""


def is_imperative(words: Sequence[str], *, opening: bool = False) -> bool:
    """Tell whether `words` begin with an imperative; at the `opening` of a sentence more may be one."""
    word, following, third = (*words[:3], "", "", "")[:3]
    takes_object = following in lexicon.DETERMINERS
    if word in lexicon.NOUN_LIKE:
        near = opening and (following in lexicon.PREPOSITIONS or word in lexicon.MEASURED)
        return takes_object or following in lexicon.PARTICLES or near
    if word in lexicon.VERBS:
        return True
    through_particle = following in _ADVERBS and third in lexicon.DETERMINERS
    return (takes_object or through_particle) and _could_be_verb(word)


def is_editing(word: str) -> bool:
    """Tell whether `word` is a participle of directing: "while [changing] the wallpaper"."""
    return bool(_stems(word) & lexicon.EDITS)


def is_directing(word: str) -> bool:
    """Tell whether `word` is a participle of what is done to the video: "while [dimming] the lights"."""
    return bool(_stems(word) & lexicon.DIRECTING)


def is_replacing(word: str) -> bool:
    """Tell whether `word` is a participle that puts a thing in the place of another, or takes it away."""
    return bool(_stems(word) & lexicon.REPLACING)


def _stems(word: str) -> frozenset[str]:
    """Return the verbs of which `word` may be the participle, none where it is no participle."""
    stem = word.removesuffix("ing")
    return frozenset({stem, f"{stem}e", stem[:-1]}) if stem != word else frozenset()


def _could_be_verb(word: str) -> bool:
    inflected = word.endswith(("s", "ing", "ly", "ed")) and not word.endswith("ss")
    return word.isalpha() and word not in lexicon.CLOSED and not inflected
