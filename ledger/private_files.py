"""New files and folders that only their owner can read, durable as soon as they have their name.

A new file is written under an unpredictable name, opened so that neither an existing file nor a link can be
in its place. A rename or a link then gives it its name, and the folder is flushed as well: after a crash the
file exists completely or not at all. A crash before the rename leaves only the hidden ``.part`` file, which
nothing reads.
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
"""Mode of files that a person named; the umask restricts it."""


class NewFile:
    """A file that will become `target`; a context manager that removes it if it does not."""

    def __init__(self, target: Path, mode: int = FILE) -> None:
        self.target = target
        self.path = make_hidden_path(target)
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDWR
        self._file: BinaryIO = os.fdopen(os.open(self.path, flags, mode), "w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a failed write has already raised
            self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, content: bytes) -> None:
        """Append `content`."""
        self._file.write(content)

    def replace(self, *, durable: bool = True) -> None:
        """Give the file its name, replacing any other; not `durable` if it can be regenerated."""
        if durable:
            self._flush()
        else:
            self._file.flush()
        self.path.replace(self.target)
        if durable:
            sync_folder(self.target.parent)

    def link(self) -> None:
        """Give the file its name; `FileExistsError` if that is taken."""
        self._flush()
        os.link(self.path, self.target)
        sync_folder(self.target.parent)

    def _flush(self) -> None:
        """Flush the data written here, or by other programs under `path`."""
        self._file.flush()
        os.fsync(self._file.fileno())


def begin_private(path: Path) -> None:
    """Make `path` an empty file that only its owner can read, unless it exists."""
    with suppress(OSError):  # opening it raises the cause
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_WRONLY, FILE))


def make_hidden_path(target: Path) -> Path:
    """Return a hidden, unpredictable name in the folder of `target`."""
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")


def make_folders(folder: Path) -> None:
    """Make `folder` and its missing parents, each durable in its own parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        try:
            path.mkdir(mode=FOLDER)
        except FileExistsError:  # another process was first, or a file is in the way
            if not path.is_dir():
                raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: new ones, renamed and deleted ones."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
