"""Exporting the log as tiles: a new folder, or one that is extended to what the ledger is now."""

from dataclasses import dataclass
from pathlib import Path

from ledger.log.ledger import Ledger
from ledger.log.tiles import write_tiles
from ledger.tree.head import TreeHead
from render_service.evidence.checkpoints import cosigned, given_head, tree_head
from render_service.runtime.errors import BadInput, NotIntact, StorageFailed

CHECKPOINT = "checkpoint"
OURS = {CHECKPOINT, "tile"}


@dataclass(frozen=True)
class Tiled:
    """A folder of tiles that goes up to `head`; `old_size` is what it held before."""

    folder: Path
    head: TreeHead
    old_size: int
    written: int


def export_tiles(ledger: Ledger, folder: Path, key: Path | None) -> Tiled:
    """Write `ledger` as tiles into `folder`, or extend the tiles of it that are there."""
    if key is None:
        raise BadInput(
            "tiles need a signed checkpoint: add --key FILE (`sora-ledger key new FILE` makes one)"
        )
    head = tree_head(ledger, key)
    there = _there(ledger, folder)
    old_size = there.checkpoint.size if there else 0
    if there:
        head = cosigned(head, there, f"--tiles {folder}")
    try:
        written = write_tiles(ledger, folder, head, old_size)
    except ValueError as error:
        raise NotIntact(f"{error}; `sora-ledger verify` says what is wrong") from error
    except OSError as error:
        raise StorageFailed(
            f"{folder}: cannot be written ({error.strerror}); the checkpoint there is what it was: make room"
        ) from error
    return Tiled(folder, head, old_size, written)


def _there(ledger: Ledger, folder: Path) -> TreeHead | None:
    """Return the head of the tiles of `ledger` in `folder`; refuse a folder of something else."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise BadInput(f"--tiles {folder}: it is a file; name a folder")
    odd = sorted(path.name for path in folder.iterdir() if path.name not in OURS and path.name[:1] != ".")
    if odd:
        raise BadInput(f"--tiles {folder}: it holds {odd[0]}, which is no part of a log; name a new folder")
    if not (folder / CHECKPOINT).exists():
        return None
    return given_head(ledger, folder / CHECKPOINT)
