"""Publish the log: its tree head, and C2SP tlog-tiles (https://c2sp.org/tlog-tiles).

The head is size and root under the name of the log, signed if there are keys. Tiles are a folder of files
that any web server can serve:

    checkpoint                  the signed tree head
    tile/<L>/<N>[.p/<W>]        256 hashes of subtrees of 256**L leaves, fewer (W) at the right edge
    tile/entries/<N>[.p/<W>]    the same leaves' records, each after its length (two bytes, big-endian)

Full tiles never change. A folder is extended by writing the new tiles first and the checkpoint last, so a
reader always finds every tile that the checkpoint needs. Payloads and private text are not part of it.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ledger.canonical import leaf_hash
from ledger.errors import LedgerUnusable
from ledger.events import LedgerCreated
from ledger.log.ledger import EVERYTHING, Ledger
from ledger.private_files import OPEN, NewFile
from ledger.tree.checkpoint import Checkpoint, Signer
from ledger.tree.head import TreeHead
from ledger.tree.merkle import TILE_HEIGHT, root_at


def head_of(ledger: Ledger, signers: Sequence[Signer] = (), size: int | None = None) -> TreeHead:
    """Return the head of `ledger`, now or at `size`, signed by `signers`."""
    head = ledger.head()
    root = head.root if size is None else root_at(ledger.store, size)
    checkpoint = Checkpoint(origin_of(ledger), head.size if size is None else size, root)
    return TreeHead(checkpoint, checkpoint.sign(*signers) if signers else None)


def origin_of(ledger: Ledger) -> str:
    """Return the name of the log: the origin recorded at position 1."""
    first = next(ledger.read(limit=1), None)
    if first is None or not isinstance(first.event, LedgerCreated):
        raise LedgerUnusable(
            "position 1 is not a ledger.created event: `sora-ledger verify` shows what is there instead",
            expected="a ledger.created event at position 1",
            found="another event",
        )
    return first.event.origin


WIDTH = 1 << TILE_HEIGHT
_LENGTH_BYTES = 2
_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<number>(?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class Tile(NamedTuple):
    """Tile `number` of `level` (None: the records), with `width` of its 256 places taken."""

    level: int | None
    number: int
    width: int

    @property
    def path(self) -> str:
        """The tile's path in the specification."""
        parts = [f"{self.number % 1000:03}"]
        rest = self.number // 1000
        while rest:
            parts.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{'/'.join(parts)}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @classmethod
    def parse(cls, path: str) -> "Tile | None":
        """Parse a path of the specification; None if it is not one."""
        parts = _PATH.fullmatch(path)
        if parts is None:
            return None
        level = None if parts["level"] == "entries" else int(parts["level"])
        number = int(parts["number"].replace("/", "").replace("x", ""))
        tile = cls(level, number, int(parts["width"] or WIDTH))
        return tile if tile.path == path else None


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """Yield every tile of a tree of `new` leaves that a tree of `old` leaves does not have."""
    level, before, after = 0, old, new
    while after:
        for number in range(before // WIDTH, (after + WIDTH - 1) // WIDTH):
            width = min(WIDTH, after - number * WIDTH)
            yield Tile(level, number, width)
            if level == 0:
                yield Tile(None, number, width)
        level, before, after = level + 1, before // WIDTH, after // WIDTH


def write_tiles(ledger: Ledger, folder: Path, head: TreeHead, old_size: int) -> int:
    """Extend the tiles of `old_size` records in `folder` to those of `head`; return how many were written.

    An OSError or a crash leaves the old checkpoint with some tiles that it does not need; the next run writes
    them again.
    """
    written = 0
    for tile in tiles_between(old_size, head.checkpoint.size):
        path = folder / tile.path
        _replace(path, tile_content(ledger, tile))
        if tile.width == WIDTH:
            shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)
        written += 1
    os.sync()  # the checkpoint must not reach the disk before the tiles it needs
    _replace(folder / "checkpoint", head.to_bytes())
    return written


def tile_content(ledger: Ledger, tile: Tile) -> bytes:
    """Return the bytes of a tile; `ValueError` if the ledger does not have all of it."""
    start = tile.number * WIDTH
    if tile.level is not None:
        hashes = ledger.store.nodes(tile.level * TILE_HEIGHT, start, tile.width)
        return _whole(tile, hashes, b"".join(hashes))
    rows = ledger.store.rows(start, tile.width, EVERYTHING)
    for position, row in enumerate(rows, start + 1):
        if leaf_hash(row.record) != row.leaf:
            raise ValueError(f"{tile.path}: the record at position {position} is not the one of its leaf")
    records = [row.record for row in rows]
    entries = (len(record).to_bytes(_LENGTH_BYTES, "big") + record for record in records)
    return _whole(tile, records, b"".join(entries))


def entries_of(bundle: bytes) -> list[bytes]:
    """Return the records in a tile of entries; `ValueError` if it is cut off."""
    records, start = [], 0
    while start < len(bundle):
        end = start + _LENGTH_BYTES + int.from_bytes(bundle[start : start + _LENGTH_BYTES], "big")
        if end > len(bundle):
            raise ValueError("the last entry is cut off")
        records.append(bundle[start + _LENGTH_BYTES : end])
        start = end
    return records


def _whole(tile: Tile, parts: list[bytes], content: bytes) -> bytes:
    if len(parts) != tile.width:
        raise ValueError(f"{tile.path}: the ledger has {len(parts)} of {tile.width}")
    return content


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NewFile(path, mode=OPEN) as file:
        file.write(content)
        file.replace(durable=False)
