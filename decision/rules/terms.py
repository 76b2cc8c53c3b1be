"""Search a text for words and phrases, in any script: exact words, however their characters are encoded.

Text and terms are compared as NFKD with case folding, so full-width letters, ligatures and precomposed
accents match what they look like. Invisible characters (soft hyphens, zero-width joiners) are left out;
spaces, line breaks, dashes and underscores between the words of a phrase count as one space.

A term matches only a whole word: no letter, digit or mark may continue it. Scripts without spaces (Chinese,
Japanese, Thai, Lao, Khmer, Burmese) have no such limit, and Korean has none at the end of a word, where
particles are attached. Look-alikes from other scripts, other spellings and other forms of a word are other
words: a list has to include them.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_GAPS = frozenset({"Zs", "Zl", "Zp", "Cc", "Pd", "Pc"})
_LEFT_OUT = frozenset("\u00b7\u30fb\u034f\u115f\u1160\u3164")  # middle dots of names, and fillers
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u201b", "'"))
_VARIATIONS = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF), (0x180B, 0x180F))
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3100, 0x312F),  # Bopomofo
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xAA60, 0xAA7F),
    (0x20000, 0x3FFFF),
)
_JAMO = ((0x1100, 0x11FF), (0xA960, 0xA97F), (0xD7B0, 0xD7FF))
"""The parts of Korean syllables."""
_LATER_JAMO = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF))
"""Parts that continue a syllable."""


class FoldedText(NamedTuple):
    """A text as compared, and the original place of each of its characters."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]


def fold(text: str) -> FoldedText:
    """Return `text` in the form that is compared."""
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        for char in _fold(text[start:end]):
            if char == " " and (not out or out[-1] == " "):
                continue
            out.append(char)
            starts.append(start)
            ends.append(end)
    return FoldedText("".join(out), tuple(starts), tuple(ends))


@lru_cache(maxsize=32_768)
def fold_term(term: str) -> str:
    """Return a term in the form that is compared; empty if it cannot occur in a text."""
    return fold(term).text.strip(" ")


def find(text: FoldedText, term: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the folded `term` in the original of `text`, as whole words."""
    at = text.text.find(term)
    while at >= 0:
        end = at + len(term)
        if _begins_word(text.text, at) and _ends_word(text.text, end):
            yield text.starts[at], text.ends[end - 1]
            at = text.text.find(term, end)
        else:
            at = text.text.find(term, at + 1)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield each character with the marks that are ordered together with it."""
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or not unicodedata.combining(text[index]):
            yield start, index
            start = index


@lru_cache(maxsize=8_192)
def _fold(cluster: str) -> str:
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", cluster).casefold())
    chars = (char for char in text.translate(_APOSTROPHES) if not _is_left_out(char))
    return "".join(" " if unicodedata.category(char) in _GAPS else char for char in chars)


def _is_left_out(char: str) -> bool:
    return char in _LEFT_OUT or unicodedata.category(char) == "Cf" or _is_in(char, _VARIATIONS)


def _begins_word(text: str, at: int) -> bool:
    if _extends(text[at]):  # the middle of a character
        return False
    return at == 0 or not _is_joined(text[at - 1], text[at])


def _ends_word(text: str, end: int) -> bool:
    if end == len(text):
        return True
    if _extends(text[end]):
        return False
    return _is_in(text[end - 1], _JAMO) or not _is_joined(text[end - 1], text[end])


def _is_joined(one: str, other: str) -> bool:
    """Return whether two neighbours belong to one word, in a script with spaces between words."""
    words = all(char.isalnum() or _extends(char) for char in (one, other))
    return words and not _is_in(one, _UNSPACED) and not _is_in(other, _UNSPACED)


def _extends(char: str) -> bool:
    """Return whether a character continues the one before it."""
    return unicodedata.category(char).startswith("M") or _is_in(char, _LATER_JAMO)


def _is_in(char: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    code = ord(char)
    return any(first <= code <= last for first, last in ranges)
