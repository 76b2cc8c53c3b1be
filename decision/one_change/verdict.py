"""Exactly one change against the parent: the verdict on a remix prompt.

Three readers judge a text. The grammar cuts an English text into clauses (`decision.one_change.clauses`):
those that say what stays are not changes, leftovers elaborate the previous change, and the rest is counted.
The classifier (`decision.one_change.features`) was trained on requests in seven languages, and so was a small
network (`decision.one_change.network`), which knows more about the meaning of words. The odds of all three
are added; if the sum is not clear, the text is ``ambiguous``. Languages other than English are read without
the grammar; unsupported ones are ``ambiguous`` by name.

Deterministic, without calls to anything else. It does not guess about a change that does not say what ("make
it better"), or about a choice left to the renderer ("either … or …").
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from decision.one_change import lexicon
from decision.one_change.clauses import Clause, clauses
from decision.one_change.features import find_aspect_by_stem, locate, odds_of_several, tokens
from decision.one_change.grammar import Role, is_imperative
from decision.one_change.network import odds_by_network
from decision.one_change.shot_spec import find_changed_key
from decision.one_change.tokenizer import Lead
from decision.one_change.words import READ, language_of
from decision.request.prompt import LABELS
from ledger.events import Change

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
    """Return whether `words`, an entire text, are not English as far as this module can tell."""
    spoken = [word for word in words if word[:1].isalpha()]
    if not spoken or "->" in words:
        return False
    foreign = sum(word in lexicon.FOREIGN for word in spoken)
    closed = sum(word in lexicon.CLOSED for word in spoken)
    known = sum(
        word in _KNOWN
        or lexicon.is_comparative(word)
        or word.endswith(_ENGLISH_ENDINGS)
        or lexicon.find_aspect([word]) is not None
        for word in spoken
    )
    return foreign > closed or known * 100 < _LEAST_KNOWN_PERCENT * len(spoken)


def says_nothing(words: Sequence[str]) -> bool:
    """Return whether the words of a change do not say what is to change."""
    return all(word in lexicon.EMPTY or word in lexicon.SOFT_STOPS for word in words)


def leaves_a_choice(words: Sequence[str]) -> bool:
    """Return whether `words` ask for one of several changes without saying which."""
    joints = [index for index, word in enumerate(words) if word == "or"]
    if "either" in words or any(is_imperative(words[index + 1 :]) for index in joints):
        return True
    sides = [
        (lexicon.aspect_of_thing(words[:index]), lexicon.find_aspect(words[index + 1 :])) for index in joints
    ]
    return any(None not in pair and pair[0] != pair[1] for pair in sides)


Verdict = Literal["single", "multiple", "none", "ambiguous"]


class RemixVerdict(NamedTuple):
    """The number of changes in a text, and the place of each, in code points of the text."""

    verdict: Verdict
    changes: tuple[Change, ...] = ()


class JudgeStatus(StrEnum):
    """The outcome of asking the judge; only ``checked`` has a verdict."""

    CHECKED = "checked"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    NOT_ASKED = "not_asked"
    NOT_INSTALLED = "not_installed"


class Place(NamedTuple):
    """The place of a change in the prompt, in code points."""

    aspect: str
    start: int
    end: int


class JudgeResult(BaseModel):
    """A judge's answer: its verdict, and the places of the changes in the prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: JudgeStatus
    model: str | None = None
    verdict: Verdict | None = None
    places: Annotated[tuple[Place, ...], Field(max_length=50)] = ()


NOT_ASKED = JudgeResult(status=JudgeStatus.NOT_ASKED)


@lru_cache(maxsize=256)
def check_single_change(text: str) -> RemixVerdict:
    """Return whether `text` asks for one change, several, none (only what stays), or is ambiguous."""
    reading, odds, is_plain = weigh(text)
    if odds is None or is_plain:
        return reading or RemixVerdict("ambiguous")
    reads_one = reading is not None and reading.verdict == "single"
    least = _SEVERAL_THOUGH_ONE_IS_READ if reads_one else _SURELY_SEVERAL
    verdict: Verdict = "multiple" if odds > least else "single" if odds < _SURELY_ONE else "ambiguous"
    if reading is None:
        return locate_changes(text, verdict)
    if verdict == reading.verdict:
        return reading
    if verdict == "ambiguous":
        return RemixVerdict("ambiguous", reading.changes)
    return locate_changes(text, verdict)


def chance_of_several(text: str) -> float | None:
    """Return the probability that `text` asks for several changes; None if no odds were computed.

    Of texts with a probability of 0.3, about three in ten ask for several: `tools/measure_one_change.py`
    shows how well that holds for each set. The verdict depends on the odds alone, not on this number.
    """
    odds = weigh(text).odds
    return None if odds is None else 1 / (1 + math.exp(-odds))


class Assessment(NamedTuple):
    """The grammar's verdict on a text, None if it does not read it, and the odds of several changes.

    Without odds, the grammar decides; without either, it is ambiguous. For a plain text, in short English,
    the grammar and the classifier are sure, and nothing else is asked.
    """

    reading: RemixVerdict | None
    odds: float | None
    is_plain: bool = False


@lru_cache(maxsize=256)
def weigh(text: str) -> Assessment:
    """Return the results of this rule's readers for `text`."""
    clean = _blank_labels(text)
    language = language_of(clean)
    if language not in (None, *READ):
        return Assessment(None, None)
    reading, found = read_clauses(text)
    spoken = [token.word for clause in found for token in clause.tokens]
    in_english = language in (None, "en")
    if in_english and (reading.verdict == "none" or _is_left_open(reading, found)):
        return Assessment(reading, None)
    if in_english and not is_unreadable(spoken):
        by_grammar = _ODDS_BY_GRAMMAR.get(reading.verdict, 0.0)
        odds = odds_of_several(clean) + by_grammar
        sure = next((least for words, least in _PLAIN if len(spoken) <= words), math.inf)
        if odds * by_grammar > abs(by_grammar) * sure:
            return Assessment(reading, _SCALE * odds + _SHIFT, is_plain=True)
        return Assessment(reading, _combine_odds(odds, clean))
    if language is None and find_aspect_by_stem(clean) is None:  # nothing in it is known
        return Assessment(None, None)
    return Assessment(None, _combine_odds(odds_of_several(clean), clean))


def _combine_odds(by_words: float, text: str) -> float:
    return _OF_WORDS * by_words + _OF_NETWORK * odds_by_network(text) + _OFFSET


_ODDS_BY_GRAMMAR: Mapping[str, float] = {"single": -1.5, "multiple": 1.5}
"""The weight of the grammar's verdict, in the classifier's odds."""
_PLAIN = ((10, 1.3), (24, 2.0))
"""For English this short, with such odds, no network is asked: in `tuning` it did not help."""
_SCALE, _SHIFT = 1.13, 0.41
"""Calibrates the odds of a plain text on `tuning`."""
_OF_WORDS, _OF_NETWORK, _OFFSET = 0.82, 0.67, 0.46
"""What the odds of the classifier, with the grammar's word, and of the network weigh; fitted to `tuning`."""
_SURELY_ONE, _SURELY_SEVERAL = -1.3, -0.8
"""Odds below which it is one change, and above which there are several; chosen on `tuning`."""
_SEVERAL_THOUGH_ONE_IS_READ = 0.7
"""If the grammar reads one change, several must be at least twice as probable; below, it can be declared."""


def locate_changes(text: str, verdict: Verdict) -> RemixVerdict:
    """Return `verdict` with the most probable places of its changes in `text`."""
    several, text = verdict == "multiple", _blank_labels(text)
    places = locate(text, several=several)
    if several and not places:
        return RemixVerdict("ambiguous")
    return RemixVerdict(
        verdict,
        tuple(Change(aspect=_aspect_in(text[start:end]), start=start, end=end) for start, end in places),
    )


def _aspect_in(text: str) -> str:
    words = [match[0].lower() for match in tokens(text)]
    return lexicon.find_aspect(words) or find_aspect_by_stem(text) or lexicon.DEFAULT_ASPECT


def _is_left_open(reading: RemixVerdict, found: Sequence[Clause]) -> bool:
    """Return whether the text does not say what is to change, or leaves it to the renderer."""
    wanted = [token.word for clause in found if clause.role is not Role.INVARIANT for token in clause.tokens]
    return reading.verdict == "ambiguous" and (leaves_a_choice(wanted) or says_nothing(wanted))


def read_clauses(text: str) -> tuple[RemixVerdict, list[Clause]]:
    """Return the grammar's verdict on `text`, and all its clauses; a change has the place of one of them."""
    found = list(clauses(_blank_labels(text)))
    words = [token.word for clause in found for token in clause.tokens]
    wanted = [token.word for clause in found if clause.role is not Role.INVARIANT for token in clause.tokens]
    changing = _drop_references(_select_changing(found))
    meaningful = [clause for clause in changing if not says_nothing(clause.words)]
    if is_unreadable(words) or leaves_a_choice(wanted) or (changing and not meaningful):
        return RemixVerdict("ambiguous", _changes(changing)), found
    if meaningful:
        return RemixVerdict("single" if len(meaningful) == 1 else "multiple", _changes(meaningful)), found
    return _verdict_on_fragments([clause for clause in found if clause.role is Role.FRAGMENT]), found


def check_remix(
    prompt: str, fields: Mapping[str, str], read: Callable[[str], RemixVerdict] = check_single_change
) -> RemixVerdict:
    """Return the same for a prompt with fields; a change found only in a field has an empty span at 0.

    A field about an aspect that the prompt changes elaborates that change. `read` reads the prompt.
    """
    written = find_changed_key(prompt, fields) is not None  # from `change_spec`, in words the grammar knows
    verdict, changes = read_clauses(prompt)[0] if written else read(prompt)
    changed = {change.aspect for change in changes}
    aspects = {lexicon.FIELD_ASPECTS[name] for name in fields if name in lexicon.FIELD_ASPECTS} - changed
    added = tuple(Change(aspect=aspect, start=0, end=0) for aspect in sorted(aspects))
    if not added:
        return RemixVerdict(verdict, changes)
    together = changes + added
    if len(together) > 1:
        return RemixVerdict("multiple", together)
    return RemixVerdict("ambiguous" if verdict == "ambiguous" else "single", together)


def _select_changing(found: Sequence[Clause]) -> list[Clause]:
    """Return the clauses that change something, plus separate fragments that add another aspect."""
    aspects = {_aspect(clause) for clause in found if clause.role is Role.CHANGE}
    if not aspects:
        return []
    sets_scene = {id(clause) for clause, other in pairwise(found) if other.tokens[0].word == "with"}
    return [
        clause
        for clause in found
        if clause.role is Role.CHANGE
        or (clause.role is Role.FRAGMENT and (_adds_an_aspect(clause, aspects) or id(clause) in sets_scene))
    ]


def _drop_references(changing: Sequence[Clause]) -> list[Clause]:
    """Leave out the new state of the thing just named: "change the sky. It should be red"."""
    merged: list[Clause] = []
    for clause in changing:
        names_it = bool(merged) and _names_only(merged[-1])
        words = clause.words
        refers = words[:1] in _REFERRING and bool(lexicon.FINITE & set(words[1:3]))
        refers |= words[1:2] in _REFERRING and words[0] in lexicon.COMPLEMENTED - lexicon.CAUSATIVES
        refers |= words[:2] == ["the", "new"] and bool(lexicon.FINITE & set(words))
        if merged and _complains(merged[-1]) and set(words[:3]) & _NAMED_BEFORE:
            merged[-1] = clause  # what is to be done about it
        elif not (names_it and refers):
            merged.append(clause)
    return merged


def _complains(clause: Clause) -> bool:
    """Return whether a clause only says what is wrong: "the second beat is too long"."""
    words = set(clause.words)
    named = bool(set(clause.words[:1]) & (lexicon.ARTICLES | {"it"}))
    if clause.words[:1] in (["i"], ["we"]) or clause.words[:1] == ["don't"]:
        return bool(words & _DENIED and words & {"like", "need", "want"})
    found = words & {"are", "feels", "is", "looks", "seems", "sounds", "was"}
    fails = words & _DENIED and words & _PLEASING
    return named and bool(fails or (found and words & _FAULTS))


_NAMED_BEFORE = frozenset({"her", "him", "it", "something", "them"})
_DENIED = frozenset("aren't doesn't don't isn't not".split())
_PLEASING = frozenset(
    "belong convince convincing fit good great help match read right suit work working".split()
)
_FAULTS = frozenset("bad boring crooked misspelled misspelt odd strange too weird wrong".split())


def _names_only(clause: Clause) -> bool:
    """Return whether a clause names what changes, not to what: "change the sky", "except the weather"."""
    words = set(clause.words)
    if words & {"it", "them"}:
        return False
    bare = len(clause.words) < _SHORT and not words & lexicon.FINITE
    return bare or (clause.words[0] in lexicon.EDITING and not words & {"for", "into", "to", "with"})


_SHORT = 4
_REFERRING = (["it"], ["they"], ["this"])


def _adds_an_aspect(clause: Clause, aspects: set[str]) -> bool:
    withheld = clause.words[:1] and clause.words[0] in lexicon.WITHHOLDING
    aspect = lexicon.find_aspect(clause.words)
    apart = clause.lead in (Lead.STOP, Lead.ITEM)
    if aspect is None:
        return apart and _tells_of_somebody(clause.words)
    return apart and not withheld and aspect not in aspects


def _tells_of_somebody(words: Sequence[str]) -> bool:
    """Return whether a sentence says what happens in the video: "the dog barks twice", "it snows"."""
    named = bool(set(words[:1]) & lexicon.ARTICLES)
    verbs = words[2:4] if named else words[1:2]
    happens = named or words[:1] in (["it"], ["he"], ["she"])
    return happens and any(word.endswith("s") and not word.endswith("ss") for word in verbs)


def _verdict_on_fragments(fragments: Sequence[Clause]) -> RemixVerdict:
    """Judge a text without verbs: things of different aspects, or with subjects of their own, are several."""
    meaningful = [clause for clause in fragments if not says_nothing(clause.words)]
    changes = _changes(meaningful or fragments)
    if len(meaningful) > 1:
        apart = len({change.aspect for change in changes}) == len(changes)
        named = sum(clause.words[0] in lexicon.DETERMINERS for clause in meaningful if clause.words)
        listed = any(clause.lead is None for clause in meaningful)
        return RemixVerdict("multiple" if apart or listed or named > 1 else "ambiguous", changes)
    if not meaningful:
        return RemixVerdict("ambiguous" if changes else "none", changes)
    return RemixVerdict("single", changes)


def _changes(found: Iterable[Clause]) -> tuple[Change, ...]:
    return tuple(_change(clause) for clause in found)


def _change(clause: Clause) -> Change:
    start, end = clause.span
    return Change(aspect=_aspect(clause), start=start, end=end)


def _aspect(clause: Clause) -> str:
    return lexicon.find_aspect(clause.words) or lexicon.DEFAULT_ASPECT


_SILENT = tuple(LABELS[name] for name in ("use_case", "constraints", "negative"))


def _label_pattern(labels: Iterable[str], rest: str) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(label) for label in labels)
    return re.compile(rf"^[ \t]*(?:{alternatives})[ \t]*:{rest}", re.IGNORECASE | re.MULTILINE)


_SILENT_LINE = _label_pattern(_SILENT, ".*$")
_PRIMARY_LABEL = _label_pattern([LABELS["prompt"]], "")


def _blank_labels(text: str) -> str:
    """Blank out the lines of a structured prompt that change nothing, and its label; positions stay."""

    def blank(match: re.Match[str]) -> str:
        return " " * len(match[0])

    return _PRIMARY_LABEL.sub(blank, _SILENT_LINE.sub(blank, text))
