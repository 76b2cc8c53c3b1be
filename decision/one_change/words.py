"""The word lists in ``words.toml``: stems that name an aspect, and small words that identify a language.

A language is recognised by its script and its most frequent small words, only as precisely as the one-change
rule needs: to separate the languages it reads from the others, and to name the latter.
"""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def load_words() -> Mapping[str, Mapping[str, str]]:
    """Return the lists by section and name, each as one text; read once per process."""
    path = Path(__file__).with_name("words.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


READ = ("de", "en", "es", "fr", "ja", "pt", "zh")
"""The languages that the one-change rule can read."""

NAMES: Mapping[str, str] = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""The names of the languages by code."""

_SCRIPTS: Mapping[str, str] = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "HEBREW": "he",
    "THAI": "th",
    "DEVANAGARI": "hi",
    "GREEK": "el",
}
"""Scripts by the first word of their letters' Unicode names, and the language each stands for."""

_WORDS = {code: frozenset(words.split()) for code, words in load_words()["small_words"].items()}
_OWN_LETTERS = {
    "cs": frozenset("řěůšžč"),
    "da": frozenset("æøå"),
    "hu": frozenset("őű"),
    "no": frozenset("æøå"),
    "pl": frozenset("łżźśćńąę"),
    "ro": frozenset("șțşţă"),
    "sv": frozenset("å"),
    "tr": frozenset("ğış"),
    "vi": frozenset("đơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ"),
}
"""Letters that are rare in every language the rule reads: a word with one counts as a small word."""
_LETTERS = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_UKRAINIAN = frozenset("іїєґ")
_LEAST_LATIN_PERCENT = 50
_LEAST_LEAD = 2
"""The minimum lead, in small words, of an unsupported language over the supported ones."""


def language_of(text: str) -> str | None:
    """Return the code of the language of `text` (one of `NAMES`); None if it is unclear."""
    letters = [letter for letter in text.lower() if letter.isalpha()]
    other = _other_script(letters)
    if other is not None:
        return other
    words = [word.replace("\u2019", "'") for word in _LETTERS.findall(text.lower())]
    counts = {code: sum(word in own for word in words) for code, own in _WORDS.items()}
    for code, letters_of in _OWN_LETTERS.items():
        counts[code] += sum(not letters_of.isdisjoint(word) for word in words)
    best = max(counts, key=lambda code: (counts[code], code == "en", code in READ, code))
    lead = counts[best] - max(counts.get(code, 0) for code in READ)
    if best not in READ and lead < _LEAST_LEAD:
        best = max(READ, key=lambda code: (counts.get(code, 0), code))
    return best if counts.get(best) else None


def _other_script(letters: list[str]) -> str | None:
    """Return the language of a text that is mostly not in Latin letters."""
    scripts = [unicodedata.name(letter, "").partition(" ")[0] for letter in letters]
    latin = scripts.count("LATIN")
    if not letters or latin * 100 >= _LEAST_LATIN_PERCENT * len(letters):
        return None
    if "HIRAGANA" in scripts or "KATAKANA" in scripts:
        return "ja"
    if _UKRAINIAN & set(letters):
        return "uk"
    known = [name for name in scripts if name in _SCRIPTS]
    return _SCRIPTS[max(known, key=known.count)] if known else None
