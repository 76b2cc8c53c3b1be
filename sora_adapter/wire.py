"""A prepared POST, and the digest of its content, computed from the POST and again from the bytes sent.

An intent commits to this digest (``sent_sha256``), and the transport compares it with the bytes it is about
to write. `docs/FORMAT.md`, "What is sent", defines the hashed document: canonical JSON of method, target,
media type, fields, and the SHA-256 of each file. The boundary of a form, the order of its fields and the
spacing of JSON do not matter; everything a server acts on does.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ledger.canonical import canonical_json

JSON = "application/json"
FORM = "multipart/form-data"
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_NAME = re.compile(r'[; ]name="([^"]*)"')
_FILE_NAME = re.compile(r'[; ]filename="')


FilePart = tuple[str, bytes, str]


@dataclass(frozen=True)
class Post:
    """The arguments of one POST, in the SDK's terms; `more_files` are files under repeated field names."""

    path: str
    body: dict[str, Any]
    files: dict[str, FilePart] | None = None
    multipart: bool = False
    more_files: tuple[tuple[str, FilePart], ...] = ()


class FormPart(NamedTuple):
    """One part of a form: a field, or a file with its media type."""

    name: str
    content: bytes
    media_type: str | None


def sent_sha256(post: Post, target: str) -> str:
    """Return the digest of the content that `post` sends to `target`, the path in the request line."""
    files = [
        _file(FormPart(name, content, media_type))
        for name, (_, content, media_type) in [*(post.files or {}).items(), *post.more_files]
    ]
    return _digest("POST", target, FORM if post.multipart else JSON, post.body, files)


def received_sha256(method: str, target: str, content_type: str, body: bytes) -> str:
    """Return the digest of a request from its bytes; ValueError if `sent_sha256` cannot describe it."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == JSON:
        return _digest(method, target, JSON, json.loads(body), [])
    if media_type != FORM or (boundary := _BOUNDARY.search(content_type)) is None:
        raise ValueError(f"expected {JSON} or {FORM} with a boundary, found {content_type!r}")
    fields: dict[str, str] = {}
    files = []
    for part in _parts(body, boundary[1].encode()):
        if part.media_type is not None:
            files.append(_file(part))
        elif part.name in fields:
            raise ValueError(f"the field {part.name} is in the form twice")
        else:
            fields[part.name] = part.content.decode()
    return _digest(method, target, FORM, fields, files)


def _digest(
    method: str, target: str, media_type: str, fields: Mapping[str, Any], files: list[dict[str, str]]
) -> str:
    document = {
        "fields": dict(fields),
        "files": files,
        "media_type": media_type,
        "method": method,
        "target": target,
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()


def _file(part: FormPart) -> dict[str, str]:
    return {
        "media_type": part.media_type or "",
        "name": part.name,
        "sha256": hashlib.sha256(part.content).hexdigest(),
    }


def _parts(body: bytes, boundary: bytes) -> Iterator[FormPart]:
    """Yield the parts of a form (RFC 7578); ValueError if it is cut off or malformed."""
    first, *rest = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if first or not rest or rest[-1].strip() != b"--":
        raise ValueError("the form is not delimited by its boundary")
    for raw in rest[:-1]:
        head, blank, content = raw.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = dict(_header(line) for line in head.decode().split("\r\n"))
        disposition = headers.get("content-disposition", "")
        name = _NAME.search(disposition)
        if not blank or name is None:
            raise ValueError("a part of the form has no name")
        is_file = _FILE_NAME.search(disposition) is not None
        media_type = headers.get("content-type", "application/octet-stream") if is_file else None
        yield FormPart(name[1], content, media_type)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()
