"""Words made fit for people; above all those that others wrote: prompts, servers' messages, file names.

What is not printable, such as the escape sequences that move a cursor or rename a window, is shown as ``�``.
JSON needs none of this: it escapes them.
"""

KEPT = "\n\t"
NOTHING = "(none)"  # under the header of an empty table
SHORT = 60


def printable(text: str) -> str:
    """Return `text` with everything that a terminal would obey replaced."""
    return "".join(letter if letter.isprintable() or letter in KEPT else "\ufffd" for letter in text)


def short(text: str | None, limit: int = SHORT) -> str:
    """Return `text` on one line, cut at `limit` characters; erased text as such."""
    if text is None:
        return "[erased]"
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
