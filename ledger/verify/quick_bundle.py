"""Check a bundle of the whole tree quickly, and either report it as sound or say nothing.

`verify_bundle` needs only Python, and takes one record at a time. Here records are checked in blocks of 256
with the compiled parsers of `ledger.verify.ranges`, long files are unpacked once, and only payloads that cite
files or documents, or depend on permissions, are inspected. `verify_bundle` itself checks everything else,
such as the manifest and the documents, and decides wherever anything is odd.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import msgspec

from ledger.verify.elsewhere import DOMAIN
from ledger.verify.ranges import BLOCK, Envelope, decode_records, hmac_hex
from ledger.verify.shapes import Collect, Namespace, Shapes, encode_lines
from ledger.verify.slim_fold import NotSound
from ledger.verify.strict import MAX_INTEGER
from ledger.verify.tree import Tree, root_of_block
from ledger.verify.verify_bundle import (
    CITING,
    CLOSING,
    FOLLOWED,
    MAX_CITED,
    MAX_LINE_BYTES,
    PART_BYTES,
    SALT,
    STORING,
    UNREADABLE,
    BundleCheck,
    Head,
    NotABundle,
    check_bundle,
)

_CITED = re.compile(f'"({"|".join(CITING)})":"([^"\\\\]*)"'.encode()).findall
"""Finds the citations in a canonical payload; quotes inside a text would be escaped."""
_CITES = b'sha256":"'
_LONG = ("records.jsonl", "payloads.jsonl", "bodies.jsonl")
"""Files that are read line by line; their digests are compared along the way."""
_sha256 = hashlib.sha256
_PROVEN = ("access_key", "signature")


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line of bodies.jsonl; its members are in the order of canonical JSON."""

    commitment: str
    field: str
    position: int
    salt: str
    text: str


_decode_bodies = msgspec.json.Decoder(_Body).decode_lines
_salts = re.compile(f"(?:{SALT.pattern}\n)*").fullmatch


def is_sound(path: str) -> bool:
    """Return whether the bundle at `path` is sound; False if that could not be established quickly."""
    try:
        return not check_bundle(path, check=_QuickCheck).findings
    except (AttributeError, KeyError, NotABundle, NotSound, RecursionError, TypeError, ValueError):
        return False


class _QuickCheck(BundleCheck):
    """The check of a bundle whose records are read in blocks; `NotSound` if one of them is odd."""

    def _files(self, listed: dict[str, dict[str, Any]], count: int) -> None:
        entries = self.archive.entries
        self.listed = listed
        if listed.keys() != entries.keys() - {"manifest.json"} or len(listed) != count:
            raise NotSound("the files")
        for name, item in listed.items():
            later = name in _LONG
            if item.get("bytes") != entries[name].file_size or not (later or self._is_whole(name)):
                raise NotSound("a file")

    def _is_whole(self, name: str) -> bool:
        return bool(self.listed[name].get("sha256") == self.archive.digest(name))

    def _records(self, scope: dict[str, Any], head: Head) -> None:
        if scope["kind"] != "all":
            if not all(self._is_whole(name) for name in _LONG if name in self.listed):
                raise NotSound("a file")
            super()._records(scope, head)
            return
        self.shapes = Shapes()
        self.requested: dict[str, tuple[Envelope, bytes, bytes]] = {}
        self.bodies = self._bodies()
        self._read_body()
        tree = Tree()
        records, payloads = (chain.from_iterable(self._parts(name)) for name in _LONG[:2])
        while block := list(islice(records, BLOCK)):
            self._block(block, list(islice(payloads, BLOCK)), tree)
        if self.body or next(payloads, None) is not None or "proofs.jsonl" in self.archive.entries:
            raise NotSound("a payload, a text or a proof without a record")
        if (tree.size, tree.root()) != (head.size, head.root):
            raise NotSound("the tree")
        self._end(scope, head, None)

    def _parts(self, name: str) -> Iterator[list[bytes]]:
        """Yield the lines of a file in parts; after the last one, its digest is right."""
        digest, rest = _sha256(), b""
        try:
            with self.archive.open(name) as file:
                while part := file.read(PART_BYTES):
                    digest.update(part)
                    *lines, rest = (rest + part).split(b"\n")
                    if len(rest) > MAX_LINE_BYTES:
                        raise NotSound("a long line")
                    yield lines
        except UNREADABLE as error:
            raise NotSound(name) from error
        if rest or digest.hexdigest() != self.listed[name].get("sha256"):
            raise NotSound(name)

    def _block(self, records: Sequence[bytes], payloads: Sequence[bytes], tree: Tree) -> None:
        lines = b"\n".join([*records, b""])
        envelopes = decode_records(lines)
        first = self.last_position + 1
        if (
            encode_lines(envelopes) != lines
            or [envelope.position for envelope in envelopes] != list(range(first, first + len(records)))
            or [envelope.payload_sha256 for envelope in envelopes]
            != [_sha256(payload).hexdigest() for payload in payloads]
            or min(min(envelope.version, envelope.schema_version) for envelope in envelopes) < 1
        ):
            raise NotSound("a record")
        types = [envelope.type for envelope in envelopes]
        documents = self.shapes.parse_all(types, payloads)
        leaves = [_sha256(b"\0" + record).digest() for record in records]
        self._follow(envelopes, documents, payloads, leaves)
        if len(leaves) == BLOCK:
            tree.add_block(root_of_block(leaves))
        else:
            for each in leaves:
                tree.add(each)
        self.outcome.records += len(records)
        self.last_position, self.last_type = envelopes[-1].position, types[-1]
        self.closed = self.closed or CLOSING in types

    def _follow(
        self,
        envelopes: Sequence[Envelope],
        documents: Sequence[Any],
        payloads: Sequence[bytes],
        leaves: Sequence[bytes],
    ) -> None:
        collectors, cases, next_body = self.shapes.collectors, self.cases, self.next_body
        for envelope, document, data, leaf in zip(envelopes, documents, payloads, leaves, strict=True):
            type_ = envelope.type
            collect = collectors.get(type(document))
            if collect or envelope.position >= next_body:
                self._check_bodies(envelope.position, collect, document)
                next_body = self.next_body
            if _CITES in data:
                self._cite_all(data)
            if type_ == STORING and len(self.stored) < MAX_CITED:
                self.stored[envelope.position] = (envelope.stream, leaf.hex())
            if type_ in FOLLOWED or envelope.actor_source == "access_key" or envelope.stream in cases:
                self._check_permission(envelope, leaf, data, document)

    def _check_permission(self, envelope: Envelope, leaf: bytes, data: bytes, document: Any) -> None:
        """Check permissions as `_permit` does; a request waits until a record may depend on it."""
        stream = envelope.stream
        if envelope.actor_source not in _PROVEN and type(document) is not Namespace:
            if envelope.type == "render.requested" and document.operation is not msgspec.UNSET:
                self.cases.pop(stream, None)
                self.requested[stream] = (envelope, leaf, data)
                return
            if envelope.type == "render.decided" and stream in self.requested and self._is_free(document):
                del self.requested[stream]
                return
        if stream in self.requested:
            earlier, its_leaf, payload = self.requested.pop(stream)
            self._permit(msgspec.structs.asdict(earlier), its_leaf, msgspec.json.decode(payload))
        self._permit(msgspec.structs.asdict(envelope), leaf, msgspec.json.decode(data))

    def _is_free(self, decided: Any) -> bool:
        """Return whether a decision needed no permission."""
        inputs, in_force = decided.basis.inputs, self.permissions.find_policy_in_force()
        rules = self.permissions.rules_of(in_force) if in_force else None
        return (
            isinstance(inputs, msgspec.Struct)
            and decided.model is not msgspec.UNSET
            and not getattr(inputs, "approved", None)
            and not getattr(inputs, "overridden", None)
            and (rules is None or not rules.approvals)
        )

    def _cite_all(self, data: bytes) -> None:
        """Collect the documents and files that a payload cites."""
        for name, digest in _CITED(data):
            self._cite({name.decode(): digest.decode()})

    # bodies.jsonl, read along with the records

    def _bodies(self) -> Iterator[_Body]:
        if _LONG[2] not in self.archive.entries:
            return
        lines = chain.from_iterable(self._parts(_LONG[2]))
        while block := list(islice(lines, BLOCK)):
            joined = b"\n".join([*block, b""])
            bodies = _decode_bodies(joined)
            if encode_lines(bodies) != joined or not _salts("\n".join([*(body.salt for body in bodies), ""])):
                raise NotSound("a text")
            yield from bodies

    def _read_body(self) -> None:
        self.body = next(self.bodies, None)
        self.next_body = self.body.position if self.body else MAX_INTEGER

    def _check_bodies(self, position: int, collect: Collect | None, document: Any) -> None:
        """Check the texts of one record against its commitments, as `Bodies` does."""
        paths: dict[str, str] = {}
        if collect:
            collect(document, "", paths)
        absent = {commitment: path for path, commitment in paths.items()}
        if len(absent) < len(paths):
            raise NotSound("a commitment in two places")
        while self.body and self.body.position <= position:
            body = self.body
            if body.position != position or absent.pop(body.commitment, None) != body.field:
                raise NotSound("a text")
            message = DOMAIN + body.field.encode() + b"\0" + body.text.encode()
            if hmac_hex(bytes.fromhex(body.salt), message) != body.commitment:
                raise NotSound("a text")
            self.outcome.texts += 1
            self._read_body()
        self.outcome.texts_absent += len(absent)
