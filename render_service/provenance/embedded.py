"""Find the C2PA manifest and the XMP packet of a media file by its structure, without reading its frames.

An MP4 or QuickTime file is a sequence of boxes. Only their headers are read, so a file of gigabytes costs as
much as a small one, and a file without a manifest never reaches the C2PA library. Other files (images, AVI)
are searched for the literal ``jumb``, which every manifest contains.

All input here is untrusted. Lengths are checked against the file, boxes are counted, and XMP is searched with
a pattern and never parsed as XML.
"""

import hashlib
import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ledger.events import EVENT_TYPES, AssetPublished, AssetStored
from ledger.record import Record, entries
from ledger.verify.verify_bundle import MAX_MANIFEST_STORE_BYTES
from render_service.assets.bucket import local_path
from render_service.assets.store import AssetStore
from render_service.runtime.errors import ServiceError

MOST_BOXES = 100_000
MOST_XMP_BYTES = 1 << 20
_HEADER = 8
_LONG_HEADER = 16
_UUID = 16
_FLAGS, _OFFSET, _MANIFEST = 4, 8, b"manifest"
_LONG, _TO_THE_END = 1, 0
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"styp"}
_JUMBF = b"jumb"
_XMP_BEGIN, _XMP_END = b"<x:xmpmeta", b"</x:xmpmeta>"
_VALUE = rb"""(?:\s*=\s*["']|[^<>]{0,200}?rdf:resource\s*=\s*["']|\s*>\s*)([^"'<>\s]{1,300})"""
_SOURCE_TYPE = re.compile(rb"Iptc4xmpExt:DigitalSourceType" + _VALUE)
_REMOTE = re.compile(rb"dcterms:provenance" + _VALUE)
_TERM = re.compile(r"https?://(?:cv\.iptc\.org/newscodes|c2pa\.org)/digitalsourcetype/([A-Za-z]{1,64})")


class EmbeddedProvenance(NamedTuple):
    """The embedded data of a file; `manifest_bytes` is 0 without a manifest, None if its size is unknown."""

    manifest_bytes: int | None
    names_remote: bool
    xmp_source_type: str | None

    @property
    def has_manifest(self) -> bool:
        """Whether there is a manifest to read."""
        return self.manifest_bytes != 0


class Box(NamedTuple):
    """A top-level box: its type, where its content begins, and the content's size."""

    kind: bytes
    begins_at: int
    bytes: int


def source_type_term(value: str) -> str | None:
    """Return the term of a digital source type, such as ``trainedAlgorithmicMedia``; None for other text."""
    match = _TERM.fullmatch(value)
    return match[1] if match else None


def find_embedded(path: Path) -> EmbeddedProvenance | None:
    """Return the embedded data of the file at `path`; None if it has too many boxes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(_HEADER)[4:] not in _FIRST_BOXES:
            return _search(file, size)
        manifest, xmp = 0, b""
        for count, box in enumerate(boxes(file, size)):
            if count >= MOST_BOXES:
                return None
            if box.kind != b"uuid" or box.bytes < _UUID:
                continue
            file.seek(box.begins_at)
            extended = file.read(_UUID)
            if extended == C2PA_UUID:
                manifest += box.bytes
            elif extended == _XMP_UUID and not xmp:
                xmp = file.read(min(box.bytes - _UUID, MOST_XMP_BYTES))
    return _describe(manifest, xmp)


def xmp_box(path: Path) -> bytes:
    """Return the first XMP box of an MP4 or QuickTime file, header included; empty if it has none."""
    with path.open("rb") as file:
        for count, box in enumerate(boxes(file, path.stat().st_size)):
            if count >= MOST_BOXES:
                break
            if box.kind == b"uuid" and _UUID <= box.bytes <= MOST_XMP_BYTES:
                file.seek(box.begins_at)
                content = file.read(box.bytes)
                if content.startswith(_XMP_UUID):
                    return (len(content) + _HEADER).to_bytes(4) + b"uuid" + content
    return b""


def manifest_store(path: Path, most_bytes: int) -> bytes:
    """Return the C2PA manifest store in an MP4 or QuickTime file; empty if it has none, or a larger one.

    The box has a UUID, four bytes of version and flags, a purpose that ends with a zero, and the place of
    another box (8 bytes); then comes the store.
    """
    with path.open("rb") as file:
        for count, box in enumerate(boxes(file, path.stat().st_size)):
            if count >= MOST_BOXES:
                break
            if box.kind != b"uuid" or not _UUID <= box.bytes <= most_bytes:
                continue
            file.seek(box.begins_at)
            content = file.read(box.bytes)
            purpose, _, rest = content[_UUID + _FLAGS :].partition(b"\0")
            if content.startswith(C2PA_UUID) and purpose == _MANIFEST:
                store = rest[_OFFSET:]
                return store[: int.from_bytes(store[:4])]
    return b""


def boxes(file: BinaryIO, size: int) -> Iterator[Box]:
    """Yield the top-level boxes of a file of `size` bytes; a box that does not fit ends at the file's end."""
    at = 0
    while at + _HEADER <= size:
        file.seek(at)
        header = file.read(_LONG_HEADER)
        length, kind, begins = int.from_bytes(header[:4]), header[4:8], at + _HEADER
        if length == _LONG:
            length, begins = int.from_bytes(header[8:]), at + _LONG_HEADER
        ends = size if length == _TO_THE_END else min(at + length, size)
        if ends < begins:
            return
        yield Box(kind, begins, ends - begins)
        at = ends


def _search(file: BinaryIO, size: int) -> EmbeddedProvenance:
    """Search a file that is not made of boxes."""
    if not size:
        return EmbeddedProvenance(0, names_remote=False, xmp_source_type=None)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        has_manifest = content.find(_JUMBF) >= 0
        begin = content.find(_XMP_BEGIN)
        end = content.find(_XMP_END, begin) if begin >= 0 else -1
        xmp = content[begin : min(end, begin + MOST_XMP_BYTES)] if end > begin else b""
    return _describe(None if has_manifest else 0, xmp)


def _describe(manifest_bytes: int | None, xmp: bytes) -> EmbeddedProvenance:
    named = _SOURCE_TYPE.search(xmp)
    return EmbeddedProvenance(
        manifest_bytes=manifest_bytes,
        names_remote=_REMOTE.search(xmp) is not None,
        xmp_source_type=source_type_term(named[1].decode(errors="replace")) if named else None,
    )


# --- the manifests of a job's files, for bundles ---


def manifest_finder(assets: AssetStore, *, stored: bool) -> Callable[[Record], bytes | None]:
    """Return a function that finds the manifest of a published copy, and of `stored` files as well.

    Copies in a bucket, and those that were moved or replaced since, are not found.
    """

    def find(record: Record) -> bytes | None:
        [entry] = entries([record], EVENT_TYPES[record.type])
        event = entry.event
        if isinstance(event, AssetPublished):
            path = local_path(event.target.text) if event.target.text else None
        elif isinstance(event, AssetStored) and stored:
            path = assets.path(event.storage_uri)
        else:
            return b""
        with suppress(OSError, ServiceError):
            if path is not None and path.is_file() and _digest_of(path) == event.sha256:
                return manifest_store(path, MAX_MANIFEST_STORE_BYTES)
        return None

    return find


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
