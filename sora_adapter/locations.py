"""Addresses that a server names: where a video's bytes are (``url``), and where a redirect points. Pure.

A server is believed about its videos, and not trusted with this machine: it may lead a GET to another web
address, never to a file, from HTTPS to plain HTTP, or from the internet into a private network.
"""

import ipaddress
from urllib.parse import urljoin, urlsplit

LONGEST = 8_192
_WEB = {"http": 80, "https": 443}


def followed(base_url: str, url: str) -> str | None:
    """Return `url`, which may be relative, in full if the server at `base_url` may lead there; else None."""
    if not (url.isascii() and url.isprintable()) or " " in url or len(url) > LONGEST:
        return None
    try:
        target = urljoin(f"{base_url}/", url)
        return target if _may_lead(base_url, target) else None
    except ValueError:
        return None


def is_same_origin(one: str, other: str) -> bool:
    """Say whether scheme, host and port are the same, so that credentials for `one` may go to `other`."""
    return _origin(one) == _origin(other)


def _may_lead(base_url: str, target: str) -> bool:
    base, there = urlsplit(base_url), urlsplit(target)
    if there.scheme not in _WEB or not there.hostname or there.username is not None:
        return False
    if there.scheme == "http" and base.scheme == "https":
        return False
    return not _is_inside(there.hostname) or _is_inside(base.hostname or "")


def _is_inside(host: str) -> bool:
    """Say whether `host` is this machine or an address of a private network; names are not looked up."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _WEB.get(parts.scheme)
