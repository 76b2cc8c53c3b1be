"""The tree over the records: RFC 6962 section 2.1 (RFC 9162 keeps it), SHA-256.

Here is what an append needs: leaf and node hashes, the frontier (the roots of the perfect subtrees that
make up the tree so far) and the root it gives. Nodes that complete a subtree of 256, 256**2 … leaves are
handed out as they arise; stored beside the log they let a proof read a few hundred hashes at any size.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

HASH_BYTES = 32
TILE_HEIGHT = 8
EMPTY_ROOT = hashlib.sha256(b"").digest()


class TileNode(NamedTuple):
    """The root of a perfect subtree of ``2**level`` leaves, `level` a multiple of 8, counted from 0."""

    level: int
    number: int
    hash: bytes


def leaf_hash(record: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ record): the leaf of one record."""
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right): the parent of two nodes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a tree of `size` leaves: one hash for each 1 bit of `size`, largest subtree first."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} edge hashes, not {len(self.hashes)}"
            )

    @classmethod
    def from_bytes(cls, size: int, packed: bytes) -> "Frontier":
        """Read back what `to_bytes` gave."""
        return cls(size, (packed[i : i + HASH_BYTES] for i in range(0, len(packed), HASH_BYTES)))

    def to_bytes(self) -> bytes:
        """Return the hashes one after the other, 32 bytes each."""
        return b"".join(self.hashes)

    def copy(self) -> "Frontier":
        """Return an independent copy."""
        return Frontier(self.size, self.hashes)

    def append(self, leaf: bytes) -> list[TileNode]:
        """Add one leaf hash; return the tile nodes it completes, lowest first."""
        completed = []
        carry, level, index = leaf, 0, self.size
        while index & 1:
            carry = node_hash(self.hashes.pop(), carry)
            level, index = level + 1, index >> 1
            if level % TILE_HEIGHT == 0:
                completed.append(TileNode(level, index, carry))
        self.hashes.append(carry)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the tree's root; of an empty tree, SHA-256 of nothing."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root
