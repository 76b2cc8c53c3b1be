"""Join sound ranges to a sound ledger, and compare it with the tables beside the log.

The ranges cover the positions from 1 to the size of the ledger. Each was checked by `ledger.verify.ranges`;
what no range can see alone is checked here: the tree, the versions of streams that go over an edge, ids of
events that occur twice, what budgets held, erased texts, and whether every job was compared with its row.
"""

from array import array
from collections.abc import Collection, Iterable, Sequence

from ledger.verify.ranges import Part, Ranges
from ledger.verify.report import Report
from ledger.verify.slim_fold import NotSound
from ledger.verify.tree import Tree


def joined(
    snapshot: Ranges,
    parts: Sequence[Part],
    event_ids: Iterable[Sequence[bytes]],
    roots_at: Collection[int] = (),
) -> Report:
    """Return the report of a sound ledger; `NotSound` if anything may be wrong.

    `event_ids` has the hashes of all ids of events in buckets, each as the ranges noted them.
    """
    size, frontier = snapshot.head()
    first, last, jobs, holds, stray_bodies = snapshot.totals(size)
    if size and (first, last) != (1, size):
        raise NotSound("positions")
    report = Report(jobs=sum(part.matched for part in parts))
    tree, tiles = _tree(parts, frozenset(roots_at), report)
    if (tree.size, tree.frontier()) != (size, frontier):
        raise NotSound("the head")
    for level, number, value in snapshot.tiles():
        if tiles.pop((level, number), None) != value:
            raise NotSound("a tile")
    if tiles or stray_bodies:
        raise NotSound("tiles or bodies")
    # Each job was compared with its row at most once, at its last record: rows say their position. It was
    # folded from some of its records at least. So equal sums mean: each one, and from all of its records.
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


def _tree(
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
                report.roots[size] = tree.extended(leaves[size]).root()
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
