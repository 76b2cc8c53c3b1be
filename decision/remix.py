"""Exactly one change against the parent: what a remix prompt asks for, told from how such sentences work.

A remix that changes one thing says *what becomes what*, perhaps elaborates it ("… with a warm backlight",
"…, which turns red"), and perhaps names what stays ("same shot and framing", "keep the lighting"). The text
is cut into clauses (`decision.clauses`); those that say what stays are no changes, what is left over
elaborates the change before it, and the rest is counted.

Deterministic, no model, no network. It is a first form: it reads English, and what it cannot tell it calls
``ambiguous`` rather than guessing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from decision import lexicon
from decision.clauses import Clause, Role, clauses
from decision.prompt import LABELS
from ledger.events import Change

FIELD_ASPECTS: Mapping[str, str] = {
    "scene": "setting",
    "subject": "subject",
    "action": "action",
    "camera": "camera",
    "lighting": "lighting",
    "palette": "palette",
    "style": "style",
    "timing": "timing",
    "audio": "audio",
    "text": "text",
    "dialogue": "audio",
}
"""The aspect each field of a structured prompt is about; the others change nothing."""

DEFAULT_ASPECT = "subject"


class RemixVerdict(NamedTuple):
    """How many changes a text asks for, and where each stands, in code points of the text."""

    verdict: Literal["single", "multiple", "none", "ambiguous"]
    changes: tuple[Change, ...] = ()


def check_single_change(text: str) -> RemixVerdict:
    """Tell whether `text` asks for one change, several, none (only what stays), or cannot be told."""
    found = list(clauses(_without_labels(text)))
    changing = _changing(found)
    if changing:
        changes = tuple(_change(clause) for clause in changing)
        return RemixVerdict("single" if len(changes) == 1 else "multiple", changes)
    fragments = [clause for clause in found if clause.role is Role.FRAGMENT]
    return _verdict_on_fragments(tuple(_change(clause) for clause in fragments))


def check_remix(prompt: str, fields: Mapping[str, str]) -> RemixVerdict:
    """Tell the same of a prompt with fields; a change that stands in a field only has an empty span at 0.

    A field about an aspect the prompt changes anyway elaborates it.
    """
    verdict, changes = check_single_change(prompt)
    told = {change.aspect for change in changes}
    aspects = {FIELD_ASPECTS[name] for name in fields if name in FIELD_ASPECTS} - told
    added = tuple(Change(aspect=aspect, start=0, end=0) for aspect in sorted(aspects))
    if not added:
        return RemixVerdict(verdict, changes)
    together = changes + added
    return RemixVerdict("single" if len(together) == 1 else "multiple", together)


def _changing(found: Iterable[Clause]) -> list[Clause]:
    """Return the clauses that change something, with fragments that stand apart and add another aspect."""
    found = list(found)
    aspects = {_change(clause).aspect for clause in found if clause.role is Role.CHANGE}
    if not aspects:
        return []
    return [
        clause
        for clause in found
        if clause.role is Role.CHANGE or (clause.role is Role.FRAGMENT and _adds_an_aspect(clause, aspects))
    ]


def _adds_an_aspect(clause: Clause, aspects: set[str]) -> bool:
    withheld = clause.words[:1] and clause.words[0] in lexicon.WITHHOLDING
    aspect = _named_aspect(clause.words)
    return clause.opens_sentence and not withheld and aspect is not None and aspect not in aspects


def _verdict_on_fragments(changes: tuple[Change, ...]) -> RemixVerdict:
    if len(changes) > 1:
        apart = len({change.aspect for change in changes}) == len(changes)
        return RemixVerdict("multiple" if apart else "ambiguous", changes)
    return RemixVerdict("single", changes) if changes else RemixVerdict("none")


def _change(clause: Clause) -> Change:
    tokens = [token for token in clause.tokens if token.word not in lexicon.SOFT_STOPS] or clause.tokens
    aspect = _named_aspect(clause.words) or DEFAULT_ASPECT
    return Change(aspect=aspect, start=tokens[0].start, end=tokens[-1].end)


def _named_aspect(words: Sequence[str]) -> str | None:
    """Return the aspect of the first word that names one, None where none does.

    The verb that directs ("move it …", "turn the …") is no action of somebody in the video.
    """
    directs = set(words[:1]) & (lexicon.VERBS | lexicon.NOUN_LIKE) & lexicon.ASPECTS["action"]
    for word in words[len(directs) :]:
        for aspect, vocabulary in lexicon.ASPECTS.items():
            if word in vocabulary:
                return aspect
    return None


_SILENT = tuple(LABELS[name] for name in ("use_case", "constraints", "negative"))


def _label_pattern(labels: Iterable[str], rest: str) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(label) for label in labels)
    return re.compile(rf"^[ \t]*(?:{alternatives})[ \t]*:{rest}", re.IGNORECASE | re.MULTILINE)


_SILENT_LINE = _label_pattern(_SILENT, ".*$")
_PRIMARY_LABEL = _label_pattern([LABELS["prompt"]], "")


def _without_labels(text: str) -> str:
    """Blank out the lines of a structured prompt that change nothing, and its label; positions stay."""

    def blank(match: re.Match[str]) -> str:
        return " " * len(match[0])

    return _PRIMARY_LABEL.sub(blank, _SILENT_LINE.sub(blank, text))
