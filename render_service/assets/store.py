"""The asset store: hash files while they are written, store them under their digest, find them by URI.

Incoming bytes are hashed while they are written to a temporary file in the local folder. The file is probed
there, and then stored in a place: that folder, or a bucket (`render_service.assets.interface` is the
contract). A URI is resolved in the local folder, then in the bucket, then in the place that an older URI
names. A file from a bucket is copied into a local cache, verified against its digest, and removed a day after
its last use. Files are added and removed only in places that the ledger owns
(`render_service.assets.folder`).
"""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ledger.errors import LedgerUnusable
from ledger.events import LedgerCreated
from ledger.log.ledger import Ledger
from ledger.log.urls import label_of
from ledger.private_files import OPEN, NewFile, make_folders
from ledger.store.filters import RecordFilter
from render_service.assets.bucket import ObjectPlace
from render_service.assets.folder import (
    COPY_BYTES,
    FolderPlace,
    Owner,
    clear_stale,
    describe_irreplaceable,
    make_unwritable,
    writing,
)
from render_service.assets.interface import Digested, Place
from render_service.assets.names import CONTENT, is_name, names_of, read_uri, uri_of
from render_service.runtime.errors import BadInput, NotAsStored, PlaceTaken, StorageFailed
from render_service.runtime.files import check_folder_of
from render_service.runtime.settings import Settings


def uris(storage_uri: str | None, sha256: str) -> list[str]:
    """Return the URIs to try; the URI of an original that was sent in another form is not recorded."""
    return [storage_uri] if storage_uri is not None else [uri_of(name) for name in names_of(sha256)]


_CHUNK = 1_000
_DIGEST = re.compile(rb"\b[0-9a-f]{64}\b")
SWEEPERS = 16
CLEARED_EVERY_S = 3_600.0

__all__ = ["AssetStore", "IncomingFile", "check_target"]


class LocatedFile(NamedTuple):
    """An existing file: its place, name, the digest in its name, and its size."""

    place: Place
    name: str
    sha256: str
    bytes: int


class IncomingFile:
    """A file being written and hashed; `path` is its temporary name."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, chunk: bytes | bytearray) -> None:
        """Append `chunk`."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.bytes += len(chunk)

    def restart(self) -> None:
        """Discard everything written so far."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.bytes = 0

    def show(self) -> None:
        """Let others read the written bytes; they are not durable yet."""
        self._file.flush()

    def flush(self) -> None:
        """Make the written bytes durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def sha256(self) -> str:
        """The digest of the bytes written so far."""
        return self._digest.hexdigest()


class AssetStore:
    """Files stored in `folder`, or in the bucket at `url`; `folder` is created on the first write.

    `owner` is the ledger that owns the files. Without an owner nothing is removed, and files are added
    without checking who owns the place.
    """

    def __init__(self, folder: Path, url: str | None = None, owner: Owner | None = None) -> None:
        self._local = FolderPlace(folder)
        self.folder = self._local.folder
        self.place: Place = _place_at(url) if url else self._local
        self._owner = owner
        self._is_swept = False
        self._clear_at: dict[str, float] = {}

    @classmethod
    def of(cls, settings: Settings, ledger: Ledger | None = None) -> "AssetStore":
        """Return the store of `settings` for an open ledger; without a ledger it is only read."""
        owner = owner_of(ledger, settings.ledger_url) if ledger else None
        return cls(settings.assets_folder, settings.assets_url, owner)

    def check_owner(self) -> None:
        """Raise `PlaceTaken` if another ledger owns the place of new files; creates no folder.

        A bucket that cannot be reached is reported only when a file is stored.
        """
        if self._owner is not None and (self.place is not self._local or self.folder.is_dir()):
            try:
                self._owner.check(self.place)
            except PlaceTaken:
                raise
            except StorageFailed:
                return

    def check_removing(self, place: Place) -> None:
        """Raise `PlaceTaken` if this ledger may not remove files from `place`."""
        if self._owner is None:
            raise PlaceTaken(
                f"{place.url}: no files are removed without an open ledger",
                param="ledger",
                expected="an open ledger",
                found="none",
            )
        self._owner.check_removing(place)

    def claim(self) -> None:
        """Make the ledger the owner of the places of this store, whatever their notes say."""
        if self._owner is not None:
            for place in self._own:
                if place is self.place or self.folder.is_dir():
                    self._owner.claim(place)

    @property
    def _own(self) -> tuple[Place, ...]:
        return (self._local,) if self.place is self._local else (self._local, self.place)

    @contextmanager
    def open_incoming(self) -> Iterator[IncomingFile]:
        """Open a temporary file for writing; it is removed afterwards unless `keep` has stored it."""
        with writing(self.folder):
            descriptor, name = tempfile.mkstemp(dir=self._scratch("tmp"))
        path = Path(name)
        try:
            with writing(self.folder), os.fdopen(descriptor, "wb") as file:
                yield IncomingFile(path, file)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, incoming: IncomingFile, media_type: str) -> str:
        """Store the file under its digest and return its URI; the bytes are durable when this returns."""
        self.flush(incoming)
        if self._owner is not None:
            self._owner.check(self.place)
        file = Digested(incoming.path, incoming.sha256, incoming.bytes, media_type)
        # A crash before this leaves an incoming file, which `clear_stale` removes after a day. A crash after
        # it leaves an unreferenced file: the job is still completed, and is stored again under the same name.
        self.place.keep(file)
        return uri_of(file.name)

    def flush(self, incoming: IncomingFile) -> None:
        """Make the bytes of an incoming file durable."""
        with writing(self.folder):
            incoming.flush()

    def put(self, content: bytes, media_type: str) -> str:
        """Store `content` from memory; return its URI."""
        with self.open_incoming() as incoming:
            incoming.write(content)
            return self.keep(incoming, media_type)

    def put_file(self, path: Path, media_type: str) -> str:
        """Store a copy of the file at `path`; return its URI."""
        with self.open_incoming() as incoming:
            with path.open("rb") as source:
                while chunk := source.read(COPY_BYTES):
                    incoming.write(chunk)
            return self.keep(incoming, media_type)

    def has(self, storage_uri: str) -> bool:
        """Return whether the file of `storage_uri` exists."""
        return self.locate(storage_uri) is not None

    def locate(self, storage_uri: str) -> LocatedFile | None:
        """Find the file of a URI; None if it does not exist, or the URI does not name a stored file."""
        cited = read_uri(storage_uri)
        if cited is None:
            return None
        places = list(self._own)
        if cited.place_url is not None and cited.place_url not in {place.url for place in places}:
            places.append(_place_at(cited.place_url))
        for place in places:
            size = place.size(cited.name)
            if size is not None:
                return LocatedFile(place, cited.name, cited.sha256, size)
        return None

    def path(self, storage_uri: str) -> Path:
        """Return a local path to the bytes of `storage_uri`; if there are none, a path that does not exist.

        `StorageFailed` if a bucket cannot be read, or its bytes do not match the name.
        """
        place = self.locate(storage_uri)
        if place is None:
            return self.folder / "nowhere" / storage_uri.rpartition("/")[2]
        if isinstance(place.place, FolderPlace):
            return place.place.folder / place.name
        with writing(self.folder):
            copy = self._scratch("cache") / place.name.rpartition("/")[2]
            with suppress(FileNotFoundError):  # not cached, or just removed
                os.utime(copy)
                return copy
        with self.open_incoming() as fetched:
            digest = place.place.fetch(place.name, fetched.path)
            if digest == place.sha256:
                with writing(self.folder):
                    fetched.path.replace(copy)
            elif digest is not None:
                raise NotAsStored(
                    f"{storage_uri}: the stored bytes do not match the name",
                    expected="the bytes that were stored",
                    found="others",
                )
        return copy

    def find(self, sha256: str) -> str | None:
        """Return the URI of the file with this digest, of any media type; None if it is not stored."""
        return next((uri for uri in map(uri_of, names_of(sha256)) if self.has(uri)), None)

    def doubt(self, storage_uri: str, sha256: str) -> str | None:
        """Return why the file of `storage_uri` must not be removed as the one with this digest, or None."""
        place = self.locate(storage_uri)
        if place is None:
            return None
        if place.place not in self._own:
            return f"outside {self.place.url}, the storage of this ledger"
        return (
            None
            if place.place.digest(place.name) == sha256
            else "its bytes differ from those that were stored"
        )

    def remove(self, storage_uri: str) -> None:
        """Delete the file of `storage_uri` and its cached copy.

        Files outside this ledger's places are not touched.
        """
        cited = read_uri(storage_uri)
        if cited is None:
            return
        for place in self._own:
            if place.size(cited.name) is not None:
                self.check_removing(place)
                place.remove(cited.name)
        with writing(self.folder):
            (self.folder / "cache" / cited.name.rpartition("/")[2]).unlink(missing_ok=True)

    def copy_out(self, storage_uri: str, target: Path, *, force: bool) -> None:
        """Copy a stored file to `target`, atomically and verified."""
        check_target(target, force=force)
        source = self.path(storage_uri)
        try:
            with source.open("rb") as stored, NewFile(target, mode=OPEN) as copy:
                digest = hashlib.sha256()
                while chunk := stored.read(COPY_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
                _check_digest(storage_uri, digest.hexdigest())
                copy.replace()
        except OSError as error:
            raise make_unwritable(target, error) from error

    def read(self, storage_uri: str) -> bytes:
        """Return the bytes of a stored file; `StorageFailed` if they do not match their digest."""
        content = self.path(storage_uri).read_bytes()
        _check_digest(storage_uri, hashlib.sha256(content).hexdigest())
        return content

    def _scratch(self, name: str) -> Path:
        """Return a folder for temporary files; once an hour, remove those not used for a day."""
        folder = self.folder / name
        make_folders(folder)
        now = time.monotonic()
        if now >= self._clear_at.get(name, now):
            self._clear_at[name] = now + CLEARED_EVERY_S
            clear_stale(folder)
        if not self._is_swept:
            self._is_swept = True
            self._sweep_cache()
        return folder

    def _sweep_cache(self) -> None:
        """Remove cached copies of files that are gone from the bucket, perhaps erased by another machine."""
        copies = [path for path in (self.folder / "cache").glob("*") if is_name(_name(path))]
        if not copies or self.place is self._local:
            return
        with ThreadPoolExecutor(SWEEPERS) as pool, suppress(StorageFailed):  # the next sweep tries again
            for copy, size in zip(copies, pool.map(self.place.size, map(_name, copies)), strict=True):
                if size is None:
                    copy.unlink(missing_ok=True)


def _name(copy: Path) -> str:
    return f"{CONTENT}/{copy.name[:2]}/{copy.name}"


def _check_digest(storage_uri: str, found: str) -> None:
    cited = read_uri(storage_uri)
    if cited is None or found != cited.sha256:
        raise NotAsStored(
            f"{storage_uri}: its bytes differ from those that were stored; move it away, "
            "and `sora-ledger download` downloads it again if the server still has it",
            expected="the bytes that were stored",
            found="others",
        )


def _place_at(url: str) -> Place:
    if url.startswith("file:"):
        return FolderPlace.at(url)

    return ObjectPlace(url)


def check_target(target: Path, *, force: bool) -> None:
    """Raise `BadInput` for a target that cannot be written, before any money is spent on it."""
    check_folder_of(target, "output file", "out")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise BadInput(
            f"output file {target}: the folder {target.parent} cannot be written; name another",
            param="out",
            expected="a folder that can be written",
            found=target.parent,
        )
    if target.is_dir():
        raise BadInput(
            f"output file {target}: it is a folder; name a file in it with --out",
            param="out",
            expected="a file",
            found="a folder",
        )
    if what := describe_irreplaceable(target):
        raise BadInput(
            f"output file {target}: it holds {what}, which is never replaced; name another",
            param="out",
            expected="a new file",
            found=what,
        )
    if target.exists() and not force:
        raise BadInput(
            f"output file {target}: it exists already; name another with --out or add --force",
            param="out",
            expected="a new name",
            found="a file of this name",
        )


def owner_of(ledger: Ledger, url: str) -> Owner:
    """Return `ledger`, opened at `url`, as the owner of its places."""
    created = next(ledger.read(limit=1)).event
    if not isinstance(created, LedgerCreated):
        raise LedgerUnusable(f"ledger {label_of(url)}: its first record is damaged: run `sora-ledger verify`")
    return Owner(created.ledger_id, url, lambda: find_digests(ledger))


def find_digests(ledger: Ledger) -> set[str]:
    """Return everything that could be a digest in any payload."""
    digests: set[str] = set()
    after = 0
    while rows := ledger.store.rows(after, _CHUNK, RecordFilter()):
        for row in rows:
            digests.update(match.decode() for match in _DIGEST.findall(row.payload))
        after += len(rows)
    return digests
