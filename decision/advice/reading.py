"""Read the shot described by a prompt, and find the missing details that would waste a render.

Camera moves, main actions and spoken words are found by a simple reading of English, for advice only. A
camera move counts once per direction ("pan left, then pan right" is two); an action counts once per verb. A
word that may be a noun ("waves") counts only after a pronoun or another action, and a relative clause
contains no main action.

A detail is missing if a blank is not filled or there is nothing to show. "If any critical detail is missing
and blocks success, ask a question; otherwise proceed" (the Sora skill). The rules are lenient on purpose: a
short prompt is a good prompt, and weaknesses belong to `decision.advice.advice`. A prompt has no subject if
all its words are empty ("make it nice"); one meaningful word, in any language, is enough.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from decision.one_change import lexicon
from decision.request.prompt import LABELS, read_lines
from decision.request.request import RenderRequest
from ledger.terms import Operation

_WHERE = r"(?:left|right|up|down|in|out|forwards?|back|backwards?|across|over|around|along|through)"
_THERE = rf"(?=[- ]+(?:\w+ly )?(?:{_WHERE}|to|from|towards?)\b)"
_MOVES: Mapping[str, str] = {
    "dolly": r"doll(?:y|ies|ying)",
    "zoom": r"zoom(?:s|ing)?",
    "orbit": r"orbit(?:s|ing)?",
    "pan": rf"pan(?:s|ning)?{_THERE}|panning|(?:slow|smooth|gentle|quick|whip)[- ]pan",
    "tilt": rf"tilt(?:s|ing)?{_THERE}",
    "crane": r"cran(?:e|es|ing)(?= (?:up|down|over)\b)|crane shot",
    "track": rf"track(?:s|ing)?{_THERE}|tracking shot",
    "truck": r"truck(?:s|ing)?(?= (?:left|right)\b)",
    "push": r"push(?:es|ing)?(?=[- ]in\b)",
    "pull": r"pull(?:s|ing)?(?=[- ](?:back|out)\b)",
}
_MOVE = re.compile(
    r"(?<!\bno )(?<!\bnot )(?<!\bavoid )(?<!\bwithout )\b(?:"
    + "|".join(f"(?P<{move}>{pattern})" for move, pattern in _MOVES.items())
    + rf")\b(?:[- ]+(?:\w+ly )?(?P<where>{_WHERE})\b)?",
    re.IGNORECASE,
)

_ACTIONS = frozenset(
    """
    bow break build carry catch chase clap climb close crawl cry dance dig dive draw drive eat enter explode
    fight fly grab hide hit hug jump kick kiss kneel knock laugh leap lift melt nod open pick pour press pull
    push reach read ride run shake shout sing sit skate skip sleep smile snap spin stand stir stretch swim
    swipe take tap throw type unfold wake walk wash wrap write yawn
    """.split()
)
_OFTEN_NOUNS = frozenset(
    """
    clean cook cut drink drop fall fold leave look pack paint plant roll sail slice slide step stop turn wave
    """.split()
)
_PRONOUNS = frozenset("he it she they we who you".split())
_CHAINING = frozenset({"and", "then", ","})
_SUBORDINATE = frozenset("as because that when where which who whose".split())
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|[.,;!?\n]")
_SENTENCE_ENDS = frozenset(".;!?\n")
_SPOKEN = re.compile(r"[\"“]([^\"”\n]*)[\"”]")
_SPEAKER = re.compile(r"^[ \t]*-?[ \t]*[^:\n]{1,40}:", re.MULTILINE)
_SPOKEN_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def camera_moves(text: str) -> tuple[str, ...]:
    """Return the camera moves in `text`, such as ``pan left``; a move without a direction matches any."""
    found = [(_move(match), match["where"]) for match in _MOVE.finditer(text)]
    directed = {move for move, where in found if where}
    moves = (
        f"{move} {where.lower()}" if where else move for move, where in found if where or move not in directed
    )
    return tuple(dict.fromkeys(moves))


def _move(match: re.Match[str]) -> str:
    return next(move for move in _MOVES if match[move])


def main_actions(text: str) -> tuple[str, ...]:
    """Return the distinct action verbs in `text`, in their plain form."""
    actions: list[str] = []
    sentence: list[str] = []
    for word in [*_TOKEN.findall(_SPOKEN.sub(" ", text).lower()), "."]:
        if word in _SENTENCE_ENDS:
            actions += _finite(sentence) or _participles(sentence)
            sentence = []
        else:
            sentence.append(word)
    return tuple(dict.fromkeys(actions))


def count_spoken_words(dialogue: str) -> int:
    """Return the number of spoken words in `dialogue`: the quoted ones, or all without speakers' names."""
    quoted = _SPOKEN.findall(dialogue)
    spoken = " ".join(quoted) if quoted else _SPEAKER.sub("", dialogue)
    return len(_SPOKEN_WORD.findall(spoken))


def word_count(text: str) -> int:
    """Return the number of words in `text`."""
    return len(_SPOKEN_WORD.findall(text))


def _finite(sentence: list[str]) -> list[str]:
    """Return the actions in finite form: "she walks", "they run and jump"."""
    verbs: list[str] = []
    for index, word in enumerate(sentence):
        before = sentence[index - 1] if index else ""
        if _SUBORDINATE & set(sentence[max(0, index - 2) : index]):
            continue
        chained = bool(verbs) and before in _CHAINING
        after_subject = before in _PRONOUNS or chained
        stem = _stem(word)
        inflected = word != stem and _may_precede_verb(before)
        if (after_subject and stem in _OFTEN_NOUNS) or (stem in _ACTIONS and (after_subject or inflected)):
            verbs.append(stem)
    return verbs


def _may_precede_verb(before: str) -> bool:
    return before not in lexicon.DETERMINERS | lexicon.PREPOSITIONS | {"", "no", "two", "three", "four"}


def _participles(sentence: list[str]) -> list[str]:
    """Return the actions given by participles: "a fox running [and jumping]"."""
    stems = [(index, _stem_of_participle(word)) for index, word in enumerate(sentence)]
    acting = [(index, stem) for index, stem in stems if stem]
    return [
        stem
        for place, (index, stem) in enumerate(acting)
        if not place or sentence[index - 1] in {"and", "then"}
    ]


def _stem(word: str) -> str:
    """Return the plain form of "walks", "pushes", "carries"; other words unchanged."""
    forms = (word, word.removesuffix("s"), word.removesuffix("es"), f"{word.removesuffix('ies')}y")
    return next((form for form in forms if form in _ACTIONS | _OFTEN_NOUNS), word)


def _stem_of_participle(word: str) -> str | None:
    """Return the plain form of "walking", "running", "driving"; None for other words."""
    if not word.endswith("ing"):
        return None
    stem = word.removesuffix("ing")
    return next((form for form in (stem, f"{stem}e", stem[:-1]) if form in _ACTIONS), None)


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
    """Return the questions to answer before `request` is worth its cost; usually none."""
    first_fields: dict[str, str] = {}
    for field, text in {"prompt": request.prompt, **request.fields}.items():
        for found in _blanks(text):
            first_fields.setdefault(found, field)
    blanks = [
        Question(
            "UNFILLED_BLANK", field, f"{_name_field(field)} still has {found} in it: what goes there?", found
        )
        for found, field in first_fields.items()
    ]
    return tuple(blanks) or tuple(_no_subject(request))


def apply_answer(request: RenderRequest, question: Question, answer: str) -> tuple[str, dict[str, str]]:
    """Return prompt and fields of `request` with `answer` in the gap of `question`, to be parsed again."""
    if question.found is None:
        return f"{answer.strip()}\n{request.prompt}", dict(request.fields)
    found, text = question.found, answer.strip()
    fields = {field: line.replace(found, text) for field, line in request.fields.items()}
    return request.prompt.replace(found, text), fields


def _name_field(field: str) -> str:
    return "the prompt" if field == "prompt" else f"the line {LABELS[field]!r}"


def _blanks(text: str) -> Iterator[str]:
    """Yield each distinct blank in `text`.

    Quoted words are shown or spoken, so they are not blanks; neither are closed tags.
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
    """Return whether an attachment shows the contents of the clip."""
    return bool(
        request.input_reference or request.reference_url or request.reference_file_id or request.character_ids
    )
