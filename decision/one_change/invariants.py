"""Whether words say what stays, or say nothing about the video: thanks, praise, an announcement.

"Keep", "leave", "same" and "unchanged" say that something stays, and so does a change that is not wanted
("do not touch the light", "the camera should not move differently").
"""

from collections.abc import Sequence
from itertools import pairwise, takewhile

from decision.one_change import lexicon

_NOT = frozenset("cannot can't don't must-not mustn't never no not shouldn't won't".split())
_SHORT_REMARK = 4
_RENDERING = frozenset("do play render run shoot".split())
_AGAIN = frozenset("again exactly just more once one over please time".split())


def says_it_stays(words: Sequence[str], *, imperative: bool) -> bool:
    """Return whether `words` begin with what stays; `imperative` if they begin with an imperative."""
    word, following = (*words[:2], "", "")[:2]
    stretch = list(takewhile(lambda other: other not in lexicon.SOFT_STOPS, words))
    if word in lexicon.KEEPING:
        return not set(stretch) & (lexicon.CONTRASTS | lexicon.COMPARATIVES)
    if word in {"leave", "leaving"}:
        return "out" not in stretch
    holds = word == "hold" and following not in lexicon.DETERMINERS  # "hold wardrobe, set and camera"
    if (holds and {",", "and"} & set(words[2:4])) or (
        word in {"stay", "stick"} and following in {"to", "with"}
    ):
        return True
    if word in lexicon.WITHHOLDING:
        return _withholds(stretch)
    changes_nothing = following == "nothing" and (imperative or word in lexicon.EDITING)
    if changes_nothing or _asks_for_the_same(stretch):
        return True
    names = _lists_what_stays(words) or _names_what_stays(words, imperative=imperative)
    return names or _forbids_a_change(stretch)


_LISTING = lexicon.ARTICLES | frozenset({",", "and", "&", "all", "must", "of", "should"})
_STAYING = lexicon.STAYING - lexicon.SAME
_NOT_LISTED = lexicon.CLOSED | lexicon.SOFT_STOPS | lexicon.NOVELTIES | lexicon.VERBS - lexicon.NOUN_LIKE
_LATEST_VERB = 5
_LONGEST_LIST = 16


def _withholds(stretch: Sequence[str]) -> bool:
    """Return whether a change is unwanted: "no changes", "nothing needs to change", "nothing else"."""
    if stretch[0] == "nothing" and {"different", *lexicon.WITHHELD} & set(stretch[1:_LATEST_VERB]):
        return True
    withheld = lexicon.WITHHELD - {"move", "moving"} if stretch[0] == "no" else lexicon.WITHHELD
    return bool(set(stretch[1:3]) & (withheld | lexicon.REST))


def _lists_what_stays(words: Sequence[str]) -> bool:
    """Return whether several things are listed and then said to stay: "light, framing and pace stay put"."""
    named = list(takewhile(lambda word: word not in _STAYING, words[:_LONGEST_LIST]))
    is_list = len(named) < min(len(words), _LONGEST_LIST)
    others = {word for word in named if word not in _LISTING}
    return is_list and bool({"and", "&", ","} & set(named)) and not others & _NOT_LISTED


def _asks_for_the_same(stretch: Sequence[str]) -> bool:
    """Return whether the request is only to render again: "run it once more"."""
    return (
        stretch[:1] != []
        and stretch[0] in _RENDERING
        and stretch[1:2] == ["it"]
        and set(stretch[2:]) <= _AGAIN
    )


_ASKING = lexicon.CONTRASTS | lexicon.MODALS | lexicon.VERBS - {"take"}


def is_remark(words: Sequence[str]) -> bool:
    """Return whether a sentence only thanks, praises or agrees: "great take", "I love the camera move"."""
    first, second, *_ = (*words, "", "")
    if (
        first in lexicon.SPARING
        and set(words) & lexicon.REQUESTED
        and set(words) <= lexicon.REQUESTED | lexicon.SPARING
    ):
        return True
    clause = list(takewhile(lambda word: word not in lexicon.SOFT_STOPS, words))
    if first in {"i", "we"}:
        return second in lexicon.LIKING
    if set(clause) & _ASKING:
        return False
    is_so = (
        bool({"is", "are", "looks", "it's", "that's", "was"} & set(clause)) and clause[-1] in lexicon.PRAISE
    )
    short = len(clause) < _SHORT_REMARK and not (first == "cool" and lexicon.find_aspect(clause))
    return is_so or (short and (first in lexicon.PRAISE or clause[-1:] == ["good"]))


def announces_several(words: Sequence[str]) -> bool:
    """Return whether a list of changes is announced: "two tweaks: …"."""
    opening = list(takewhile(lambda word: word != ":", words))
    counted = any(
        number in lexicon.SEVERAL and noun in lexicon.REQUESTS for number, noun in pairwise(opening)
    )
    return counted and len(opening) < len(words)


def heading(words: Sequence[str]) -> int:
    """Return how many of `words` only say that changes follow: "note from the director: …"."""
    opening = list(takewhile(lambda word: word != ":", words))
    ends = len(opening) < min(len(words), _LONGEST_HEADING)
    counts = bool(set(opening) & lexicon.SEVERAL)
    says_so = bool(set(opening[1:] or opening) & (lexicon.HEADINGS | lexicon.REQUESTS)) and not counts
    says_so |= opening[:1] != [] and opening[0] in lexicon.HEADINGS - lexicon.EDITING and not counts
    return len(opening) + 1 if ends and says_so else 0


_LONGEST_HEADING = 6


def _names_what_stays(words: Sequence[str], *, imperative: bool) -> bool:
    opening = list(takewhile(lambda word: word not in {",", "but", "while", "except"}, words))
    if opening[0] in lexicon.REST or opening[:2] in (["the", "rest"], ["all", "else"]):
        return True
    if lexicon.SAME & set(opening[:3]):
        return True
    if _is_as_before(opening):
        return True
    holds = not imperative or opening[0] == "hold"
    shared = "of the same" in " ".join(opening)  # as each other, not as before
    return holds and not shared and bool(lexicon.STAYING & set(opening))


def _is_as_before(opening: Sequence[str]) -> bool:
    """Return whether something is unchanged: "as before", "as it is"; not "as it gets dark"."""
    return any(
        word == "as"
        and following in lexicon.AS_BEFORE
        and (following not in {"it", "they"} or verb in lexicon.AS_IT)
        for word, following, verb in zip(opening, opening[1:], [*opening[2:], ""], strict=False)
    )


def _forbids_a_change(stretch: Sequence[str]) -> bool:
    """Return whether a statement denies a change: "the camera should not move differently"."""
    return any(
        word in _NOT and index > 0 and following in lexicon.WITHHELD
        for index, (word, following) in enumerate(pairwise(stretch))
    )
