"""The output folder of a batch: one JSON document per job, with its video next to it.

The files are copies for people and scripts. The ledger records what was submitted; these files are never
read.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic_core import to_json

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private_files import OPEN, NewFile
from ledger.terms import Variant
from render_service.assets.names import SUFFIXES
from render_service.assets.store import AssetStore
from render_service.batches.item import Member
from render_service.batches.plan import Planned
from render_service.runtime.documents import Json
from render_service.runtime.errors import BadInput, StorageFailed


class BatchFolder:
    """The output folder of a batch; `prepare` creates it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, plan: Sequence[Planned], *, force: bool) -> None:
        """Raise `BadInput` if the folder cannot be written or files would be replaced; creates nothing."""
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not there.is_dir():
            raise BadInput(
                f"--out-dir {self.path}: {there} is a file; name a folder",
                param="out_dir",
                expected="a folder",
                found="a file",
            )
        if not os.access(there, os.W_OK | os.X_OK):
            raise BadInput(
                f"--out-dir {self.path}: {there} cannot be written; name another folder",
                param="out_dir",
                expected="a folder that can be written",
                found=there,
            )
        taken = [target for target in map(self.document, plan) if target.exists()]
        if folder := next((target for target in taken if target.is_dir()), None):
            raise BadInput(
                f"--out-dir {self.path}: {folder} is a folder where a file has to be written; move it",
                param="out_dir",
                expected="a file",
                found="a folder",
            )
        if taken and not force:
            exist = f"and {len(taken) - 1} more already exist" if len(taken) > 1 else "already exists"
            raise BadInput(
                f"--out-dir {self.path}: {taken[0]} {exist}; "
                "continue that batch with --resume, name another folder, or add --force to replace it",
                param="out_dir",
                expected="a new folder",
                found=f"one in which {taken[0]} {exist}",
            )

    def prepare(self, plan: Sequence[Planned]) -> None:
        """Create the folder and the subfolders of entries; `BadInput` if one cannot be created."""
        for folder in dict.fromkeys([self.path, *(self.document(planned).parent for planned in plan)]):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(
                    f"--out-dir {self.path}: the folder {folder} cannot be created ({error.strerror}); "
                    "name another",
                    param="out_dir",
                    expected="a place that can be written",
                    found=error.strerror,
                ) from error

    def document(self, planned: Planned) -> Path:
        """Return the path of an entry's job document."""
        return self.path / planned.entry.out

    def write_all(self, members: Iterable[Member], ledger: Ledger) -> list[StorageFailed | None]:
        """Write the job documents, each atomically; return the error of each, or None."""
        return [self._write(self.document(member.planned), member.document(ledger)) for member in members]

    def _write(self, target: Path, document: Json) -> StorageFailed | None:
        try:
            with NewFile(target, mode=OPEN) as file:
                file.write(to_json(document, indent=2) + b"\n")
                file.replace(durable=False)
        except OSError as error:
            return StorageFailed(
                f"{target}: cannot be written ({error.strerror}); the job itself is in the ledger: "
                "make room, then continue with --resume",
                expected="a place that can be written",
                found=error.strerror,
            )
        return None

    def copy_video(self, assets: AssetStore, planned: Planned, job: Job) -> Path:
        """Copy a stored video next to the job's document."""
        asset = job.assets[Variant.VIDEO]
        target = self.document(planned).with_suffix(SUFFIXES.get(asset.media_type, ".bin"))
        assets.copy_out(asset.storage_uri, target, force=True)
        return target
