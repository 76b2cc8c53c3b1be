"""Export bundles and tiles.

A bundle is written to a temporary file next to the target, checked by the independent verifier, then renamed.
Tiles of the log are written to a new folder, or extend a folder to the current ledger.
"""

import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

from ledger.log.bundle import CitedFile, Contents, Scope, Wish, write_bundle
from ledger.log.ledger import Ledger
from ledger.log.tiles import write_tiles
from ledger.record import Record
from ledger.tree.head import TreeHead
from ledger.verify import verify_bundle
from ledger.verify.quick_bundle import is_sound
from ledger.verify.verify_bundle import NotABundle, Outcome, check_bundle, read_head, read_key
from render_service.assets.store import AssetStore, check_target, uris
from render_service.evidence.checkpoints import merge_signatures, read_pinned_head, tree_head
from render_service.evidence.checkpoints import read_head as read_checkpoint
from render_service.evidence.keys import read_signer, read_verifier
from render_service.evidence.verify import read_trusted
from render_service.runtime.errors import BadInput, NotIntact, ServiceError, StorageFailed
from render_service.runtime.files import read_file

_RANGE = re.compile(r"([1-9][0-9]{0,17})\.\.([1-9][0-9]{0,17})")


@dataclass(frozen=True)
class Export:
    """An export to perform. `key` signs a new head; `checkpoint` is an existing one to use instead.

    `find_manifest` returns the C2PA manifest of the file that a record is about (`ledger.log.bundle.Wish`).
    """

    target: Path
    scope: Scope
    key: Path | None = None
    checkpoint: Path | None = None
    with_text: bool = True
    with_assets: bool = False
    find_manifest: Callable[[Record], bytes | None] | None = None
    force: bool = False


@dataclass(frozen=True)
class ExportedBundle:
    """A written and checked bundle."""

    path: Path
    bytes: int
    head: TreeHead
    scope: Scope
    contents: Contents


def scope_of(ledger: Ledger, job: str | None, positions: str | None) -> Scope:
    """Return the scope of an export: a job, positions ``A..B``, or everything."""
    if job is not None:
        return Scope(job_id=ledger.job(job).job_id)
    if positions is None:
        return Scope()
    match = _RANGE.fullmatch(positions)
    newest = ledger.head().size
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < first <= last <= newest:
        raise BadInput(
            f"--range {positions}: expected A..B with positions from 1 to {newest}, such as 1..{newest}",
            param="range",
            expected=f"A..B with positions from 1 to {newest}, such as 1..{newest}",
            found=positions,
        )
    return Scope(first=first, last=last)


def export_bundle(ledger: Ledger, wanted: Export, assets: AssetStore) -> ExportedBundle:
    """Write the bundle to ``wanted.target``, atomically and only after it was checked."""
    check_target(wanted.target, force=wanted.force)
    head = read_pinned_head(ledger, wanted.checkpoint) if wanted.checkpoint else tree_head(ledger, wanted.key)
    wish = Wish(
        with_text=wanted.with_text,
        open_asset=_opener(assets) if wanted.with_assets else None,
        find_manifest=wanted.find_manifest,
        verifier=str(read_signer(wanted.key).verifier) if wanted.key and not wanted.checkpoint else None,
        timestamp=_timestamp_beside(wanted.checkpoint) if wanted.checkpoint else None,
        build=build_information(),
    )
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=wanted.target.parent, prefix=f".{wanted.target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            contents = write_bundle(file, wanted.target.name, ledger, wanted.scope, head, wish)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        _check(temporary, wanted.scope)
        size = Path(temporary).stat().st_size
        Path(temporary).replace(wanted.target)
    except (RecursionError, ValueError) as error:  # a record, a payload or the tree is damaged
        raise NotIntact(f"{wanted.scope}: {error}; `sora-ledger verify` says what is wrong") from error
    except OSError as error:
        raise StorageFailed(
            f"{wanted.target}: cannot be written ({error.strerror}); nothing half-written is left",
            expected="a place that can be written",
            found=error.strerror,
        ) from error
    finally:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
    return ExportedBundle(wanted.target, size, head, wanted.scope, contents)


def _timestamp_beside(checkpoint: Path) -> bytes | None:
    """Return the timestamp of a checkpoint, if it has one; `BadInput` if it dates another checkpoint."""
    beside = checkpoint.with_name(f"{checkpoint.name}.tsr")
    if not beside.exists():
        return None
    token = read_file(beside, "timestamp", verify_bundle.MAX_TIMESTAMP_BYTES)
    note = read_file(checkpoint, "checkpoint", verify_bundle.MAX_NOTE_BYTES)
    try:
        if verify_bundle.read_timestamp(token).digest in verify_bundle.stampable(note):
            return token
    except ValueError as error:
        raise BadInput(
            f"timestamp {beside}: {error}; remove it, or publish the checkpoint again",
            param="timestamp",
            expected="a timestamp of the checkpoint",
            found=error,
        ) from None
    raise BadInput(
        f"timestamp {beside}: it is of another checkpoint; remove it, or publish again",
        param="timestamp",
        expected="a timestamp of this checkpoint",
        found="one of another",
    )


def build_information() -> dict[str, str]:
    """Return the versions of the software that made a bundle."""
    try:
        own_version = version("sora-ledger")
    except PackageNotFoundError:
        own_version = "unknown"
    return {
        "sora_ledger": own_version,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
    }


def _check(path: str, scope: Scope) -> None:
    findings = [] if is_sound(path) else verify_bundle.check_bundle(path).findings
    if findings:
        code, position, subject, *_ = findings[0]
        where = subject if position is None else f"position {position}, {subject}"
        raise NotIntact(
            f"{scope}: not exported, because the bundle would fail verification: {code} at {where}; "
            "`sora-ledger verify` says what is wrong"
        )


def _opener(assets: AssetStore) -> Callable[[CitedFile], IO[bytes] | None]:
    """Return a function that opens a stored file if its bytes match the record."""

    def open_asset(cited: CitedFile) -> IO[bytes] | None:
        for uri in uris(cited.storage_uri, cited.sha256):
            with suppress(OSError, ServiceError):  # missing, or its bytes do not match its name
                file = assets.path(uri).open("rb")
                if hashlib.file_digest(file, "sha256").hexdigest() == cited.sha256:
                    file.seek(0)
                    return file
                file.close()
        return None

    return open_asset


def check_received(
    path: Path, verifiers: Sequence[str], checkpoint: Path | None, witnesses: Path | None = None
) -> Outcome:
    """Check the bundle at `path` against the reader's knowledge; `BadInput` if it is not a bundle."""
    keys = [read_key(str(read_verifier(text))) for text in verifiers]
    held = read_head(read_checkpoint(checkpoint).to_bytes()) if checkpoint else None
    try:
        return check_bundle(str(path), keys, held, read_trusted(witnesses) if witnesses else None)
    except NotABundle as error:
        raise BadInput(
            f"bundle {error}; name a file that `sora-ledger export` wrote",
            param="bundle",
            expected="a file that `sora-ledger export` wrote",
            found=error,
        ) from None


CHECKPOINT = "checkpoint"


TILE_NAMES = {CHECKPOINT, "tile"}


@dataclass(frozen=True)
class Tiled:
    """A folder of tiles up to `head`; `old_size` is the number of records before this export."""

    folder: Path
    head: TreeHead
    old_size: int
    written: int


def export_tiles(ledger: Ledger, folder: Path, key: Path | None) -> Tiled:
    """Write `ledger` as tiles into `folder`, or extend the tiles already there."""
    if key is None:
        raise BadInput(
            "tiles need a signed checkpoint: add --key FILE (`sora-ledger key new FILE` creates one)",
            param="key",
            expected="a key that signs",
            found="nothing",
        )
    head = tree_head(ledger, key)
    there = _existing_head(ledger, folder)
    old_size = there.checkpoint.size if there else 0
    if there:
        head = merge_signatures(head, there, f"--tiles {folder}")
    try:
        written = write_tiles(ledger, folder, head, old_size)
    except ValueError as error:
        raise NotIntact(f"{error}; `sora-ledger verify` says what is wrong") from error
    except OSError as error:
        raise StorageFailed(
            f"{folder}: cannot be written ({error.strerror}); the checkpoint there is unchanged: make room",
            expected="a place that can be written",
            found=error.strerror,
        ) from error
    return Tiled(folder, head, old_size, written)


def _existing_head(ledger: Ledger, folder: Path) -> TreeHead | None:
    """Return the head of the tiles of `ledger` in `folder`; `BadInput` if it contains something else."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise BadInput(
            f"--tiles {folder}: it is a file; name a folder",
            param="tiles",
            expected="a folder",
            found="a file",
        )
    odd = sorted(
        path.name for path in folder.iterdir() if path.name not in TILE_NAMES and path.name[:1] != "."
    )
    if odd:
        raise BadInput(
            f"--tiles {folder}: it contains {odd[0]}, which does not belong to a log; name a new folder",
            param="tiles",
            expected="a folder of tiles, or a new one",
            found=odd[0],
        )
    if not (folder / CHECKPOINT).exists():
        return None
    return read_pinned_head(ledger, folder / CHECKPOINT)
