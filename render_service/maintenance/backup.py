"""Back up a ledger to one file, a consistent snapshot, and restore a ledger from such a file.

The backup of a ledger file is a file of the same kind; the backup of a ledger on PostgreSQL is an archive of
``pg_dump``. A restored ledger is verified before it is used. Backups still contain private text that was
erased later, and do not contain stored files.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerUnusable
from ledger.log.opening import open_ledger
from ledger.log.urls import file_of, label_of
from ledger.log.verification import verify_ledger
from ledger.private_files import make_folders
from ledger.store.sqlite.snapshot import copy_file
from render_service.maintenance.copy import copy_ledger
from render_service.runtime.errors import BadInput
from render_service.runtime.files import check_folder_of

if TYPE_CHECKING:
    from ledger.verify import Report

SQLITE_MAGIC = b"SQLite format 3\0"
POSTGRES_MAGIC = b"PGDMP"

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Backup:
    """A completed backup, and the head of the ledger in it."""

    ledger: str
    file: str
    bytes: int
    kind: str
    size: int
    root: str

    def document(self) -> dict[str, Any]:
        """Return the backup as a JSON object."""
        return asdict(self)


def back_up(url: str, file: Path, progress: Progress) -> Backup:
    """Write the ledger at `url` to the new file `file`."""
    if file.exists():
        raise BadInput(
            f"{file}: it already exists, and a backup replaces nothing: name a new file",
            param="file",
            expected="a new name",
            found="a file of this name",
        )
    check_folder_of(file, "backup", "file")
    path = file_of(url)
    with open_ledger(url):  # raises if there is no readable ledger
        pass
    if path is None:
        return _dump_database(url, file)
    # A crash leaves at most a temporary file, never a partial backup: the same command starts again.
    copy_file(path, file, progress, check=lambda _: True)
    with open_ledger(str(file)) as ledger:
        head = ledger.head()
    return Backup(label_of(url), str(file), file.stat().st_size, "sqlite", head.size, head.root.hex())


def _dump_database(url: str, file: Path) -> Backup:
    from ledger.store.postgres.connection import Place  # only the store in use is loaded
    from ledger.store.postgres.snapshot import dump

    edge = dump(Place.at(url), file)
    kind, root = "postgresql", edge.root().hex()
    return Backup(label_of(url), str(file), file.stat().st_size, kind, edge.size, root)


def restore(file: Path, url: str, progress: Progress) -> "Report":
    """Restore the backup `file` to a new ledger at `url`; return the report of its verification.

    A backup with findings does not become a ledger file; on PostgreSQL the restored ledger can be inspected.
    """
    kind, path = _detect_kind(file), file_of(url)
    if path is not None and path.exists():
        raise LedgerUnusable(
            f"ledger {path}: it already exists, and a backup replaces nothing: name another",
            param="file",
            expected="a new name",
            found="a file of this name",
        )
    if kind == POSTGRES_MAGIC:
        return _restore_archive(file, url)
    if path is None:
        return _restore_to_server(file, url, progress)
    return _restore_file(file, path, progress)


def _detect_kind(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            start = opened.read(len(SQLITE_MAGIC))
    except OSError as error:
        raise BadInput(
            f"backup {file}: cannot be read ({error.strerror})",
            param="backup",
            expected="a file that can be read",
            found=error.strerror,
        ) from error
    for magic in (SQLITE_MAGIC, POSTGRES_MAGIC):
        if start.startswith(magic):
            return magic
    raise BadInput(
        f"backup {file}: expected a file that `sora-ledger backup` wrote",
        param="backup",
        expected="a file that `sora-ledger backup` wrote",
        found="another file",
    )


def _restore_archive(file: Path, url: str) -> "Report":
    if file_of(url) is not None:
        raise BadInput(
            f"backup {file}: it is an archive of PostgreSQL, and {label_of(url)} is a file: restore it to a "
            "database, then `sora-ledger copy` copies it to a file",
            param="ledger",
            expected="a database",
            found="a file",
        )
    from ledger.store.postgres.connection import Place  # only the store in use is loaded
    from ledger.store.postgres.snapshot import restore as put

    put(Place.at(url), file)
    return _verify(url)


def _restore_to_server(file: Path, url: str, progress: Progress) -> "Report":
    report = _verify(str(file))
    if report.clean:
        # A crash here leaves the first part of the backup: `sora-ledger copy` of the file completes it.
        copy_ledger(str(file), url, progress)
        return _verify(url)
    return report


def _restore_file(file: Path, path: Path, progress: Progress) -> "Report":
    reports: list[Report] = []

    def check(copy: Path) -> bool:
        reports.append(_verify(str(copy)))
        return reports[0].clean

    try:
        make_folders(path.parent)
    except OSError as error:
        raise LedgerUnusable(
            f"ledger {path}: its folder cannot be created ({error.strerror})",
            param="ledger",
            expected="a place that can be written",
            found=error.strerror,
        ) from error
    # A crash leaves at most a temporary file, and no ledger: the same command starts again.
    copy_file(file, path, progress, check)
    return reports[0]


def _verify(url: str) -> "Report":
    return verify_ledger(url)
