"""Proofs in files that other tools can read.

*Inclusion* is a C2SP tlog-proof (https://c2sp.org/tlog-proof): the leaf's index, the path to the root, and
the checkpoint that vouches for the root. Its line ``extra`` has the record, so the proof is self-contained:

    c2sp.org/tlog-proof@v1
    extra eyJhY3Rvci…        the record's bytes, base64
    index 41                 its leaf, counted from 0
    q7c…=                    the path, lowest first, base64
                             an empty line, then the checkpoint as it was issued

*Consistency* is the request to a C2SP tlog-witness (https://c2sp.org/tlog-witness): ``old`` and a size, the
path, an empty line, the checkpoint. From size 0 the path is empty, as witnesses expect.

Parsing is strict: what parses prints back to the same bytes. Anything else is `ProofInvalid`.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

from ledger.canonical import leaf_hash
from ledger.tree.checkpoint import CheckpointInvalid
from ledger.tree.head import TreeHead
from ledger.tree.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Frontier,
    Nodes,
    ProofInvalid,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)

VERSION = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = 1_200_000
MAX_HASHES = 63
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class InclusionProof:
    """Shows that a record is leaf `index` of the tree of `head`; `record` is None if sent separately."""

    index: int
    path: tuple[bytes, ...]
    head: TreeHead
    record: bytes | None = None

    @classmethod
    def make(
        cls,
        log: Nodes,
        index: int,
        head: TreeHead,
        record: bytes | None = None,
        edge: Frontier | None = None,
    ) -> Self:
        """Make the proof for leaf `index` of `log`; with the `edge` of that tree, fewer nodes are read."""
        return cls(index, tuple(inclusion_proof(log, index, head.checkpoint.size, edge)), head, record)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a tlog-proof; `ProofInvalid` says what is wrong with it."""
        lines, head = _parts(data)
        if not lines or lines.pop(0) != VERSION:
            raise ProofInvalid(f"a proof begins with the line {VERSION}; this does not")
        record = None
        if lines and lines[0].startswith("extra "):
            record = _bytes(lines.pop(0).removeprefix("extra "), None)
        if not lines or not lines[0].startswith("index "):
            raise ProofInvalid("a proof has a line “index” and a number; this does not")
        index = _number(lines.pop(0).removeprefix("index "))
        return cls(index, _hashes(lines), head, record)

    def verify(self, record: bytes) -> None:
        """Return if this shows `record` to be in the tree; else `ProofInvalid`."""
        at = self.head.checkpoint
        verify_inclusion(leaf_hash(record), self.index, at.size, self.path, at.root)

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        extra = [] if self.record is None else [f"extra {_text(self.record)}"]
        return _file([VERSION, *extra, f"index {self.index}", *map(_text, self.path)], self.head)


@dataclass(frozen=True)
class ConsistencyProof:
    """Shows that the tree of `head` begins with a tree of `old_size` leaves."""

    old_size: int
    path: tuple[bytes, ...]
    head: TreeHead

    @classmethod
    def make(cls, log: Nodes, old_size: int, head: TreeHead) -> Self:
        """Make the proof; from size 0 it is empty."""
        path = consistency_proof(log, old_size, head.checkpoint.size) if old_size else []
        return cls(old_size, tuple(path), head)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the request to a witness; `ProofInvalid` says what is wrong with it."""
        lines, head = _parts(data)
        if not lines or not lines[0].startswith("old "):
            raise ProofInvalid("a consistency proof begins with “old” and a size; this does not")
        return cls(_number(lines[0].removeprefix("old ")), _hashes(lines[1:]), head)

    def verify(self, old_root: bytes) -> None:
        """Return if this shows the tree of `old_root` to be the beginning of the tree of `head`."""
        if self.old_size == 0:
            if self.path or old_root != EMPTY_ROOT:
                raise ProofInvalid("from size 0 the proof is empty and the root that of the empty tree")
            return
        at = self.head.checkpoint
        verify_consistency(self.old_size, at.size, self.path, old_root, at.root)

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        return _file([f"old {self.old_size}", *map(_text, self.path)], self.head)


def _file(lines: list[str], head: TreeHead) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + head.to_bytes()


def _parts(data: bytes) -> tuple[list[str], TreeHead]:
    """Return the lines before the first empty one, and the checkpoint after it."""
    if len(data) > MAX_PROOF_BYTES:
        raise ProofInvalid(f"a proof has at most {MAX_PROOF_BYTES} bytes, this one {len(data)}")
    above, blank, below = data.partition(b"\n\n")
    if not blank:
        raise ProofInvalid("a proof is lines, an empty line, and a checkpoint; this is not")
    try:
        return above.decode("ascii").split("\n"), TreeHead.parse(below)
    except UnicodeDecodeError:
        raise ProofInvalid("the lines of a proof are ASCII; these are not") from None
    except CheckpointInvalid as error:
        raise ProofInvalid(f"the checkpoint of the proof: {error}") from None


def _hashes(lines: list[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_HASHES:
        raise ProofInvalid(f"a proof has at most {MAX_HASHES} hashes, this one {len(lines)}")
    return tuple(_bytes(line, HASH_BYTES) for line in lines)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ProofInvalid(f"expected a decimal number, found {text[:30]!r}")
    return int(text)


def _bytes(text: str, length: int | None) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofInvalid(f"expected base64, found {text[:30]!r}") from None
    if _text(data) != text or length not in (None, len(data)):
        raise ProofInvalid(f"expected {length or 'some'} bytes in canonical base64, found {len(data)}")
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
