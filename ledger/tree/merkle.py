"""The tree over the records: RFC 6962 section 2.1 (RFC 9162 keeps it), SHA-256.

*Growth.* The frontier has the roots of the perfect subtrees that make up the tree. Each appended leaf returns
the nodes that it completes: the roots of subtrees of 256, 256**2 … leaves. These are stored with the log
(`TileNode`), so that a proof reads a few hundred hashes, whatever the size.

*Proofs.* An inclusion proof shows that a leaf is in the tree of a size and root; a consistency proof, that
one tree is the beginning of another (RFC 9162, sections 2.1.3 and 2.1.4). Verification needs neither
the log nor a store. Hashes are 32 bytes. `ProofInvalid` says what is wrong with a proof.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple, Protocol

HASH_BYTES = 32
TILE_HEIGHT = 8
EMPTY_ROOT = hashlib.sha256(b"").digest()


class TileNode(NamedTuple):
    """The root of a perfect subtree of ``2**level`` leaves, `level` a multiple of 8, counted from 0."""

    level: int
    number: int
    hash: bytes


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
        """Read the bytes that `to_bytes` returned."""
        return cls(size, (packed[i : i + HASH_BYTES] for i in range(0, len(packed), HASH_BYTES)))

    def to_bytes(self) -> bytes:
        """Return the concatenated hashes, 32 bytes each."""
        return b"".join(self.hashes)

    def copy(self) -> "Frontier":
        """Return an independent copy."""
        same = Frontier.__new__(Frontier)  # once per append: skip checks that were already made
        same.size, same.hashes = self.size, self.hashes.copy()
        return same

    def append(self, leaf: bytes) -> list[TileNode]:
        """Add one leaf hash; return the tile nodes it completes, lowest first."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> list[TileNode]:
        """Add leaf hashes; return the tile nodes they complete, lowest first for each leaf."""
        completed: list[TileNode] = []
        hashes, sha256 = self.hashes, hashlib.sha256
        for leaf in leaves:
            carry, level, index = leaf, 0, self.size
            while index & 1:
                carry = sha256(b"\x01" + hashes.pop() + carry).digest()
                level, index = level + 1, index >> 1
                if level % TILE_HEIGHT == 0:
                    completed.append(TileNode(level, index, carry))
            hashes.append(carry)
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


class ProofInvalid(ValueError):
    """The proof does not show what it claims."""


class Nodes(Protocol):
    """The stored hashes of a log; `ledger.store.interface.EventStore` has them."""

    def nodes(self, level: int, start: int, count: int) -> Sequence[bytes]:
        """Return `count` roots of perfect subtrees of ``2**level`` leaves, starting at `start`.

        Level 0 has the leaves; the other levels are multiples of `TILE_HEIGHT`.
        """


class _Blocks:
    """The nodes of a log, read in blocks of 256: a proof needs most of the nodes in a few blocks."""

    def __init__(self, log: Nodes, size: int) -> None:
        self._log = log
        self._size = size
        self._read: dict[tuple[int, int], Sequence[bytes]] = {}

    def nodes(self, level: int, start: int, count: int) -> Sequence[bytes]:
        """Return nodes of one block, which are roots of perfect subtrees."""
        block = start >> TILE_HEIGHT
        first = block << TILE_HEIGHT
        if (level, block) not in self._read:
            there = min(1 << TILE_HEIGHT, (self._size >> level) - first)
            self._read[level, block] = self._log.nodes(level, first, there)
        return self._read[level, block][start - first : start - first + count]


def root_at(log: Nodes, size: int) -> bytes:
    """Return the root of the first `size` leaves of `log`."""
    return _range_root(log, 0, size) if size else EMPTY_ROOT


def inclusion_proof(log: Nodes, index: int, size: int, edge: Frontier | None = None) -> list[bytes]:
    """Return the path that shows leaf `index` (from 0) to be in the tree of `size` leaves, lowest first.

    With the `edge` of a tree of that size, the nodes below it are not read.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"leaf {index} is not in a tree of {size} leaves; leaves count from 0")
    log = _Blocks(log, size)
    subtrees = list(_perfect_subtrees(0, size))
    holder = next(at for at, (level, number) in enumerate(subtrees) if index >> level == number)
    path = [_perfect_root(log, level, index >> level ^ 1) for level in range(subtrees[holder][0])]
    if edge is not None and edge.size == size:
        lefts, rights = edge.hashes[:holder], edge.hashes[holder + 1 :]
    else:
        lefts = [_perfect_root(log, *subtree) for subtree in subtrees[:holder]]
        rights = [_perfect_root(log, *subtree) for subtree in subtrees[holder + 1 :]]
    return [*path, *([_fold_roots(rights)] if rights else []), *reversed(lefts)]


def consistency_proof(log: Nodes, old_size: int, new_size: int) -> list[bytes]:
    """Return the path that proves the tree of `old_size` leaves a prefix of the one of `new_size`."""
    if not 0 < old_size <= new_size:
        raise ProofInvalid(f"from size {old_size} to {new_size} there is no proof; expected 0 < old <= new")
    log = _Blocks(log, new_size)
    path: list[bytes] = []
    start, end, whole = 0, new_size, True
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(_range_root(log, middle, end))
            end = middle
        else:
            path.append(_range_root(log, start, middle))
            start, whole = middle, False
    if not whole:
        path.append(_range_root(log, start, end))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Return if `path` shows that `leaf` is leaf `index` of the tree of `size` leaves with `root`."""
    if not 0 <= index < size:
        raise ProofInvalid(f"leaf {index} is not in a tree of {size} leaves; leaves count from 0")
    _check_hashes(leaf, root, *path)
    inner = (index ^ (size - 1)).bit_length()
    expected = inner + (index >> inner).bit_count()
    if len(path) != expected:
        raise ProofInvalid(f"a proof for leaf {index} of {size} has {expected} hashes, not {len(path)}")
    value = leaf
    for height, sibling in enumerate(path[:inner]):
        value = node_hash(sibling, value) if index >> height & 1 else node_hash(value, sibling)
    value = reduce(lambda right, left: node_hash(left, right), path[inner:], value)
    if value != root:
        raise ProofInvalid(f"the path leads to root {value.hex()}, not to {root.hex()}")


def verify_consistency(
    old_size: int, new_size: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Return if `path` shows that the tree of `old_root` is the beginning of that of `new_root`."""
    if not 0 < old_size <= new_size:
        raise ProofInvalid(f"from size {old_size} to {new_size} there is no proof; expected 0 < old <= new")
    _check_hashes(old_root, new_root, *path)
    if old_size == new_size:
        if path or old_root != new_root:
            raise ProofInvalid("the sizes are the same, so the roots are too, and the proof is empty")
        return
    shift = (old_size & -old_size).bit_length() - 1  # the largest perfect subtree that ends the old tree
    hashes = list(path) if old_size & (old_size - 1) else [old_root, *path]
    inner = ((old_size - 1) ^ (new_size - 1)).bit_length() - shift
    surplus = len(hashes) - (1 + inner + ((old_size - 1) >> (inner + shift)).bit_count())
    if surplus:
        raise ProofInvalid(
            f"a proof from {old_size} to {new_size} has {len(path) - surplus} hashes, not {len(path)}"
        )
    _check_chains((old_size - 1) >> shift, hashes, inner, old_root, new_root)


def _check_chains(index: int, hashes: Sequence[bytes], inner: int, old_root: bytes, new_root: bytes) -> None:
    """Climb from the old tree's last node: by left neighbours to the old root, by all to the new one."""
    old = new = hashes[0]
    for height, sibling in enumerate(hashes[1 : inner + 1]):
        if index >> height & 1:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    for left in hashes[inner + 1 :]:
        old, new = node_hash(left, old), node_hash(left, new)
    if old != old_root:
        raise ProofInvalid(f"the path leads to old root {old.hex()}, not to {old_root.hex()}")
    if new != new_root:
        raise ProofInvalid(f"the path leads to new root {new.hex()}, not to {new_root.hex()}")


def _check_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofInvalid(f"a hash has {HASH_BYTES} bytes, not {len(value)}")


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count`."""
    return 1 << (count - 1).bit_length() - 1


def _range_root(log: Nodes, start: int, end: int) -> bytes:
    """Return the root over leaves `start` to `end`, which begin a subtree of the whole."""
    return _fold_roots([_perfect_root(log, level, number) for level, number in _perfect_subtrees(start, end)])


def _perfect_subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield level and number of the perfect subtrees that make up leaves `start` to `end`."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _fold_roots(roots: Sequence[bytes]) -> bytes:
    """Return the root over subtrees whose sizes decrease to the right."""
    return reduce(lambda right, left: node_hash(left, right), roots[-2::-1], roots[-1])


def _perfect_root(log: Nodes, level: int, number: int) -> bytes:
    """Return the root of one perfect subtree, from the stored nodes at or below its level."""
    stored = level - level % TILE_HEIGHT
    count = 1 << (level - stored)
    row = list(log.nodes(stored, number * count, count))
    if len(row) != count:
        raise ProofInvalid(
            f"the log lacks nodes {number * count} to {(number + 1) * count} of level {stored}"
        )
    while len(row) > 1:
        pairs = iter(row)
        row = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=True)]
    return row[0]
