"""URLs that a server names: of a video's bytes (``url``), and in redirects. Pure.

A server is not trusted with this machine: it may lead a GET to another web address, but never to a file, from
HTTPS to plain HTTP, or from the internet into a private network.
"""

import ipaddress
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

LONGEST = 8_192
_WEB = {"http": 80, "https": 443}


@lru_cache(maxsize=256)
def followed(base_url: str, url: str) -> str | None:
    """Return the absolute form of `url` if the server at `base_url` may lead there; otherwise None."""
    if not (url.isascii() and url.isprintable()) or " " in url or len(url) > LONGEST:
        return None
    try:
        target = urljoin(f"{base_url}/", url)
        return target if _may_lead(base_url, target) else None
    except ValueError:
        return None


def is_same_origin(one: str, other: str) -> bool:
    """Return whether scheme, host and port are the same, so that credentials for `one` may go to `other`."""
    return _origin(one) == _origin(other)


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
