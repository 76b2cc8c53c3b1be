"""New files and folders that are their owner's alone, and durable once they have their name.

A new file is written under an unpredictable name and opened so that it can be neither a file that is there
nor a link. It gets its name by a rename or a link, whose folder is flushed as well: after a crash the file is
there whole or not at all.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

FILE = 0o600
FOLDER = 0o700
OPEN = 0o666
"""Of files that a person asked for under a name of their own: what their umask leaves of it."""


class NewFile:
    """A file on its way to `target`; a context manager that removes what did not get there."""

    def __init__(self, target: Path, mode: int = FILE) -> None:
        self.target = target
        self.path = unguessable(target)
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDWR
        self._file: BinaryIO = os.fdopen(os.open(self.path, flags, mode), "w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what could not be written has been said
            self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, content: bytes) -> None:
        """Append `content`."""
        self._file.write(content)

    def replace(self, *, durable: bool = True) -> None:
        """Give it its name, in place of what has it; not `durable` where it can be made again."""
        if durable:
            self._flush()
        else:
            self._file.flush()
        self.path.replace(self.target)
        if durable:
            sync_folder(self.target.parent)

    def link(self) -> None:
        """Give it its name; `FileExistsError` if that is taken."""
        self._flush()
        os.link(self.path, self.target)
        sync_folder(self.target.parent)

    def _flush(self) -> None:
        """Flush what was written here, or by others under `path`."""
        self._file.flush()
        os.fsync(self._file.fileno())


def begin_private(path: Path) -> None:
    """Make `path` an empty file that is its owner's alone, unless something is there."""
    with suppress(OSError):  # whoever opens it says why not
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_WRONLY, FILE))


def unguessable(target: Path) -> Path:
    """Return a hidden, unpredictable name beside `target`."""
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")


def make_folders(folder: Path) -> None:
    """Make `folder` and the folders above it that are missing, each durable in its parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        try:
            each.mkdir(mode=FOLDER)
        except FileExistsError:  # another process was first, or a file is in the way
            if not each.is_dir():
                raise
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Make what happened to the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
