"""Incremental verification: check only what was recorded after a position.

New records are checked in full, and so are the jobs that continue in them. For the rest, the stored hashes
are used unchecked: they make up the tree, so a checkpoint of any size still shows whether they are right.

`join_parts` does the same for sound ranges that cover a ledger: it joins their results and compares them with
the tables next to the log. These checks need more than one range: the tree, the versions of streams that
cross an edge, duplicate event ids, the holds of budgets, erased texts, and whether every job was compared
with its row.
"""

import hashlib
import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from ledger.verify.checks import Snapshot, Start, verify
from ledger.verify.ranges import Part, Ranges
from ledger.verify.report import Report
from ledger.verify.slim_fold import NotSound
from ledger.verify.strict import as_bytes
from ledger.verify.tree import Tree

_TILE_HEIGHT = 8


class Tail(Snapshot, Protocol):
    """The data of a snapshot that incremental verification reads."""

    def nodes(self, level: int, start: int, count: int) -> list[Any]:
        """Return stored hashes of the tree: leaves at level 0, tiles above."""

    def versions(self) -> Iterator[tuple[str, int]]:
        """Yield the continuing streams that are not jobs, with their version at the position."""

    def first_payload(self) -> Any:
        """Return the payload at position 1; None if the log is empty."""


class NodesMissing(ValueError):
    """Stored hashes that the tree needs are missing."""


def verify_since(tail: Tail, since: int, roots_at: Collection[int] = ()) -> Report:
    """Check the records after position `since`; report the roots at the sizes `roots_at`."""
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


def join_parts(
    snapshot: Ranges,
    parts: Sequence[Part],
    event_ids: Iterable[Sequence[bytes]],
    roots_at: Collection[int] = (),
) -> Report:
    """Return the report of a sound ledger; `NotSound` if anything may be wrong.

    `event_ids` has the hashes of all event ids, in the buckets noted by the ranges.
    """
    size, frontier = snapshot.head()
    first, last, jobs, holds, stray_bodies = snapshot.totals(size)
    if size and (first, last) != (1, size):
        raise NotSound("positions")
    report = Report(jobs=sum(part.matched for part in parts))
    tree, tiles = _join_trees(parts, frozenset(roots_at), report)
    if (tree.size, tree.frontier()) != (size, frontier):
        raise NotSound("the head")
    for level, number, value in snapshot.tiles():
        if tiles.pop((level, number), None) != value:
            raise NotSound("a tile")
    if tiles or stray_bodies:
        raise NotSound("tiles or bodies")
    # Each job was compared with its row at most once, at its last record: rows have its position. It was
    # folded from at least some of its records. So equal sums mean: every job, and from all of its records.
    begun = sum(part.begun for part in parts)
    versions = sum(part.versions for part in parts)
    if not begun == report.jobs == jobs or versions != sum(part.job_events for part in parts):
        raise NotSound("jobs")
    if holds != sum(part.holds for part in parts):
        raise NotSound("holds")
    _check_streams(parts)
    _check_budgets(parts)
    _check_erased(snapshot, parts)
    _check_event_ids(event_ids)
    report.size, report.root = size, tree.root().hex()
    return report


def _join_trees(
    parts: Sequence[Part], roots_at: frozenset[int], report: Report
) -> tuple[Tree, dict[tuple[int, int], bytes]]:
    tree = Tree()
    tiles: dict[tuple[int, int], bytes] = {}
    leaves = {size: some for part in parts for size, some in part.leaves.items()}

    def grow(completed: list[tuple[int, int, bytes]]) -> None:
        tiles.update({(level, number): value for level, number, value in completed})
        if tree.size in roots_at:
            report.roots[tree.size] = tree.root()

    grow([])
    for part in parts:
        for leaf in part.edge:
            grow(tree.add(leaf))
        for root in part.roots:
            for size in [
                size for size in leaves if size > tree.size and size - len(leaves[size]) == tree.size
            ]:
                report.roots[size] = tree.copy_with(leaves[size]).root()
            grow(tree.add_block(root))
        for leaf in part.tail:
            grow(tree.add(leaf))
    return tree, tiles


def _check_streams(parts: Sequence[Part]) -> None:
    versions: dict[str, int] = {}
    for part in parts:
        for name, (first, last) in part.streams.items():
            if first != versions.get(name, 0) + 1:
                raise NotSound("a version")
            versions[name] = last


def _check_budgets(parts: Sequence[Part]) -> None:
    held: dict[str, int] = {}
    limits: dict[str, int] = {}
    for part in parts:
        for budget, stretches in part.money.items():
            before = held.get(budget, 0)
            for stretch in stretches:
                if stretch.limit is not None:
                    limits[budget] = stretch.limit
                if stretch.most is not None and budget in limits and before + stretch.most > limits[budget]:
                    raise NotSound("a budget")  # unless the same append released it again
                held[budget] = before + stretch.total


def _check_erased(snapshot: Ranges, parts: Sequence[Part]) -> None:
    erased = {commitment for part in parts for commitment in part.erased}
    if not all(erased.issuperset(part.missing) for part in parts):
        raise NotSound("a body")
    if erased and not erased.isdisjoint(body[0] for body in snapshot.bodies()):
        raise NotSound("an erased body")


def _check_event_ids(buckets: Iterable[Sequence[bytes]]) -> None:
    for parts in buckets:
        hashes = array("q", b"".join(parts))
        if len(set(hashes)) < len(hashes):
            raise NotSound("the id of an event")
