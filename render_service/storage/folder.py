"""A place in a local folder: written to a temporary name, flushed to disk, renamed to its final one.

A crash leaves at most a temporary file, which `clear_stale` removes once it is a day old.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from render_service.errors import StorageFailed
from render_service.storage.interface import CONTENT, Digested, Kept

STALE_AFTER_S = 86_400.0
COPY_BYTES = 1 << 20


class FolderPlace:
    """Files under `folder`, made on the first write; the temporary names must be on the same disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.url = self.folder.as_uri()

    def keep(self, file: Digested) -> str:
        """Give the file its final name; it was flushed before."""
        target = self.folder / file.name
        with writing(self.folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.path.replace(target)
            sync_folder(target.parent)
        return target.as_uri()

    def size(self, storage_uri: str) -> int | None:
        """Return the size of a file."""
        path = path_of(storage_uri)
        try:
            return path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise StorageFailed(f"{path}: cannot be looked at ({error.strerror})") from error

    def fetch(self, storage_uri: str, target: Path) -> str | None:
        """Copy a file."""
        source = path_of(storage_uri)
        if not source.is_file():
            return None
        with writing(target.parent):
            shutil.copyfile(source, target)
        return self.digest(target.as_uri())

    def digest(self, storage_uri: str) -> str | None:
        """Hash a file."""
        try:
            with path_of(storage_uri).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailed(f"{path_of(storage_uri)}: cannot be read ({error.strerror})") from error

    def files(self) -> Iterator[Kept]:
        """Yield what has a final name."""
        for path in sorted((self.folder / CONTENT).rglob("*")):
            with suppress(FileNotFoundError):
                found = path.stat()
                if path.is_file():
                    kept_at = datetime.fromtimestamp(found.st_mtime, UTC)
                    yield Kept(path.as_uri(), path.stem, found.st_size, kept_at)

    def remove(self, storage_uri: str) -> None:
        """Unlink a file."""
        with writing(self.folder):
            path_of(storage_uri).unlink(missing_ok=True)


def path_of(storage_uri: str) -> Path:
    """Return the path in a ``file://`` URI."""
    return Path(unquote(urlsplit(storage_uri).path))


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what goes wrong with files into `StorageFailed`."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(unwritable(place, error)) from error


def unwritable(place: Path, error: OSError) -> str:
    """Say that a place cannot be written, and what to do."""
    is_full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    next_step = "make room" if is_full else "check its path and rights"
    return (
        f"{place}: cannot be written ({error.strerror or error}); nothing half-written is left: {next_step}"
    )


def clear_stale(folder: Path) -> None:
    """Remove files that nobody has touched for a day."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another has just moved its own away
            if path.is_file() and path.stat().st_mtime < time.time() - STALE_AFTER_S:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
