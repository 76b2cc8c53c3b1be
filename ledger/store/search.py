"""Find jobs by the words of their prompts: what is indexed, and what a query means. No SQL here.

A query word matches the beginning of a prompt word. Chinese, Japanese, Thai and other scripts without spaces
are indexed in pairs of characters, so that any part of a text matches. Case, accents and compatibility forms
make no difference. Everything else (quotes, operators, NUL) separates words.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final

MOST_WORDS: Final = 32
"""Further words of a query are ignored."""

LONGEST_WORD: Final = 64
"""Characters of a word that are indexed; a longer word is found by its beginning."""

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u2600-\u27bf\U0001f000-\U0001faff"  # symbols, emoji
    "\u3005-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
_ASCII = re.compile(r"[a-z0-9]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")


def is_searched(field: str) -> bool:
    """Return whether the text at `field` of a job's first record is part of its prompt."""
    return field == "prompt" or field.startswith("fields.")


def words_of(text: str) -> set[str]:
    """Return the index words of `text`; for scripts without spaces, pairs of characters.

    Words contain only letters, digits and non-ASCII symbols, so they need no quoting in a query language.
    """
    if text.isascii():
        return {word[:LONGEST_WORD] for word in _ASCII.findall(text.lower())}
    return {word for unspaced, run in _runs(text) for word in (_pairs(run) if unspaced else (run,))}


def prefixes_of(query: str) -> list[str]:
    """Return the word prefixes that a prompt must contain to match `query`."""
    prefixes: dict[str, None] = {}
    for unspaced, run in _runs(query):
        pairs = list(_pairs(run)) if unspaced else [run]
        prefixes |= dict.fromkeys(
            pairs[:-1] if len(pairs) > 1 else pairs
        )  # the last one is a single character
    return list(prefixes)[:MOST_WORDS]


@cache
def _word_pattern() -> re.Pattern[str]:
    """Return the regular expression of a word. Compiling takes a twentieth of `status`, which needs none."""
    return re.compile(rf"([{_UNSPACED}]+)|([^\W_{_UNSPACED}]+)")


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the words of `text` without case and accents, and whether their script has no spaces."""
    for match in _word_pattern().finditer(folded(text)):
        yield match.lastindex == 1, match[0] if match.lastindex == 1 else match[0][:LONGEST_WORD]


def folded(text: str) -> str:
    """Return `text` without what a search ignores: case, accents, compatibility forms."""
    if text.isascii():
        return text.lower()
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    return unicodedata.normalize("NFC", plain)


def _pairs(run: str) -> Iterator[str]:
    return (run[at : at + 2] for at in range(len(run)))


def spans_of(text: str, query: str) -> list[tuple[int, int]]:
    """Return where the words of `query` occur in `text`: starts and ends, in order."""
    wanted = list(dict.fromkeys(_runs(query)))
    spans = []
    for match in _word_pattern().finditer(text):
        run, is_unspaced = folded(match[0]), match.lastindex == 1
        for unspaced, word in wanted:
            at = run.find(word) if unspaced else 0
            if unspaced is is_unspaced and at >= 0 and run.startswith(word, at):
                start = match.start() + at
                spans.append((start, min(start + len(word), match.end())))
    return spans
