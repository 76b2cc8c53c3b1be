"""Cleaning text of servers: no keys, nothing that a database refuses, bounded length.

Servers echo keys ("Incorrect API key provided: sk-…"), sometimes masked with asterisks. Error text passes
through here before it is shown or recorded. Identifiers and prompts do not: a pattern could damage them.
"""

import re
from collections.abc import Callable

REMOVED = "[key removed]"
MESSAGE_CHARACTERS = 4_000
SHORTEST_SECRET = 8

Redact = Callable[[str], str]

_LOOKS_LIKE_A_KEY = re.compile(
    r"(?<![\w-])sk-[\w*.\-]{3,}"  # OpenAI's, and those of the many that imitate them
    r"|(?<=key provided: )[^\s\"'\\,}<]+"  # OpenAI's sentence about any key
    r"|(?<=Bearer )[\w*.~+/=\-]{8,}",
    re.IGNORECASE,
)


def redactor(api_key: str | None) -> Redact:
    """Return a function that removes `api_key` and anything that looks like a key from a text."""
    ours = _pattern_of(api_key) if api_key else None

    def redact(text: str) -> str:
        without_ours = ours.sub(REMOVED, text) if ours else text
        return _LOOKS_LIKE_A_KEY.sub(REMOVED, without_ours)

    return redact


def _pattern_of(api_key: str) -> re.Pattern[str]:
    """Match a real key anywhere, but a placeholder such as ``x`` only as a whole word."""
    literal = re.escape(api_key)
    return re.compile(literal if len(api_key) >= SHORTEST_SECRET else rf"(?<!\w){literal}(?!\w)")


def storable(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """Return `text` cut to `limit`, without NUL (PostgreSQL) and lone surrogates (UTF-8 has none)."""
    return text[:limit].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def excerpt(text: str, limit: int = 300) -> str:
    """Return the beginning of `text` on one line."""
    return " ".join(text[: limit * 4].split())[:limit]
