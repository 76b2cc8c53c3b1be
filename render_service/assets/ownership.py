"""The owner of a storage place: a note in the place names its ledger, and only that ledger may remove files.

The note contains the id of the ledger and its location. The id decides which ledger may add files. The
location decides which ledger may remove files: a copy of the ledger, restored from a backup, has the same id
but names fewer files. For a ledger file and a folder, the location is the relative path, so that both can be
moved or copied together.

A place without a note is claimed by the first ledger that adds or removes files, if that ledger names every
file in it. Otherwise the user has to claim it with ``assets claim``.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ledger.log.urls import file_of, label_of
from render_service.assets.folder import FolderPlace
from render_service.assets.interface import NOTE, Place
from render_service.runtime.errors import PlaceTaken

CLAIM = "`sora-ledger assets claim`"
ELSEWHERE = "name another folder or bucket with SORA_LEDGER_ASSETS"


class Note(NamedTuple):
    """The content of the note: id and location of a ledger."""

    ledger_id: str
    ledger: str

    def content(self) -> bytes:
        """Return the note as it is written."""
        return json.dumps(self._asdict(), indent=2).encode() + b"\n"


@dataclass
class Owner:
    """The open ledger; `digests` returns the digests that its events name."""

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
        """Do what `check` does; raise `PlaceTaken` also if this ledger is a copy of the owner of `place`."""
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
