"""Missing details that would waste a render: an unfilled blank, or nothing to show.

"If any critical detail is missing and blocks success, ask a question; otherwise proceed" (the Sora skill).
The rules are lenient on purpose: a short prompt is a good prompt, and weaknesses belong to
`decision.advice.advice`. A prompt has no subject if all its words are empty ("make it nice"); one meaningful
word, in any language, is enough.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from decision.request.prompt import LABELS, read_lines
from decision.request.request import RenderRequest
from ledger.events import Operation

_BLANKS = (
    re.compile(r"\{[A-Za-z][\w -]{0,60}\}"),
    re.compile(r"<(?!dialogue>)[A-Za-z][^<>\n]{0,60}>"),
    re.compile(r"\[(?:insert|add|your)\b[^\]\n]{0,60}\]", re.IGNORECASE),
    re.compile(r"\b(?:TODO|TBD|TBC|FIXME)\b"),
)
_QUOTED = re.compile(r"[\"“](?!\{\w+\}[\"”])[^\"”\n]*[\"”]")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_EMPTY_WORDS = frozenset(
    """
    a amazing an and any anything awesome beautiful best better clip cool create do film footage for
    generate give good great i it just like lovely make me movie my need new nice nicer one please pretty
    produce really render show so some something stuff super that the thing things this to us very video
    want we whatever with wonderful you
    """.split()
)
_SAY_NOTHING_ABOUT_THE_SUBJECT = frozenset({"constraints", "negative"})


class Question(NamedTuple):
    """One missing detail, and the question for it.

    `field` is ``prompt`` or one of `decision.request.prompt.FIELDS`. `found` is the placeholder of the
    detail, None if there is none.
    """

    code: str
    field: str
    question: str
    found: str | None = None


def missing_details(request: RenderRequest) -> tuple[Question, ...]:
    """Return the questions to answer before `request` is worth its money; usually none."""
    first_seen: dict[str, str] = {}
    for field, text in {"prompt": request.prompt, **request.fields}.items():
        for found in _blanks(text):
            first_seen.setdefault(found, field)
    blanks = [
        Question(
            "UNFILLED_BLANK", field, f"{_called(field)} still has {found} in it: what goes there?", found
        )
        for found, field in first_seen.items()
    ]
    return tuple(blanks) or tuple(_no_subject(request))


def answered(request: RenderRequest, question: Question, answer: str) -> tuple[str, dict[str, str]]:
    """Return prompt and fields of `request` with `answer` in the gap of `question`, to be parsed again."""
    if question.found is None:
        return f"{answer.strip()}\n{request.prompt}", dict(request.fields)
    found, text = question.found, answer.strip()
    fields = {field: line.replace(found, text) for field, line in request.fields.items()}
    return request.prompt.replace(found, text), fields


def _called(field: str) -> str:
    return "the prompt" if field == "prompt" else f"the line {LABELS[field]!r}"


def _blanks(text: str) -> Iterator[str]:
    """Yield each distinct blank in `text`.

    Quoted words are to be shown or spoken, so they are not blanks, and neither are closed tags.
    """
    unquoted = _QUOTED.sub("", text)
    for found in dict.fromkeys(match[0] for blank in _BLANKS for match in blank.finditer(unquoted)):
        if found.replace("<", "</") not in unquoted or not found.startswith("<"):
            yield found


def _no_subject(request: RenderRequest) -> Iterator[Question]:
    if _says_something({**read_lines(request.prompt), **request.fields}):
        return
    if request.operation in (Operation.REMIX, Operation.EDIT):
        yield Question("NO_CHANGE_NAMED", "prompt", "the prompt does not say what is to change: what should?")
    elif request.operation is Operation.CREATE and not _has_material(request):
        yield Question(
            "NO_SUBJECT", "prompt", "the prompt names nothing to show: who or what is in the clip?"
        )


def _says_something(lines: Mapping[str, str]) -> bool:
    texts = [text for name, text in lines.items() if name not in _SAY_NOTHING_ABOUT_THE_SUBJECT]
    words = [word.lower() for text in texts for word in _WORD.findall(text)]
    if words:
        return not set(words) <= _EMPTY_WORDS
    return any(unicodedata.category(character)[0] not in "PZC" for text in texts for character in text)


def _has_material(request: RenderRequest) -> bool:
    """Return whether an attachment shows what is in the clip."""
    return bool(
        request.input_reference or request.reference_url or request.reference_file_id or request.character_ids
    )
