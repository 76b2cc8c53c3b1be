"""Finds camera moves, main actions and spoken words in the description of a shot.

A simple reading of English, for advice only. A camera move counts once per direction ("pan left, then pan
right" is two); an action counts once per verb. A word that may be a noun ("waves") counts only after a
pronoun or another action, and a relative clause holds no main action.
"""

import re
from collections.abc import Mapping

from decision.one_change import lexicon

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
_QUOTED = re.compile(r"[\"“]([^\"”\n]*)[\"”]")
_SPEAKER = re.compile(r"^[ \t]*-?[ \t]*[^:\n]{1,40}:", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


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
    found: list[str] = []
    sentence: list[str] = []
    for word in [*_TOKEN.findall(_QUOTED.sub(" ", text).lower()), "."]:
        if word in _SENTENCE_ENDS:
            found += _finite(sentence) or _participles(sentence)
            sentence = []
        else:
            sentence.append(word)
    return tuple(dict.fromkeys(found))


def spoken_words(dialogue: str) -> int:
    """Return the number of spoken words in `dialogue`: the quoted ones, or all without speakers' names."""
    quoted = _QUOTED.findall(dialogue)
    spoken = " ".join(quoted) if quoted else _SPEAKER.sub("", dialogue)
    return len(_WORD.findall(spoken))


def word_count(text: str) -> int:
    """Return the number of words in `text`."""
    return len(_WORD.findall(text))


def _finite(sentence: list[str]) -> list[str]:
    """Return the actions in finite form: "she walks", "they run and jump"."""
    found: list[str] = []
    for index, word in enumerate(sentence):
        before = sentence[index - 1] if index else ""
        if _SUBORDINATE & set(sentence[max(0, index - 2) : index]):
            continue
        chained = bool(found) and before in _CHAINING
        after_subject = before in _PRONOUNS or chained
        stem = _stem(word)
        inflected = word != stem and _may_precede_verb(before)
        if (after_subject and stem in _OFTEN_NOUNS) or (stem in _ACTIONS and (after_subject or inflected)):
            found.append(stem)
    return found


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
