"""Text made safe for a terminal, above all text from others: prompts, servers' messages, file names.

What is not printable, such as the escape sequences that move a cursor or rename a window, or the marks that
turn the direction of a line, is shown as ``�`` in text, and as its escape in JSON. `cli.text.output` and its
console apply this to everything that is printed, so that no print has to remember it.
"""

import re
import unicodedata

KEPT = "\n\t"
NOTHING = "(none)"  # under the header of an empty table
SHORT = 60
_JOINERS = "\u200c\u200d"  # Persian and emoji need them, and they command nothing
_OBEYED = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Delete, C1, direction marks, line separators and invisible characters; JSON escapes C0 by itself."""


_MARKUP = re.compile(r"(\\*)(\[[a-z#/@][^[]*?])")


def printable(text: str) -> str:
    """Return `text` with control characters replaced."""
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else "\ufffd" for letter in text)


def _is_shown(letter: str) -> bool:
    return (
        letter.isprintable() or letter in KEPT or letter in _JOINERS or unicodedata.category(letter) == "Zs"
    )


def escaped(document: str) -> str:
    """Return the same JSON document with control characters escaped that JSON itself allows."""
    return document if document.isascii() and "\x7f" not in document else _OBEYED.sub(_escape, document)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def escape(text: str) -> str:
    """Return `text` with everything escaped that rich would read as markup; rich itself is slow to load."""
    escaped = _MARKUP.sub(r"\1\1\\\2", text)
    odd_backslash = escaped.endswith("\\") and not escaped.endswith("\\\\")
    return escaped + "\\" if odd_backslash else escaped


def short(text: str | None, limit: int = SHORT) -> str:
    """Return `text` on one line, cut at `limit` characters; erased text as such."""
    if text is None:
        return "[erased]"
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
