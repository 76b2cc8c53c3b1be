import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import leaf_hash
from ledger.tree.merkle import EMPTY_ROOT, Frontier, TileNode, node_hash
from ledger.verify.tree import Tree

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "merkle_tree.json").read_text(encoding="utf-8"))

# The eight leaves that certificate-transparency implementations test with, and their roots by size.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def grown(leaves: list[bytes]) -> Frontier:
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf)
    return tree


def recursive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(recursive_root(leaves[:k]), recursive_root(leaves[k:]))


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Frontier().root().hex() == empty


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert grown([leaf_hash(leaf) for leaf in CT_LEAVES[:size]]).root().hex() == CT_ROOTS[size - 1]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["leaf_data"])
def test_leaf_hashes_are_those_of_the_cctv_vectors(vector: dict[str, Any]) -> None:
    assert base64.b64encode(leaf_hash(vector["leaf_data"].encode())).decode() == vector["leaf_hash"]


@pytest.mark.parametrize("size", range(1, len(VECTORS) + 1))
def test_roots_are_those_of_the_cctv_vectors(size: int) -> None:
    tree = grown([base64.b64decode(vector["leaf_hash"]) for vector in VECTORS[:size]])
    assert base64.b64encode(tree.root()).decode() == VECTORS[size - 1]["root_hash"]


@given(st.integers(0, 600))
@settings(max_examples=settings.default.max_examples * 30 // 100)
def test_the_frontier_gives_the_root_of_the_recursive_definition(size: int) -> None:
    leaves = [leaf_hash(b"%d" % i) for i in range(size)]
    assert grown(leaves).root() == recursive_root(leaves)


@given(st.integers(0, 600))
@settings(max_examples=settings.default.max_examples * 30 // 100)
def test_the_tree_of_verify_agrees_on_root_frontier_and_tiles(size: int) -> None:
    ours, theirs = Frontier(), Tree()
    our_tiles, their_tiles = [], []
    for i in range(size):
        our_tiles += ours.append(leaf_hash(b"%d" % i))
        their_tiles += theirs.add(leaf_hash(b"%d" % i))
    assert (ours.root(), ours.to_bytes(), our_tiles) == (theirs.root(), theirs.frontier(), their_tiles)


def test_a_tile_node_is_the_root_of_its_256_leaves() -> None:
    leaves = [leaf_hash(b"%d" % i) for i in range(512)]
    tree = grown(leaves[:511])
    assert tree.append(leaves[511]) == [TileNode(8, 1, recursive_root(leaves[256:]))]


def test_completing_65_536_leaves_gives_a_node_of_both_levels() -> None:
    tree = grown([leaf_hash(b"")] * 65_535)
    assert [(node.level, node.number) for node in tree.append(leaf_hash(b""))] == [(8, 255), (16, 0)]


def test_a_frontier_survives_its_bytes() -> None:
    tree = grown([leaf_hash(b"%d" % i) for i in range(11)])
    assert Frontier.from_bytes(11, tree.to_bytes()).root() == tree.root()


def test_a_frontier_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a tree of 3 leaves has 2 edge hashes, not 1"):
        Frontier(3, [bytes(32)])


def test_a_copy_grows_apart() -> None:
    tree = grown([leaf_hash(b"a")])
    tree.copy().append(leaf_hash(b"b"))
    assert tree.size == 1
