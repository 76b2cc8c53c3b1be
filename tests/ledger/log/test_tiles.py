"""Tiles: what other people's tools find in the folder, read here as the specification says."""

import base64
import hashlib
from pathlib import Path

import pytest

from ledger.log.ledger import Ledger
from ledger.log.tiles import Tile, head_of, tiles_between, write_tiles
from ledger.tree.checkpoint import Note, Signer
from tests.ledger.scribe import Scribe

SIGNER = Signer("ledger.example", bytes(range(32)))


def grow(ledger: Ledger, scribe: Scribe, count: int) -> None:
    ledger.append([scribe.note() for _ in range(count)])


def export(ledger: Ledger, folder: Path, old_size: int = 0) -> int:
    return write_tiles(ledger, folder, head_of(ledger, [SIGNER]), old_size)


def name(number: int) -> str:
    digits = str(number).zfill(-(-len(str(number)) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])


def resource(folder: Path, kind: str, number: int, width: int) -> bytes:
    """Read a tile as a client does: the full one, else the partial one of the checkpoint's width."""
    return (folder / "tile" / kind / (name(number) + ("" if width == 256 else f".p/{width}"))).read_bytes()


def entries(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


def hash_of(hashes: list[bytes]) -> bytes:
    """MTH of RFC 6962, over hashes that stand for complete subtrees, the largest first."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\1" + hash_of(hashes[:split]) + hash_of(hashes[split:])).digest()


def level(folder: Path, kind: str, count: int) -> list[bytes]:
    """Read all hashes of one level of a tree that has `count` of them."""
    found = []
    for number in range(-(-count // 256)):
        data = resource(folder, kind, number, min(256, count - number * 256))
        found += [data[at : at + 32] for at in range(0, len(data), 32)]
    return found


def recomputed(folder: Path) -> tuple[int, bytes]:
    """Check a folder from its records up, each level with the one below; return size and root."""
    text = Note.parse((folder / "checkpoint").read_bytes()).text.split("\n")
    size = int(text[1])
    records: list[bytes] = []
    for number in range(-(-size // 256)):
        records += entries(resource(folder, "entries", number, min(256, size - number * 256)))
    below = [hashlib.sha256(b"\0" + record).digest() for record in records]
    root, height, count = hash_of(below), 0, size
    while count:
        assert level(folder, str(height), count) == below
        below = [hash_of(below[at : at + 256]) for at in range(0, len(below) - 255, 256)]
        height, count = height + 1, count // 256
    assert base64.b64encode(root).decode() == text[2]
    return size, root


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_the_root_is_recomputed_from_the_tiles(
    ledger: Ledger, scribe: Scribe, tmp_path: Path, size: int
) -> None:
    if size > 1:
        grow(ledger, scribe, size - 1)
    export(ledger, tmp_path / "tiles")
    assert recomputed(tmp_path / "tiles") == ledger.head()


@pytest.mark.parametrize(("first", "second"), [(1, 1), (100, 100), (200, 100), (255, 1), (256, 300), (10, 0)])
def test_a_folder_is_extended(
    ledger: Ledger, scribe: Scribe, tmp_path: Path, first: int, second: int
) -> None:
    grow(ledger, scribe, first)
    export(ledger, tmp_path / "tiles")
    old = ledger.head().size
    if second:
        grow(ledger, scribe, second)
    export(ledger, tmp_path / "tiles", old)
    assert recomputed(tmp_path / "tiles") == ledger.head()


def test_extending_leaves_full_tiles_alone(ledger: Ledger, scribe: Scribe, tmp_path: Path) -> None:
    grow(ledger, scribe, 299)
    export(ledger, tmp_path)
    before = (tmp_path / "tile/0/000").stat().st_mtime_ns
    grow(ledger, scribe, 1)
    assert export(ledger, tmp_path, 300) == 3  # the partial tile of hashes, that of records, the one above
    assert (tmp_path / "tile/0/000").stat().st_mtime_ns == before


def test_partial_tiles_go_once_the_full_one_is_there(ledger: Ledger, scribe: Scribe, tmp_path: Path) -> None:
    tiles = tmp_path / "tiles"
    export(ledger, tiles)
    grow(ledger, scribe, 255)
    export(ledger, tiles, 1)
    assert sorted(str(path.relative_to(tiles)) for path in tiles.rglob("*") if path.is_file()) == [
        "checkpoint",
        "tile/0/000",
        "tile/1/000.p/1",
        "tile/entries/000",
    ]


def test_an_export_that_was_cut_short_goes_on(
    ledger: Ledger, scribe: Scribe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(ledger, scribe, 300)
    (tmp_path / "tile/0").mkdir(parents=True)
    (tmp_path / "tile/0/000").write_bytes(b"half")
    export(ledger, tmp_path)
    assert recomputed(tmp_path) == ledger.head()


def test_a_tree_of_the_specification_has_the_tiles_it_says() -> None:
    tiles = list(tiles_between(0, 70_000))
    widths = [(tile.level, tile.width) for tile in tiles]
    assert [widths.count(kind) for kind in ((0, 256), (0, 112), (1, 256), (1, 17), (2, 1))] == [
        273,
        1,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (Tile(None, 0, 3), "tile/entries/000.p/3"),
        (Tile(2, 1_000, 1), "tile/2/x001/000.p/1"),
        (Tile(1, 999, 256), "tile/1/999"),
    ],
)
def test_a_tile_has_the_path_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
