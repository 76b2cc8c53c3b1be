"""Names of stored files, and their URIs in records.

A file is named ``sha256/ab/<digest>.<suffix>`` in every place. Records contain ``asset:`` and that name,
which is resolved in the current asset place of the ledger, so ledger and files can be moved. Older records
contain the place as well (``file:///home/ana/assets/sha256/…``, ``s3://bucket/prefix/sha256/…``). A URI of
any other form does not name a stored file: it is neither opened nor removed.
"""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

CONTENT = "sha256"
SCHEME = "asset"
SUFFIXES = {
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "image/webp": ".webp",
    "image/jpeg": ".jpg",
    "image/png": ".png",
}
OTHER = ".bin"
_NAME = re.compile(
    rf"{CONTENT}/(?P<shard>[0-9a-f]{{2}})/(?P<sha256>(?P=shard)[0-9a-f]{{62}})\.[a-z0-9]{{1,8}}"
)
_ABSOLUTE = ("file", "s3", "gs", "az")


class ParsedUri(NamedTuple):
    """A parsed URI: name, digest, and the place in an older record (None: the place of the ledger)."""

    name: str
    sha256: str
    place_url: str | None


def name_of(sha256: str, media_type: str | None) -> str:
    """Return the name of the file with this digest and media type."""
    return f"{CONTENT}/{sha256[:2]}/{sha256}{SUFFIXES.get(media_type or '', OTHER)}"


def names_of(sha256: str) -> list[str]:
    """Return all names that a file with this digest can have."""
    return [name_of(sha256, media_type) for media_type in (*SUFFIXES, None)]


def is_name(name: str) -> bool:
    """Return whether `name` is a valid name of a stored file."""
    return _NAME.fullmatch(name) is not None


def uri_of(name: str) -> str:
    """Return the URI for a record."""
    return f"{SCHEME}:{name}"


def read_uri(storage_uri: str) -> ParsedUri | None:
    """Parse a URI; None if it does not name a stored file."""
    try:
        parts = urlsplit(storage_uri)
    except ValueError:
        return None
    if parts.query or parts.fragment:
        return None
    if parts.scheme == SCHEME and not parts.netloc:
        match = _NAME.fullmatch(parts.path)
        return ParsedUri(match[0], match["sha256"], None) if match else None
    if parts.scheme not in _ABSOLUTE or (parts.scheme == "file") == bool(parts.netloc):
        return None
    root, separator, rest = parts.path.rpartition(f"/{CONTENT}/")
    match = _NAME.fullmatch(f"{CONTENT}/{rest}") if separator else None
    return ParsedUri(match[0], match["sha256"], f"{parts.scheme}://{parts.netloc}{root}") if match else None
