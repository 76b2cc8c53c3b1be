"""The Merkle tree of RFC 6962 once more, as a stack of finished subtrees."""

import hashlib
from collections.abc import Iterator


def leaf(record: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ record)."""
    return hashlib.sha256(b"\0" + record).digest()


class Tree:
    """A growing tree: `stack` holds (height, hash) of the subtrees not yet paired, highest first."""

    def __init__(self) -> None:
        self.size = 0
        self.stack: list[tuple[int, bytes]] = []

    def add(self, leaf_hash: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf; yield (level, number, hash) of every subtree of 256, 65,536 … leaves it completes."""
        self.size += 1
        height, value = 0, leaf_hash
        while self.stack and self.stack[-1][0] == height:
            value = hashlib.sha256(b"\1" + self.stack.pop()[1] + value).digest()
            height += 1
            if height % 8 == 0:
                yield height, (self.size >> height) - 1, value
        self.stack.append((height, value))

    def frontier(self) -> bytes:
        """Return the unpaired subtrees' hashes, highest first."""
        return b"".join(value for _, value in self.stack)

    def root(self) -> bytes:
        """Return the root hash."""
        if not self.stack:
            return hashlib.sha256(b"").digest()
        value = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            value = hashlib.sha256(b"\1" + left + value).digest()
        return value
