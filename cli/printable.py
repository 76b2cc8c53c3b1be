"""Text that others wrote (prompts, servers' messages, file names), made fit for a terminal.

What is not printable, such as the escape sequences that move a cursor or rename a window, is shown as ``�``.
JSON needs none of this: it escapes them.
"""

KEPT = "\n\t"


def printable(text: str) -> str:
    """Return `text` with everything that a terminal would obey replaced."""
    return "".join(letter if letter.isprintable() or letter in KEPT else "\ufffd" for letter in text)
