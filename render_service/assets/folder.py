"""A storage place in a local folder: write to a temporary name, flush to disk, rename to the final name.

A crash leaves at most a temporary file, which `clear_stale` removes once it is a day old. Only the owner has
access to folders and files. Links are not followed, except for the folder itself, which may be a link.

The owner of a place of any kind is in a note there: it names a ledger, and only that ledger may remove files.
The note contains the id of the ledger and its location. The id decides which ledger may add files. The
location decides which ledger may remove files: a copy of the ledger, restored from a backup, has the same id
but refers to fewer files. For a ledger file and a folder, the location is the relative path, so that both can
be moved or copied together.

A place without a note is claimed by the first ledger that adds or removes files, if that ledger refers to
every file in it. Otherwise the user must claim it with ``assets claim``.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ledger.log.urls import file_of, label_of
from ledger.private_files import NewFile, make_folders, sync_folder
from render_service.assets.interface import MOST_NOTE_BYTES, NOTE, Digested, FileInPlace, Place
from render_service.assets.names import CONTENT, is_name
from render_service.runtime.errors import PlaceTaken, StorageFailed

_BEGINNINGS = {
    b"SQLite format 3\0": "a database",
    b"PGDMP": "a backup of a database",
    b"PRIVATE+KEY+": "a signing key",
}
_BESIDE = ("-wal", "-shm")
"""Suffixes of the files next to an SQLite database; the first has the latest records."""


def describe_irreplaceable(path: Path) -> str | None:
    """Return what the file at `path` is, or belongs to, if it must not be replaced; None otherwise."""
    for suffix in _BESIDE:
        path = path.with_name(path.name.removesuffix(suffix) or path.name)
    with suppress(OSError), path.open("rb") as file:
        beginning = file.read(max(map(len, _BEGINNINGS)))
        return next((what for magic, what in _BEGINNINGS.items() if beginning.startswith(magic)), None)
    return None


STALE_AFTER_S = 86_400.0
COPY_BYTES = 1 << 20


class FolderPlace:
    """The files under `folder`, created on the first write; temporary files must be on the same disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.url = self.folder.as_uri()

    @classmethod
    def at(cls, url: str) -> "FolderPlace":
        """Return the place at a ``file://`` URL."""
        return cls(Path(unquote(urlsplit(url).path)))

    def keep(self, file: Digested) -> None:
        """Rename the file, which was flushed before, to its final name."""
        target = self.folder / file.name
        with writing(self.folder):
            make_folders(target.parent)
            # In this order: another process may put the same file there between the two checks.
            if os.path.lexists(target) and self.path(file.name) is None:
                raise FileExistsError(errno.EEXIST, "the target is not a regular file", str(target))
            file.path.replace(target)
            sync_folder(target.parent)

    def path(self, name: str) -> Path | None:
        """Return the path of a regular file in this folder; None if there is none."""
        path = self.folder / name
        try:
            if not is_name(name) or not stat.S_ISREG(path.lstat().st_mode):
                return None
            inside = self.folder.resolve() / name
            return path if path.parent.resolve() == inside.parent else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise make_unreadable(path, error) from error

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it does not exist."""
        path = self.path(name)
        try:
            return None if path is None else path.lstat().st_size
        except FileNotFoundError:
            return None

    def fetch(self, name: str, target: Path) -> str | None:
        """Copy a file to `target` and return its digest; None if it does not exist."""
        source = self._open(name)
        if source is None:
            return None
        with source, writing(target.parent), target.open("wb") as copy:
            shutil.copyfileobj(source, copy, COPY_BYTES)
        with target.open("rb") as copied:
            return hashlib.file_digest(copied, "sha256").hexdigest()

    def digest(self, name: str) -> str | None:
        """Return the digest of a file's bytes; None if it does not exist."""
        file = self._open(name)
        if file is None:
            return None
        try:
            with file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise make_unreadable(self.folder / name, error) from error

    def _open(self, name: str) -> BufferedReader | None:
        path = self.path(name)
        descriptor = None if path is None else open_stored(path)
        return None if descriptor is None else os.fdopen(descriptor, "rb")

    def files(self) -> Iterator[FileInPlace]:
        """Yield the files that have a final name."""
        for path in sorted((self.folder / CONTENT).glob("*/*")):
            name = path.relative_to(self.folder).as_posix()
            with suppress(FileNotFoundError):
                if self.path(name):
                    status = path.lstat()
                    stored_at = datetime.fromtimestamp(status.st_mtime, UTC)
                    yield FileInPlace(name, path.as_uri(), path.stem, status.st_size, stored_at)

    def remove(self, name: str) -> None:
        """Unlink a file."""
        path = self.path(name)
        if path is not None:
            with writing(self.folder):
                path.unlink(missing_ok=True)
                sync_folder(path.parent)

    def note(self) -> bytes | None:
        """Read the note."""
        path = self.folder / NOTE
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(MOST_NOTE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise make_unreadable(path, error) from error

    def put_note(self, content: bytes, *, replace: bool) -> None:
        """Write the note, atomically."""
        with writing(self.folder):
            make_folders(self.folder)
            with NewFile(self.folder / NOTE) as part:
                part.write(content)
                if replace:
                    part.replace()
                else:
                    with suppress(FileExistsError):  # another process was first
                        part.link()


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raise `StorageFailed` for any `OSError`."""
    try:
        yield
    except OSError as error:
        raise make_unwritable(place, error) from error


def make_unwritable(place: Path, error: OSError) -> StorageFailed:
    """Return the error for a place that cannot be written, with the next step."""
    is_full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    next_step = "make room" if is_full else "check its path and permissions"
    return StorageFailed(
        f"{place}: cannot be written ({error.strerror or error}); nothing half-written is left: {next_step}",
        expected="room on the disk" if is_full else "a place that can be written",
        found=error.strerror or error,
    )


def make_unreadable(path: os.PathLike[str], error: OSError) -> StorageFailed:
    """Return the error for a stored file that cannot be read."""
    return StorageFailed(
        f"{path}: cannot be read ({error.strerror})", expected="a file that can be read", found=error.strerror
    )


def open_stored(path: os.PathLike[str]) -> int | None:
    """Open a stored file, but no link; return its descriptor, None if it does not exist."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise make_unreadable(path, error) from error


def clear_stale(folder: Path) -> None:
    """Remove files that were not modified for a day."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process has just moved or removed it
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mtime < time.time() - STALE_AFTER_S:
                path.unlink()


CLAIM = "`sora-ledger assets claim`"
ELSEWHERE = "name another folder or bucket with SORA_LEDGER_ASSETS"


class Note(NamedTuple):
    """The content of the note: id and location of a ledger."""

    ledger_id: str
    ledger: str

    def content(self) -> bytes:
        """Return the note's stored form."""
        return json.dumps(self._asdict(), indent=2).encode() + b"\n"


@dataclass
class Owner:
    """The open ledger; `digests` returns the digests in its events."""

    ledger_id: str
    url: str
    digests: Callable[[], set[str]]
    _checked: set[str] = field(default_factory=set)
    """URLs of places whose note was checked."""

    def check(self, place: Place) -> None:
        """Raise `PlaceTaken` if another ledger owns `place` or may own it; claim a place without a note."""
        if place.url in self._checked:
            return
        note = _read(place)
        if note is None:
            self._take(place)
            note = _read(place) or self._note(place)
        if note.ledger_id != self.ledger_id:
            raise PlaceTaken(
                f"{place.url}: its files belong to another ledger, {note.ledger} (id {note.ledger_id}), "
                f"and a place can have only one owner: {ELSEWHERE}",
                param="SORA_LEDGER_ASSETS",
                expected="a place of this ledger",
                found=f"files of {note.ledger}",
            )
        self._checked.add(place.url)

    def check_removing(self, place: Place) -> None:
        """Like `check`, but raise `PlaceTaken` also if this ledger is a copy of the owner of `place`."""
        self.check(place)
        note, ours = _read(place), self._note(place)
        if note is not None and note != ours:
            raise PlaceTaken(
                f"{place.url}: its files are in use by the ledger at {note.ledger}, and this ledger at "
                f"{ours.ledger} is a copy of it: a copy removes nothing. If this one replaces the other, "
                f"run {CLAIM} first",
                param="SORA_LEDGER_ASSETS",
                expected="a place of this ledger",
                found=f"files in use by {note.ledger}",
            )

    def claim(self, place: Place) -> None:
        """Make this ledger the owner of `place`, whatever its note says."""
        place.put_note(self._note(place).content(), replace=True)

    def _take(self, place: Place) -> None:
        there = {file.sha256 for file in place.files()}
        unknown = there - self.digests() if there else set()
        if unknown and _read(place) is None:
            # With a note, another process or task came first: it claims the place before it adds a file.
            raise PlaceTaken(
                f"{place.url}: this ledger does not name {len(unknown)} of the {len(there)} files there, "
                f"which may belong to another ledger: {ELSEWHERE}, or run {CLAIM} if they belong to this one",
                param="SORA_LEDGER_ASSETS",
                expected="files that this ledger names",
                found=f"{len(unknown)} others",
            )
        place.put_note(self._note(place).content(), replace=False)

    def _note(self, place: Place) -> Note:
        return Note(self.ledger_id, _location(self.url, place))


def _read(place: Place) -> Note | None:
    content = place.note()
    if content is None:
        return None
    try:
        note = json.loads(content)
        return Note(str(note["ledger_id"])[:100], str(note["ledger"])[:1000])
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise PlaceTaken(
            f"{place.url}/{NOTE}: the note that names the owner of the files is damaged: if they belong to "
            f"this ledger, run {CLAIM}",
            param="SORA_LEDGER_ASSETS",
            expected="a note that names the owner",
            found="a damaged one",
        ) from error


def _location(url: str, place: Place) -> str:
    """Return the location of a ledger relative to a place, without user name and password."""
    path = file_of(url)
    if path is None:
        return f"postgresql://{label_of(url).removeprefix('postgresql://').rpartition('@')[2]}"
    if isinstance(place, FolderPlace):
        return Path(os.path.relpath(path.resolve(), place.folder.resolve())).as_posix()
    return str(path.resolve())
