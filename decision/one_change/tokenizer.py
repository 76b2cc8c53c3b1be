"""A remix prompt as sentences of tokens, with the marker before each sentence.

Lists mark where their items begin: bullets, and numbers or letters that count up. An item marker is not a
word. Phrases that act as one word ("as well as", "do not") are one token.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from decision.one_change import lexicon


class Token(NamedTuple):
    """A word or a stop in lower case; a quotation is one word. Positions are code points of the text."""

    word: str
    start: int
    end: int


class Lead(StrEnum):
    """The lead-in of a sentence: a full stop or nothing, a list marker, or a dash."""

    STOP = "stop"
    ITEM = "item"
    DASH = "dash"


class Sentence(NamedTuple):
    """The tokens between two hard stops."""

    lead: Lead
    tokens: Sequence[Token]

    @property
    def words(self) -> list[str]:
        """The words and stops, in lower case."""
        return [token.word for token in self.tokens]


LONGEST = 300
"""In tokens; a longer sentence is cut there, which keeps the time linear in the length of the text."""

PHRASES: Mapping[str, str] = {
    "apart from": "except",
    "as though": "like",
    "as well as": "plus",
    "aside from": "except",
    "e.g.": ",",
    "how about": "please",
    "i.e.": ",",
    "other than": "except",
    "what about": "please",
    "what if": "please",
    "do me a favor": "please",
    "do me a favour": "please",
    "do away with": "remove",
    "do not": "don't",
    "get rid of": "remove",
    "in addition to": "besides",
    "in exchange for": "instead",
    "in favor of": "instead",
    "in favour of": "instead",
    "in order to": "to",
    "in place of": "instead",
    "not only": "also",
    "on top of that": "plus",
    "strip out": "remove",
    "take away": "remove",
    "take out": "remove",
    "w/": "with",
    "w/o": "without",
}
"""Phrases of several words, and the single word for each."""

MISSPELLED: Mapping[str, str] = {
    "adn": "and",
    "chagne": "change",
    "chnage": "change",
    "hte": "the",
    "insted": "instead",
    "mkae": "make",
    "repalce": "replace",
    "teh": "the",
    "thier": "their",
    "wiht": "with",
}
"""Typos in words that hold a sentence together."""

_TOKEN = re.compile(
    r"(?P<quotation>[\"“][^\"”\n]*[\"”])"
    r"|(?P<bullet>(?m:^)[ \t]*[-*•‣·\u2013][ \t])"
    r"|(?<!\S)\(?(?P<label>\d{1,2}[.)]|[a-h][.)]|[iv]{1,3}\))(?=\s)"
    r"|(?P<arrow>[-=]+>|→)"
    r"|(?P<equals>(?<=\s)=(?=\s))"
    r"|(?P<slash>(?<=\s)/(?=\s))"
    r"|(?P<dash>(?<=\s)-+(?=\s)|[\u2014\u2013])"
    rf"|(?<!\w)(?P<phrase>{'|'.join(map(re.escape, sorted(PHRASES, key=len, reverse=True)))})(?!\w)"
    r"|[.;!?,:()&+\n]"
    r"|[^\W_]+(?:(?:['\u2019\-/]|\.(?=\d))[^\W_]+)*",
    re.IGNORECASE,
)
_LONGEST_LABEL = 2
_FIRST_LABELS = frozenset({"1", "a", "i"})
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii")


def sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of `text` that contain a word, in order."""
    lead, tokens, awaited = Lead.STOP, list[Token](), _FIRST_LABELS
    for match in _TOKEN.finditer(text):
        token = Token(_word(match), *match.span())
        stop = _stop(match, token.word, awaited)
        if stop is Lead.DASH and 0 < len(tokens) <= _LONGEST_LABEL:
            token, stop = token._replace(word=":"), None
        if tokens and (stop or len(tokens) == LONGEST):
            yield Sentence(lead, tokens)
            lead, tokens = Lead.STOP, []
        if stop is None:
            tokens.append(token)
        elif stop is not Lead.STOP or lead is not Lead.ITEM:
            lead = stop
        if match["label"] and stop:
            awaited = frozenset({_next_label(_label(match))})
    if tokens:
        yield Sentence(lead, tokens)


def _word(match: re.Match[str]) -> str:
    word = match[0].lower().replace("\u2019", "'")
    word = MISSPELLED.get(word, word)
    word = f"re{word[3:]}" if word.startswith("re-") else word  # "re-light"
    if match["phrase"]:
        return PHRASES.get(word, word)
    if match["equals"]:
        return ":"
    return "->" if match["arrow"] else "," if match["slash"] else word


def _stop(match: re.Match[str], word: str, awaited: frozenset[str]) -> Lead | None:
    """Return how `match` introduces the next sentence, None if it does not end the previous one."""
    if match["bullet"] or (match["label"] and _label(match) in awaited):
        return Lead.ITEM
    if match["dash"]:
        return Lead.DASH
    return Lead.STOP if word in lexicon.HARD_STOPS else None


def _label(match: re.Match[str]) -> str:
    return match["label"][:-1].lower()


def _next_label(label: str) -> str:
    if label in _ROMAN[:-1]:
        return _ROMAN[_ROMAN.index(label) + 1]
    return str(int(label) + 1) if label.isdigit() else chr(ord(label) + 1)
