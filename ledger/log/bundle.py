"""A bundle: records with everything needed to check them, in one zip file; `docs/FORMAT.md` is normative.

A bundle belongs to one tree head. For every record it has the payload, the private text that may be shown and
was not erased, and the path to the root; a bundle of the whole tree needs no paths. It also has the documents
and files that payloads cite by digest: policies and catalogs always, stored files on request. The same
records under the same head give the same bytes.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from ledger.canonical import canonical_json
from ledger.events import AssetPublished, AssetStored
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.tree.head import TreeHead
from ledger.tree.merkle import TILE_HEIGHT, Frontier, Nodes, inclusion_proof
from ledger.verify import verify_bundle

FORMAT = "sora-ledger/bundle/v2"
_CITING = ("policy_sha256", "catalog_sha256", "required_by_sha256")
_DOCUMENTS = re.compile(f'"(?:{"|".join(_CITING)})":"([^"\\\\]+)"'.encode()).findall
"""Finds the digests of the documents that a payload cites; quotes inside a text would be escaped."""
_TEXTS = re.compile(rb'\{"commitment":"([^"\\]+)"\}').findall
_DOCUMENT_KEY, _FILE_KEY = b'_sha256":"', b'"storage_uri":"'
_print = msgspec.json.Encoder().encode
_FILES = (AssetStored.type, AssetPublished.type)
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_IN_MEMORY_BYTES = 8 << 20
_PART_BYTES = 1 << 20
_RECORDS_AT_ONCE = 500
_BLOCK = 1 << TILE_HEIGHT
_BLOCKS = 64
_README = """\
Evidence from a sora-ledger: {what}.

records.jsonl     what was recorded, one record a line, byte for byte as it was hashed
payloads.jsonl    what happened, in the same order
bodies.jsonl      the private text the records commit to, as far as it may be shown and was not erased
proofs.jsonl      for each record, that it is in the ledger's tree
checkpoint        how long the ledger was, and the root of its tree
documents/        policies and catalogs that decisions cite, by their SHA-256
assets/           stored files the records cite, by their SHA-256
timestamps/       when the checkpoint existed, according to others (RFC 3161)
manifest.json     every file with its size and SHA-256
verify_bundle.py  checks all of it; needs Python 3.9 or newer and nothing else

To check it:

    python3 verify_bundle.py {name}

Take verify_bundle.py from a person you trust rather than from here, and name the public key you were given
(--verifier KEY) or the checkpoint you hold (--checkpoint FILE): the bundle cannot vouch for itself.
"""


@dataclass(frozen=True)
class Scope:
    """Which records: one job's, positions `first` to `last`, or all."""

    job_id: str | None = None
    first: int | None = None
    last: int | None = None

    def document(self) -> dict[str, Any]:
        """Return the scope as in the manifest."""
        if self.job_id is not None:
            return {"kind": "job", "job_id": self.job_id}
        if self.first is not None:
            return {"kind": "range", "from": self.first, "to": self.last}
        return {"kind": "all"}

    def __str__(self) -> str:
        if self.job_id is not None:
            return f"job {self.job_id}"
        return f"positions {self.first} to {self.last}" if self.first is not None else "everything"

    def records(self, ledger: Ledger, size: int) -> Iterator[Record]:
        """Return the records that are among the first `size`."""
        where = RecordFilter(stream=self.job_id, before=min(self.last or size, size) + 1)
        return ledger.read(where, after=(self.first or 1) - 1)


@dataclass(frozen=True)
class CitedFile:
    """A stored file that a record cites; without a URI it is found by its digest."""

    position: int
    sha256: str
    storage_uri: str | None


@dataclass
class Contents:
    """The contents of a bundle; `absent` are requested files that were not available.

    `copies_absent` counts published copies that are missing from where they were published.
    """

    records: int = 0
    texts: int = 0
    documents: int = 0
    assets: int = 0
    manifests: int = 0
    absent: list[CitedFile] = field(default_factory=list)
    copies_absent: int = 0


@dataclass(frozen=True)
class Wish:
    """Optional contents: private text, and stored files (`open_asset` returns the bytes, or None).

    `find_manifest` returns the C2PA manifest store of the file that a record is about: empty if it has none,
    None if the file is not there.
    """

    with_text: bool = True
    open_asset: Callable[[CitedFile], IO[bytes] | None] | None = None
    find_manifest: Callable[[Record], bytes | None] | None = None
    verifier: str | None = None
    timestamp: bytes | None = None
    build: Mapping[str, str] = field(default_factory=dict)


def write_bundle(
    file: IO[bytes], name: str, ledger: Ledger, scope: Scope, head: TreeHead, wish: Wish
) -> Contents:
    """Write the bundle of `scope` under `head` to `file`; `name` is the file name to print in its README."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        bundling = _Bundling(_Writing(packed), ledger, scope, head, wish)
        bundling.write(name)
    return bundling.contents


class _Writing:
    """A zip file being written; collects the size and digest of each file."""

    def __init__(self, packed: zipfile.ZipFile) -> None:
        self._packed = packed
        self.files: list[dict[str, Any]] = []

    def add(self, name: str, data: bytes) -> None:
        self.copy(name, io.BytesIO(data))

    def copy(self, name: str, source: IO[bytes]) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.external_attr = 0o100644 << 16
        info.compress_type = zipfile.ZIP_STORED if name.startswith("assets/") else _method(source)
        digest, size = hashlib.sha256(), 0
        with self._packed.open(info, "w", force_zip64=True) as target:
            while part := source.read(_PART_BYTES):
                target.write(part)
                digest.update(part)
                size += len(part)
        self.files.append({"bytes": size, "name": name, "sha256": digest.hexdigest()})


def _method(source: IO[bytes]) -> int:
    """Return the compression for `source`: none if it would shrink enough to look like a zip bomb."""
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    packer, packed = zlib.compressobj(), 0
    enough = 0 if size <= verify_bundle.SMALL_BYTES else 2 * size // verify_bundle.MAX_RATIO
    while packed < enough and (part := source.read(_PART_BYTES)):
        packed += len(packer.compress(part))
    source.seek(0)
    return zipfile.ZIP_DEFLATED if packed >= enough else zipfile.ZIP_STORED


class _NodeCache:
    """A cache of a log's nodes, read 256 at a time: neighbouring records share most of their paths."""

    def __init__(self, log: Nodes) -> None:
        self._block = lru_cache(maxsize=_BLOCKS)(
            lambda level, number: log.nodes(level, number * _BLOCK, _BLOCK)
        )

    def nodes(self, level: int, start: int, count: int) -> Sequence[bytes]:
        """Return `count` nodes of one block; proofs never need nodes across blocks."""
        number, at = divmod(start, _BLOCK)
        return self._block(level, number)[at : at + count]


class _Text(msgspec.Struct, gc=False):
    """A line of bodies.jsonl; its members are in the order of canonical JSON."""

    commitment: str
    field: str
    position: int
    salt: str
    text: str


class _Bundling:
    """A bundle being written; collects the digests that payloads cite."""

    def __init__(self, writing: _Writing, ledger: Ledger, scope: Scope, head: TreeHead, wish: Wish) -> None:
        self.writing = writing
        self.ledger = ledger
        self.nodes = _NodeCache(ledger.store)
        self.edge = ledger.store.head()
        self.scope = scope
        self.head = head
        self.wish = wish
        self.contents = Contents()
        self.documents: set[bytes] = set()
        self.manifests: set[str] = set()
        self.assets: dict[str, CitedFile] = {}
        self.objects: list[dict[str, Any]] = []
        self.parse = json.JSONDecoder(object_hook=self.objects.append).decode
        """Adds the objects of a payload of any version to `objects`, without descending into them."""

    def write(self, name: str) -> None:
        add = self.writing.add
        add("README.txt", _README.format(what=self.scope, name=name).encode())
        add("verify_bundle.py", Path(verify_bundle.__file__).read_bytes())
        add("checkpoint", self.head.to_bytes())
        if stamp := self.wish.timestamp:
            add(f"timestamps/{hashlib.sha256(stamp).hexdigest()}.tsr", stamp)
        self._records()
        self._documents()
        self._assets()
        manifest = {
            "build": dict(self.wish.build),
            "files": sorted(self.writing.files, key=lambda item: str(item["name"])),
            "format": FORMAT,
            "scope": self.scope.document(),
            "verifier": self.wish.verifier,
        }
        add("manifest.json", canonical_json(manifest))

    def _records(self) -> None:
        """Write the four JSON Lines files in one pass over the log."""
        size = self.head.checkpoint.size
        names = ["records", "payloads"]
        names += ["proofs"] if self.scope.document()["kind"] != "all" else []
        names += ["bodies"] if self.wish.with_text else []
        with ExitStack() as stack:
            spools = {name: stack.enter_context(SpooledTemporaryFile(_IN_MEMORY_BYTES)) for name in names}
            records = self.scope.records(self.ledger, size)
            while some := list(islice(records, _RECORDS_AT_ONCE)):
                self._write_some(some, spools)
            for name, spool in spools.items():
                spool.seek(0)
                self.writing.copy(f"{name}.jsonl", spool)

    def _write_some(self, records: Sequence[Record], spools: Mapping[str, IO[bytes]]) -> None:
        bodies: list[bytes] = []
        for record in records:
            payload = record.payload
            if _DOCUMENT_KEY in payload:
                self.documents.update(_DOCUMENTS(payload))
            if _FILE_KEY in payload:
                self._cite_files(record)
            if record.bodies:
                bodies += _body_lines(record)
            if record.envelope.type in _FILES:
                self._manifest_of(record)
        self.contents.records += len(records)
        spools["records"].write(_lines([record.record for record in records]))
        spools["payloads"].write(_lines([record.payload for record in records]))
        if "proofs" in spools:
            size = self.head.checkpoint.size
            for record in records:
                spools["proofs"].write(_proof_line(self.nodes, record, size, self.edge))
        if "bodies" in spools:
            self.contents.texts += len(bodies)
            spools["bodies"].write(b"".join(bodies))

    def _cite_files(self, record: Record) -> None:
        self.objects.clear()
        self.parse(record.payload.decode())
        for part in self.objects:
            if part.get("storage_uri") and part.get("sha256"):
                self._cite_file(CitedFile(record.position, part["sha256"], part["storage_uri"]))
                if original := part.get("original_sha256"):
                    self._cite_file(CitedFile(record.position, original, None))

    def _cite_file(self, cited: CitedFile) -> None:
        self.assets.setdefault(cited.sha256, cited)

    def _manifest_of(self, record: Record) -> None:
        """Write the manifest of a stored or published file, once for each digest."""
        if self.wish.find_manifest is None:
            return
        store = self.wish.find_manifest(record)
        if store is None:
            self.contents.copies_absent += record.type == AssetPublished.type
        elif store and (digest := hashlib.sha256(store).hexdigest()) not in self.manifests:
            self.manifests.add(digest)
            self.writing.add(f"provenance/{digest}.c2pa", store)
            self.contents.manifests += 1

    def _documents(self) -> None:
        for sha256 in sorted(each.decode() for each in self.documents):
            body = self.ledger.store.document(sha256)
            if body is not None:
                self.writing.add(f"documents/{sha256}", body)
                self.contents.documents += 1

    def _assets(self) -> None:
        if self.wish.open_asset is None:
            return
        for sha256, asset in sorted(self.assets.items()):
            source = self.wish.open_asset(asset)
            if source is None:
                self.contents.absent.append(asset)
                continue
            suffix = PurePosixPath(urlsplit(asset.storage_uri or "").path).suffix
            with source:
                self.writing.copy(f"assets/{sha256}{suffix if _SUFFIX.fullmatch(suffix) else ''}", source)
            self.contents.assets += 1


def _proof_line(log: Nodes, record: Record, size: int, edge: Frontier) -> bytes:
    path = inclusion_proof(log, record.position - 1, size, edge)
    return canonical_json({"hashes": [value.hex() for value in path], "position": record.position}) + b"\n"


def _body_lines(record: Record) -> Iterator[bytes]:
    """Yield the private text that a record commits to, except what was erased and secrets."""
    for commitment in _TEXTS(record.payload):
        body = record.bodies.get(commitment.decode())
        if body is not None and not body.is_secret:
            text = _Text(body.commitment, body.field, record.position, body.salt.hex(), body.text)
            yield _print(text) + b"\n"


def _lines(parts: Sequence[bytes]) -> bytes:
    return b"\n".join([*parts, b""])
