"""Make text safe to display, especially text from others: prompts, servers' messages, file names.

Unprintable characters, such as escape sequences that move a cursor or rename a window, or marks that change
the direction of a line, are shown as ``�``. Terminals obey the former; browsers obey the marks.
"""

import unicodedata

LAYOUT = "\n\t"
SHORT = 60
_JOINERS = "\u200c\u200d"  # Persian and emoji need them, and they control nothing


def printable(text: str) -> str:
    """Return `text` with control characters replaced."""
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else "\ufffd" for letter in text)


def _is_shown(letter: str) -> bool:
    return (
        letter.isprintable() or letter in LAYOUT or letter in _JOINERS or unicodedata.category(letter) == "Zs"
    )


def shorten(text: str | None, limit: int = SHORT) -> str:
    """Return `text` on one line, cut at `limit` characters; erased text is marked as such."""
    if text is None:
        return "[erased]"
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  # their full-width forms too


def escape_formula(cell: object) -> object:
    """Return `cell` of a table, as text if a spreadsheet would run it as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ")[:1] in FORMULA else cell
