"""Check a bundle of the whole tree quickly, and say that it is sound or nothing.

`verify_bundle` needs nothing but Python, and takes one record at a time. Here records are checked in blocks
of 256 with the compiled parsers of `ledger.verify.ranges`, and only payloads that cite files or documents, or
depend on permissions, are looked into. Everything else, such as the manifest and the documents, is checked by
`verify_bundle` itself, which also has the last word where anything is odd.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from ledger.verify.ranges import BLOCK, Envelope, decode_records
from ledger.verify.shapes import Collect, Shapes, encode, encode_lines
from ledger.verify.slim_fold import NotSound
from ledger.verify.tree import Tree, leaf, root_of_block
from ledger.verify.verify_bundle import (
    CITING,
    CLOSING,
    FOLLOWED,
    MAX_CITED,
    STORING,
    Bodies,
    BundleCheck,
    Head,
    NotABundle,
    check_bundle,
)

_CITES = re.compile(f'"(?:{"|".join(CITING)})":'.encode()).search
_NAMES = frozenset(CITING)


def is_sound(path: str) -> bool:
    """Return whether the bundle at `path` is sound; False if that could not be found out quickly."""
    try:
        return not check_bundle(path, check=_QuickCheck).findings
    except (AttributeError, KeyError, NotABundle, NotSound, RecursionError, TypeError, ValueError):
        return False


class _QuickCheck(BundleCheck):
    """The check of a bundle whose records are read in blocks; `NotSound` if one of them is odd."""

    def _records(self, scope: dict[str, Any], head: Head) -> None:
        if scope["kind"] != "all":
            super()._records(scope, head)
            return
        self.shapes = Shapes()
        tree = Tree()
        self.objects: list[dict[str, Any]] = []
        self.parse = json.JSONDecoder(object_hook=self.objects.append).decode
        bodies = _QuickBodies(self._optional("bodies.jsonl"), self.outcome)
        records, payloads = (self.archive.lines(f"{name}.jsonl") for name in ("records", "payloads"))
        while block := list(islice(records, BLOCK)):
            self._block(block, list(islice(payloads, BLOCK)), bodies, tree)
        if next(payloads, None) is not None or "proofs.jsonl" in self.archive.entries:
            raise NotSound("a payload or proof without a record")
        bodies.end()
        if (tree.size, tree.root()) != (head.size, head.root):
            raise NotSound("the tree")
        self._end(scope, head, None)

    def _block(self, records: Sequence[bytes], payloads: Sequence[bytes], bodies: Bodies, tree: Tree) -> None:
        lines = b"\n".join([*records, b""])
        envelopes = decode_records(lines)
        first = self.last_position + 1
        if (
            encode_lines(envelopes) != lines
            or [envelope.position for envelope in envelopes] != list(range(first, first + len(records)))
            or [envelope.payload_sha256 for envelope in envelopes]
            != [hashlib.sha256(payload).hexdigest() for payload in payloads]
            or min(min(envelope.version, envelope.schema_version) for envelope in envelopes) < 1
        ):
            raise NotSound("a record")
        documents = self.shapes.parse_all([envelope.type for envelope in envelopes], payloads)
        leaves = [leaf(record) for record in records]
        self._follow(zip(envelopes, documents, payloads, leaves, strict=True), bodies)
        if len(leaves) == BLOCK:
            tree.add_block(root_of_block(leaves))
        else:
            for each in leaves:
                tree.add(each)
        self.outcome.records += len(records)
        self.last_position, self.last_type = envelopes[-1].position, envelopes[-1].type
        self.closed = self.closed or any(envelope.type == CLOSING for envelope in envelopes)

    def _follow(self, records: Iterator[tuple[Envelope, Any, bytes, bytes]], bodies: Bodies) -> None:
        collectors = self.shapes.collectors
        for envelope, document, data, leaf_hash in records:
            position = envelope.position
            collect = collectors.get(type(document))
            if collect or (bodies.next is not None and bodies.next["position"] <= position):
                bodies.check(position, _commitments(collect, document))
            if _CITES(data):
                self._cite_all(data)
            if envelope.type == STORING and len(self.stored) < MAX_CITED:
                self.stored[position] = (envelope.stream, leaf_hash.hex())
            by_key = envelope.actor_source == "access_key"
            if by_key or envelope.type in FOLLOWED or envelope.stream in self.cases:
                self._permit(msgspec.structs.asdict(envelope), leaf_hash, msgspec.json.decode(data))

    def _cite_all(self, data: bytes) -> None:
        """Collect the documents and files that a payload cites."""
        self.objects.clear()
        self.parse(data.decode())  # adds each object, without those within it
        for value in self.objects:
            if not _NAMES.isdisjoint(value):
                self._cite(value)


class _QuickBodies(Bodies):
    @staticmethod
    def parse(data: bytes) -> dict[str, Any]:
        """Do the same as `strict_json` for an object of texts and an integer, faster."""
        document: dict[str, Any] = msgspec.json.decode(data, type=dict[str, str | int])
        if encode(document) != data:
            raise NotSound("a text")
        return document


def _commitments(collect: Collect | None, document: Any) -> dict[str, str]:
    """Return the commitments in a payload and their paths."""
    paths: dict[str, str] = {}
    if collect:
        collect(document, "", paths)
    commitments = {commitment: path for path, commitment in paths.items()}
    if len(commitments) < len(paths):
        raise NotSound("a commitment in two places")
    return commitments
