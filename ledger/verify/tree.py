"""The Merkle tree of RFC 6962 once more, as a stack of finished subtrees."""

import hashlib
from collections.abc import Sequence

_sha256 = hashlib.sha256
_BLOCK_HEIGHT = 8
_BLOCK = 1 << _BLOCK_HEIGHT


def leaf(record: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ record)."""
    return _sha256(b"\0" + record).digest()


def root_of_block(leaves: Sequence[bytes]) -> bytes:
    """Return the root of 256 leaves."""
    layer = leaves
    while len(layer) > 1:
        pairs = iter(layer)
        layer = [_sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return layer[0]


class Tree:
    """A growing tree: `stack` holds (height, hash) of the subtrees not yet paired, highest first.

    Leaves wait in `block` until there are 256 of them, which form a complete subtree.
    """

    def __init__(self) -> None:
        self.size = 0
        self.stack: list[tuple[int, bytes]] = []
        self.block: list[bytes] = []

    def add(self, leaf_hash: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf; return (level, number, hash) of every subtree of 256, 65,536 … leaves it completes."""
        self.size += 1
        self.block.append(leaf_hash)
        if len(self.block) < _BLOCK:
            return []
        root = root_of_block(self.block)
        self.block = []
        return self._push(_BLOCK_HEIGHT, root)

    def add_block(self, root: bytes) -> list[tuple[int, int, bytes]]:
        """Add a whole block of 256 leaves by its root; return what `add` returns for its last leaf."""
        self.size += _BLOCK
        return self._push(_BLOCK_HEIGHT, root)

    def copy_with(self, leaves: list[bytes]) -> "Tree":
        """Return a copy with more leaves; this tree must end with a whole block."""
        copy = Tree()
        copy.size, copy.stack = self.size, list(self.stack)
        for leaf_hash in leaves:
            copy.add(leaf_hash)
        return copy

    def _push(self, height: int, value: bytes) -> list[tuple[int, int, bytes]]:
        completed = []
        if height == _BLOCK_HEIGHT:
            completed.append((height, (self.size >> height) - 1, value))
        while self.stack and self.stack[-1][0] == height:
            value = _sha256(b"\1" + self.stack.pop()[1] + value).digest()
            height += 1
            if height % _BLOCK_HEIGHT == 0:
                completed.append((height, (self.size >> height) - 1, value))
        self.stack.append((height, value))
        return completed

    def _edge(self) -> list[bytes]:
        """Return the hashes of all unpaired subtrees, highest first."""
        edge: list[tuple[int, bytes]] = []
        for value in self.block:
            height, hashed = 0, value
            while edge and edge[-1][0] == height:
                height, hashed = height + 1, _sha256(b"\1" + edge.pop()[1] + hashed).digest()
            edge.append((height, hashed))
        return [value for _, value in self.stack + edge]

    def frontier(self) -> bytes:
        """Return the unpaired subtrees' hashes, highest first."""
        return b"".join(self._edge())

    def root(self) -> bytes:
        """Return the root hash."""
        *lefts, value = self._edge() or [_sha256(b"").digest()]
        for left in reversed(lefts):
            value = _sha256(b"\1" + left + value).digest()
        return value
