import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import leaf_hash
from ledger.tree.merkle import (
    EMPTY_ROOT,
    TILE_HEIGHT,
    Frontier,
    ProofInvalid,
    consistency_proof,
    inclusion_proof,
    root_at,
    verify_consistency,
    verify_inclusion,
)

DATA = Path(__file__).parents[1] / "data"


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def raw(text: str) -> bytes:
    return base64.b64decode(text)


class Log:
    """A log in memory; counts what a proof reads."""

    def __init__(self, size: int) -> None:
        self.levels: dict[int, list[bytes]] = {0: [leaf_hash(str(i).encode()) for i in range(size)]}
        tree = Frontier()
        for leaf in self.levels[0]:
            for node in tree.append(leaf):
                self.levels.setdefault(node.level, []).append(node.hash)
        self.read = 0

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        self.read += count
        return self.levels.get(level, [])[start : start + count]


SMALL = Log(70)


def included(case: dict[str, Any]) -> None:
    path = [raw(item) for item in case["inclusion_path"] or []]
    verify_inclusion(
        raw(case["leaf_hash"]), case["leaf_index"], case["tree_size"], path, raw(case["root_hash"])
    )


def consistent(case: dict[str, Any]) -> None:
    path = [raw(item) for item in case["consistency_path"] or []]
    verify_consistency(case["old_size"], case["new_size"], path, raw(case["old_root"]), raw(case["new_root"]))


@pytest.mark.parametrize("case", vectors("inclusion-valid"))
def test_a_published_inclusion_proof_verifies(case: dict[str, Any]) -> None:
    included(case)


@pytest.mark.parametrize("case", vectors("inclusion-invalid"))
def test_a_published_inclusion_proof_that_was_changed_does_not(case: dict[str, Any]) -> None:
    with pytest.raises(ProofInvalid):
        included(case)


@pytest.mark.parametrize("case", [case for case in vectors("consistency-valid") if case["old_size"]])
def test_a_published_consistency_proof_verifies(case: dict[str, Any]) -> None:
    consistent(case)


@pytest.mark.parametrize("case", vectors("consistency-invalid"))
def test_a_published_consistency_proof_that_was_changed_does_not(case: dict[str, Any]) -> None:
    with pytest.raises(ProofInvalid):
        consistent(case)


def test_from_nothing_nothing_can_be_shown() -> None:
    with pytest.raises(ProofInvalid, match="from size 0 to 5 there is no proof"):
        consistency_proof(SMALL, 0, 5)


@given(st.data())
def test_every_inclusion_proof_that_is_made_verifies(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(SMALL, index, size)
    verify_inclusion(SMALL.levels[0][index], index, size, path, root_at(SMALL, size))


@given(st.data())
def test_every_consistency_proof_that_is_made_verifies(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(1, new))
    path = consistency_proof(SMALL, old, new)
    verify_consistency(old, new, path, root_at(SMALL, old), root_at(SMALL, new))


@given(st.data())
def test_an_inclusion_proof_shows_nothing_else(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion_proof(SMALL, index, size), root_at(SMALL, size)
    leaf = SMALL.levels[0][index]
    other_index = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
    bit = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(path) - 1))
    for claim in (
        (flipped(leaf, bit), index, size, path, root),
        (leaf, other_index, size, path, root),
        (leaf, index, size, [*path[:at], flipped(path[at], bit), *path[at + 1 :]], root),
        (leaf, index, size, path[:-1], root),
        (leaf, index, size, [*path, leaf], root),
        (leaf, index, size, path, flipped(root, bit)),
    ):
        with pytest.raises(ProofInvalid):
            verify_inclusion(*claim)


@given(st.data())
def test_a_consistency_proof_shows_nothing_else(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, new - 1))
    path, before, after = consistency_proof(SMALL, old, new), root_at(SMALL, old), root_at(SMALL, new)
    bit = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(path) - 1))
    for claim in (
        (old, new, [*path[:at], flipped(path[at], bit), *path[at + 1 :]], before, after),
        (old, new, path[:-1], before, after),
        (old, new, [*path, path[0]], before, after),
        (old, new, path, flipped(before, bit), after),
        (old, new, path, before, flipped(after, bit)),
    ):
        with pytest.raises(ProofInvalid):
            verify_consistency(*claim)


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ (1 << bit)).to_bytes(len(value), "big")


def test_a_proof_reads_some_hundred_hashes_at_any_size() -> None:
    large = Log(70_000)
    path = inclusion_proof(large, 12_345, 70_000)
    verify_inclusion(large.levels[0][12_345], 12_345, 70_000, path, root_at(large, 70_000))
    assert large.read < 4 * 2**TILE_HEIGHT


def test_a_log_that_lacks_nodes_makes_no_proof() -> None:
    with pytest.raises(ProofInvalid, match="the log lacks nodes"):
        inclusion_proof(SMALL, 3, 128)


@pytest.mark.parametrize("path", [[EMPTY_ROOT], [EMPTY_ROOT] * 2])
def test_between_equal_sizes_a_proof_has_no_hashes(path: list[bytes]) -> None:
    verify_consistency(5, 5, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(ProofInvalid):
        verify_consistency(5, 5, path, EMPTY_ROOT, EMPTY_ROOT)
