"""Text of servers, made fit to keep: no keys, nothing a database refuses, no endless messages.

Servers echo keys ("Incorrect API key provided: sk-…"), sometimes with stars in the middle. What a person
or a record may see passes here first; identifiers and prompts do not, for a pattern could damage them.
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
    """Return the function that takes `api_key` and whatever looks like a key out of a text."""
    ours = _pattern_of(api_key) if api_key else None

    def redact(text: str) -> str:
        without_ours = ours.sub(REMOVED, text) if ours else text
        return _LOOKS_LIKE_A_KEY.sub(REMOVED, without_ours)

    return redact


def _pattern_of(api_key: str) -> re.Pattern[str]:
    """Find a real key anywhere, a placeholder such as ``x`` only where it stands alone."""
    literal = re.escape(api_key)
    return re.compile(literal if len(api_key) >= SHORTEST_SECRET else rf"(?<!\w){literal}(?!\w)")


def storable(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """Return `text` cut to `limit`, without NUL (PostgreSQL) and lone surrogates (UTF-8 has none)."""
    return text[:limit].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def excerpt(text: str, limit: int = 300) -> str:
    """Return the beginning of `text` on one line."""
    return " ".join(text[: limit * 4].split())[:limit]
