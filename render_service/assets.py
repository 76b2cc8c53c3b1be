"""Content-addressed storage in a local folder: ``sha256/ab/<digest>.<suffix>``.

Bytes are written to a temporary name, flushed to disk, and renamed to the name their digest gives; a file
under its final name is therefore whole. A crash leaves at most a temporary file, which the next write
clears away once it is a day old.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from render_service.errors import BadInput, StorageFailed

SUFFIXES = {
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "image/webp": ".webp",
    "image/jpeg": ".jpg",
    "image/png": ".png",
}
STALE_AFTER_S = 86_400.0
COPY_BYTES = 1 << 20


class Incoming:
    """A file being written: every byte goes through the digest; `path` is its temporary name."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append `chunk`."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.bytes += len(chunk)

    def flush(self) -> None:
        """Make what was written durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def sha256(self) -> str:
        """The digest of what was written so far."""
        return self._digest.hexdigest()


class AssetStore:
    """Assets under `folder`; made on the first write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Open a temporary file to write into; it is gone afterwards unless it was kept by `keep`."""
        with self._writing():
            temporary = self.folder / "tmp"
            temporary.mkdir(parents=True, exist_ok=True)
            _clear_stale(temporary)
            descriptor, name = tempfile.mkstemp(dir=temporary)
        path = Path(name)
        try:
            with self._writing(), os.fdopen(descriptor, "wb") as file:
                yield Incoming(path, file)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, incoming: Incoming, media_type: str) -> str:
        """Give the file its final name and return its URI; the bytes are durable when this returns."""
        with self._writing():
            incoming.flush()
            target = self._path(incoming.sha256, media_type)
            target.parent.mkdir(parents=True, exist_ok=True)
            incoming.path.replace(target)
            _sync_folder(target.parent)
        return target.as_uri()

    def put(self, content: bytes, media_type: str) -> str:
        """Store `content` that is already in memory; return its URI."""
        with self.incoming() as incoming:
            incoming.write(content)
            return self.keep(incoming, media_type)

    def put_file(self, path: Path, media_type: str) -> str:
        """Store the file at `path`, however large; return its URI."""
        with self.incoming() as incoming:
            with path.open("rb") as source:
                while chunk := source.read(COPY_BYTES):
                    incoming.write(chunk)
            return self.keep(incoming, media_type)

    def path(self, storage_uri: str) -> Path:
        """Return the local file behind `storage_uri`."""
        return Path(unquote(urlsplit(storage_uri).path))

    def copy_out(self, storage_uri: str, target: Path, *, force: bool) -> None:
        """Copy a stored file to `target`, whole or not at all."""
        check_target(target, force=force)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(self.path(storage_uri), temporary)
            temporary.replace(target)
        except OSError as error:
            raise StorageFailed(_no_space(target, error)) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _path(self, sha256: str, media_type: str) -> Path:
        return self.folder / "sha256" / sha256[:2] / (sha256 + SUFFIXES.get(media_type, ".bin"))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFailed(_no_space(self.folder, error)) from error


def check_target(target: Path, *, force: bool) -> None:
    """Refuse a target that cannot be written, before anything is spent on it; `BadInput` says why."""
    if not target.parent.is_dir():
        raise BadInput(f"output file {target}: the folder {target.parent} does not exist; make it first")
    if target.is_dir():
        raise BadInput(f"output file {target}: it is a folder; name a file in it with --out")
    if target.exists() and not force:
        raise BadInput(f"output file {target}: it exists already; name another with --out or add --force")


def _no_space(place: Path, error: OSError) -> str:
    return f"{place}: cannot be written ({error.strerror or error}); nothing half-written is left: make room"


def _clear_stale(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another download has just moved its own away
            if path.stat().st_mtime < time.time() - STALE_AFTER_S:
                path.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
