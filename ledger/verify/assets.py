"""Check stored files against their digests in the log; the caller reads the files.

A file is expected once a record says that it was stored, until another says that it is lost (``asset.lost``),
or until its name was erased (``private.erased``), because the file may be deleted with it. A file that still
exists must match its digest in any case.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ledger.verify.report import Report

TYPES = frozenset({"asset.stored", "asset.lost", "render.requested", "private.erased"})


class StoredFile(NamedTuple):
    """A file that a record names: its URI (None: found by its digest), digest and length."""

    storage_uri: str | None
    sha256: str
    bytes: int | None = None


Digest = Callable[[StoredFile], str | None]
"""Reads a stored file and returns its SHA-256 in hex, or how it differs without reading it.

None if the file is missing. A record may name any file of the machine: implementations read only regular
files of the recorded length.
"""


@dataclass
class _Cited:
    position: int
    subject: str
    file: StoredFile
    may_be_gone: bool = False


def check_assets(report: Report, events: Iterator[tuple[Any, ...]], digest: Digest) -> int:
    """Digest every file that the log cites; report missing and changed files; return the number of files.

    `events` are the rows of a snapshot. A file that several records cite is read once.
    """
    known: dict[StoredFile, str | None] = {}
    for cited in _Log(events).cited:
        if cited.file not in known:
            known[cited.file] = digest(cited.file)
        found = known[cited.file]
        if found is None:
            if not cited.may_be_gone:
                report.add("ASSET_MISSING", cited.position, cited.subject, cited.file.sha256, "no file")
        elif found != cited.file.sha256:
            report.add("ASSET_CHANGED", cited.position, cited.subject, cited.file.sha256, found)
    return len(known)


class _Log:
    """The stored files that the log names, by position; both of a variant that was stored twice."""

    def __init__(self, events: Iterator[tuple[Any, ...]]) -> None:
        self.cited: list[_Cited] = []
        self._variants: dict[tuple[Any, str], list[_Cited]] = {}
        self._names: dict[str, list[_Cited]] = {}
        for position, _, stream, _, type_, *_, payload, _ in events:
            if type_ in TYPES:
                self._take(position, stream, type_, _parsed(payload))

    def _take(self, position: int, stream: Any, type_: str, document: dict[str, Any]) -> None:
        variant = str(document.get("variant"))
        if type_ == "asset.stored":
            found = _file(position, variant, document)
            if found is not None:
                self.cited.append(found)
                self._variants.setdefault((stream, variant), []).append(found)
        elif type_ == "asset.lost":
            _mark_may_be_gone(self._variants.get((stream, variant), ()))
        elif type_ == "private.erased":
            for commitment in _list(document.get("commitments")):
                _mark_may_be_gone(self._names.get(str(commitment), ()))
        else:
            for name, found in _inputs(position, document):
                self.cited.append(found)
                self._names.setdefault(name, []).append(found)


def _mark_may_be_gone(files: Iterable[_Cited]) -> None:
    for file in files:
        file.may_be_gone = True


def _inputs(position: int, request: dict[str, Any]) -> Iterator[tuple[str, _Cited]]:
    """Yield the input files of a request, each with the commitment to its name."""
    images = _list(request.get("further_images"))
    parts = [("input_reference", request.get("input_reference")), ("source_file", request.get("source_file"))]
    for subject, part in [*parts, *((f"further_images.{at}", image) for at, image in enumerate(images))]:
        if not isinstance(part, dict):
            continue
        name = part["name"].get("commitment") if isinstance(part.get("name"), dict) else None
        found = _file(position, subject, part)
        if found is not None:
            yield str(name), found
        if found is not None and isinstance(part.get("original_sha256"), str):
            original = StoredFile(None, part["original_sha256"])
            yield str(name), _Cited(position, f"{subject}.original", original)


def _file(position: int, subject: str, part: dict[str, Any]) -> _Cited | None:
    uri, sha256 = part.get("storage_uri"), part.get("sha256")
    if not isinstance(uri, str) or not isinstance(sha256, str):
        return None
    length = part.get("bytes")
    known = length if isinstance(length, int) and not isinstance(length, bool) else None
    return _Cited(position, subject, StoredFile(uri, sha256, known))


def _parsed(payload: Any) -> dict[str, Any]:
    """Return the payload, or nothing if it cannot be parsed, which another check reports."""
    try:
        document = json.loads(payload)
    except (RecursionError, TypeError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _list(value: Any) -> list[Any]:
    return [item for item in value if isinstance(item, dict | str)] if isinstance(value, list) else []
