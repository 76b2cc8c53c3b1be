"""Incremental verification: check only what was recorded after a position.

New records are checked in full, and so are the jobs that continue in them. For the rest, the stored hashes
are used as they are: they make up the tree, so a checkpoint of any size still shows whether they are right.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from typing import Any, Protocol

from ledger.verify.checks import Snapshot, Start, verify
from ledger.verify.report import Report
from ledger.verify.strict import as_bytes
from ledger.verify.tree import Tree

_TILE_HEIGHT = 8


class Tail(Snapshot, Protocol):
    """What incremental verification reads of a snapshot."""

    def nodes(self, level: int, start: int, count: int) -> list[Any]:
        """Return stored hashes of the tree: leaves at level 0, tiles above."""

    def versions(self) -> Iterator[tuple[str, int]]:
        """Yield the continuing streams that are not jobs, with their version at the position."""

    def first_payload(self) -> Any:
        """Return the payload at position 1; None if the log is empty."""


class NodesMissing(ValueError):
    """Stored hashes are missing that the tree needs."""


def verify_since(tail: Tail, since: int, roots_at: Collection[int] = ()) -> Report:
    """Check what was recorded after position `since`; report the roots at the sizes `roots_at`."""
    try:
        start = Start(_tree(tail, since), dict(tail.versions()), _ledger_id(tail.first_payload()))
        earlier = {size: _tree(tail, size).root() for size in roots_at if size < since}
    except NodesMissing as error:
        report = Report(size=tail.head()[0])
        report.add("TILE_MISMATCH", None, f"the tree of the first {since} records", "its hashes", error)
        return report
    report = verify(tail, roots_at, start)
    report.roots |= earlier
    return report


def _ledger_id(payload: Any) -> object:
    try:
        return json.loads(payload)["ledger_id"]
    except (KeyError, RecursionError, TypeError, ValueError):
        return None


def _tree(tail: Tail, size: int) -> Tree:
    """Return the tree of the first `size` leaves, from the stored hashes."""
    tree = Tree()
    tree.size = size
    start = 0
    for height in range(size.bit_length() - 1, _TILE_HEIGHT - 1, -1):
        if size >> height & 1:
            tree.stack.append((height, _perfect(tail, height, start >> height)))
            start += 1 << height
    tree.block = _nodes(tail, 0, start, size - start)
    return tree


def _perfect(tail: Tail, height: int, number: int) -> bytes:
    level = height - height % _TILE_HEIGHT
    count = 1 << (height - level)
    row = _nodes(tail, level, number * count, count)
    while len(row) > 1:
        row = [hashlib.sha256(b"\1" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


def _nodes(tail: Tail, level: int, start: int, count: int) -> list[bytes]:
    row = [as_bytes(value) for value in tail.nodes(level, start, count)]
    if len(row) != count:
        raise NodesMissing(f"{len(row)} of {count} at level {level} from number {start}")
    return row
