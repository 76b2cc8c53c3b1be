"""Stored files, for everybody: written while they are hashed, kept under their digest, found again by URI.

What comes in is written to a temporary file of the local folder first, hashed on the way; the file is looked
into there, and then kept in a place: that folder, or a bucket (`render_service.storage.interface` is the
contract). A URI leads back to its file wherever new ones go today; one from a bucket is copied into the local
folder, checked against its digest, and cleared away a day after its last use.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from render_service.errors import BadInput, StorageFailed
from render_service.storage.folder import COPY_BYTES, FolderPlace, clear_stale, path_of, unwritable, writing
from render_service.storage.interface import CONTENT, SUFFIXES, Digested, Place
from render_service.storage.irreplaceable import irreplaceable

__all__ = ["SUFFIXES", "AssetStore", "Incoming", "check_target"]

_FILE = "file"


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

    def restart(self) -> None:
        """Forget what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.bytes = 0

    def flush(self) -> None:
        """Make what was written durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def sha256(self) -> str:
        """The digest of what was written so far."""
        return self._digest.hexdigest()


class AssetStore:
    """Files kept in `folder`, or in the bucket at `url`; `folder` is made on the first write."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self._local = FolderPlace(folder)
        self.folder = self._local.folder
        self.place: Place = _bucket(url) if url else self._local

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Open a temporary file to write into; it is gone afterwards unless it was kept by `keep`."""
        with writing(self.folder):
            descriptor, name = tempfile.mkstemp(dir=self._scratch("tmp"))
        path = Path(name)
        try:
            with writing(self.folder), os.fdopen(descriptor, "wb") as file:
                yield Incoming(path, file)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, incoming: Incoming, media_type: str) -> str:
        """Keep the file under its digest and return its URI; the bytes are durable when this returns."""
        with writing(self.folder):
            incoming.flush()
        return self.place.keep(Digested(incoming.path, incoming.sha256, incoming.bytes, media_type))

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

    def has(self, storage_uri: str) -> bool:
        """Say whether there is a file behind `storage_uri`."""
        return self.place_of(storage_uri).size(storage_uri) is not None

    def path(self, storage_uri: str) -> Path:
        """Return a local file with the bytes behind `storage_uri`; where there are none, a path to nothing.

        `StorageFailed` if a bucket cannot be read, or holds other bytes than the name says.
        """
        if urlsplit(storage_uri).scheme == _FILE:
            return path_of(storage_uri)
        name = PurePosixPath(urlsplit(storage_uri).path)
        with writing(self.folder):
            copy = self._scratch("cache") / name.name
            with suppress(FileNotFoundError):  # it was never here, or has just been cleared away
                os.utime(copy)
                return copy
        with self.incoming() as fetched:
            found = self.place_of(storage_uri).fetch(storage_uri, fetched.path)
            if found == name.stem:
                with writing(self.folder):
                    fetched.path.replace(copy)
            elif found is not None:
                raise StorageFailed(f"{storage_uri}: the bytes there are not what the name says")
        return copy

    def find(self, sha256: str) -> str | None:
        """Return the URI of the file with this digest, of whatever media type; None if it is not here."""
        for place in dict.fromkeys((self._local, self.place)):
            for suffix in (*SUFFIXES.values(), ".bin"):
                uri = f"{place.url.rstrip('/')}/{CONTENT}/{sha256[:2]}/{sha256}{suffix}"
                if place.size(uri) is not None:
                    return uri
        return None

    def remove(self, storage_uri: str) -> None:
        """Delete the file behind `storage_uri` and the copy that was made of it here, if they are there."""
        self.place_of(storage_uri).remove(storage_uri)
        with writing(self.folder):
            (self.folder / "cache" / PurePosixPath(urlsplit(storage_uri).path).name).unlink(missing_ok=True)

    def copy_out(self, storage_uri: str, target: Path, *, force: bool) -> None:
        """Copy a stored file to `target`, whole and as it was stored, or not at all."""
        check_target(target, force=force)
        source = self.path(storage_uri)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as copy:
                _check_digest(storage_uri, hashlib.file_digest(copy, "sha256").hexdigest())
            temporary.replace(target)
        except OSError as error:
            raise StorageFailed(unwritable(target, error)) from error
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, storage_uri: str) -> bytes:
        """Return a stored file as it was stored; `StorageFailed` where it is not that any more."""
        content = self.path(storage_uri).read_bytes()
        _check_digest(storage_uri, hashlib.sha256(content).hexdigest())
        return content

    def place_of(self, storage_uri: str) -> Place:
        """Return the place a URI is of, which need not be the one where new files go."""
        return self._local if urlsplit(storage_uri).scheme == _FILE else _bucket(storage_uri)

    def _scratch(self, name: str) -> Path:
        """Return a folder for files that may go, clear of those that nobody has touched for a day."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        clear_stale(folder)
        return folder


def _check_digest(storage_uri: str, found: str) -> None:
    if found != PurePosixPath(urlsplit(storage_uri).path).stem:
        raise StorageFailed(
            f"{storage_uri}: its bytes are not those that were stored; move it away, "
            "and `sora-ledger download` fetches it again if the server still has it"
        )


def _bucket(url: str) -> Place:
    from render_service.storage.objects import ObjectPlace  # noqa: PLC0415  # only where there is a bucket

    return ObjectPlace(url)


def check_target(target: Path, *, force: bool) -> None:
    """Refuse a target that cannot be written, before anything is spent on it; `BadInput` says why."""
    if not target.parent.is_dir():
        raise BadInput(f"output file {target}: the folder {target.parent} does not exist; make it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise BadInput(f"output file {target}: the folder {target.parent} cannot be written; name another")
    if target.is_dir():
        raise BadInput(f"output file {target}: it is a folder; name a file in it with --out")
    if what := irreplaceable(target):
        raise BadInput(f"output file {target}: {what} is there, which nothing replaces; name another")
    if target.exists() and not force:
        raise BadInput(f"output file {target}: it exists already; name another with --out or add --force")
