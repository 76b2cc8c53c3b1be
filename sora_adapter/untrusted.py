"""Handle untrusted input from a server: its URLs, and its text. Pure.

A URL of a video's bytes (``url``) or in a redirect may lead a GET to another web address, but never to a
file, from HTTPS to plain HTTP, or from the internet into a private network.

Servers echo keys ("Incorrect API key provided: sk-…"), sometimes masked with asterisks. Error text is cleaned
here before it is shown or recorded: no keys, no characters that a database refuses, bounded length.
Identifiers and prompts are not cleaned: a pattern could damage them.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

REMOVED = "[key removed]"
MESSAGE_CHARACTERS = 4_000
SHORTEST_SECRET = 8

Redact = Callable[[str], str]

_LOOKS_LIKE_A_KEY = re.compile(
    r"(?<![\w-])sk-[\w*.\-]{3,}"  # OpenAI's keys, and those of its many imitators
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


LONGEST = 8_192
_WEB = {"http": 80, "https": 443}


@lru_cache(maxsize=256)
def resolve_url(base_url: str, url: str) -> str | None:
    """Return the absolute form of `url` if the server at `base_url` may lead to it; otherwise None."""
    if not (url.isascii() and url.isprintable()) or " " in url or len(url) > LONGEST:
        return None
    try:
        target = urljoin(f"{base_url}/", url)
        return target if _may_lead(base_url, target) else None
    except ValueError:
        return None


def is_same_origin(url: str, other: str) -> bool:
    """Return whether scheme, host and port are the same, so credentials for `url` may go to `other`."""
    return _origin(url) == _origin(other)


def _may_lead(base_url: str, target: str) -> bool:
    base, there = urlsplit(base_url), urlsplit(target)
    if there.scheme not in _WEB or not there.hostname or there.username is not None:
        return False
    if there.scheme == "http" and base.scheme == "https":
        return False
    return not _is_inside(there.hostname) or _is_inside(base.hostname or "")


def _is_inside(host: str) -> bool:
    """Return whether `host` is this machine or a private address; names are not resolved."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _WEB.get(parts.scheme)
