"""Which ledger a place is of: a note in the place says so, and files are removed for that ledger alone.

The note holds the id of the ledger and where that lies. The id decides who may add files: another ledger is
refused. Where it lies decides who may remove some: a copy of the ledger, restored from a backup beside the
live one or elsewhere, has the same id and names fewer files. For a ledger file and a folder it is the path
from one to the other, so that both can be moved or copied together.

A place without a note becomes that of the first ledger that adds or removes files, if that ledger names every
file in it. Otherwise a person says whose it is: ``assets claim``.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ledger.errors import LedgerUnusable
from ledger.events import LedgerCreated
from ledger.log.ledger import Ledger
from ledger.log.urls import file_of, label_of
from ledger.store.interface import RecordFilter
from render_service.assets.folder import FolderPlace
from render_service.assets.interface import NOTE, Place
from render_service.runtime.errors import PlaceTaken

_CHUNK = 1_000
_DIGEST = re.compile(rb"\b[0-9a-f]{64}\b")
CLAIM = "`sora-ledger assets claim`"
ELSEWHERE = "name a folder or bucket of its own with SORA_LEDGER_ASSETS"


class Note(NamedTuple):
    """What the note says: the id of a ledger, and where that lies."""

    ledger_id: str
    ledger: str

    def content(self) -> bytes:
        """Return it as it is written."""
        return json.dumps(self._asdict(), indent=2).encode() + b"\n"


@dataclass
class Owner:
    """The ledger in use, `digests` of which are those that any of its events names."""

    ledger_id: str
    url: str
    digests: Callable[[], set[str]]
    _sure: set[str] = field(default_factory=set)
    """Places whose note was read and is right."""

    @classmethod
    def of(cls, ledger: Ledger, url: str) -> "Owner":
        """Return the ledger that is open, which was opened at `url`."""
        created = next(ledger.read(limit=1)).event
        if not isinstance(created, LedgerCreated):
            raise LedgerUnusable(
                f"ledger {label_of(url)}: its first record is damaged: run `sora-ledger verify`"
            )
        return cls(created.ledger_id, url, lambda: named_digests(ledger))

    def check(self, place: Place) -> None:
        """Raise `PlaceTaken` if `place` is another ledger's, or may be; one without a note becomes ours."""
        if place.url in self._sure:
            return
        note = _read(place)
        if note is None:
            self._take(place)
            note = _read(place) or self._note(place)
        if note.ledger_id != self.ledger_id:
            raise PlaceTaken(
                f"{place.url}: its files are those of another ledger, {note.ledger} (id {note.ledger_id}), "
                f"and a place belongs to one ledger: {ELSEWHERE}"
            )
        self._sure.add(place.url)

    def check_removing(self, place: Place) -> None:
        """Raise `PlaceTaken` as well if `place` is used by the ledger that this one is a copy of."""
        self.check(place)
        note, ours = _read(place), self._note(place)
        if note is not None and note != ours:
            raise PlaceTaken(
                f"{place.url}: its files are in use by the ledger at {note.ledger}, of which this one at "
                f"{ours.ledger} is a copy: nothing is removed for a copy. If this one replaces the other, "
                f"run {CLAIM} first"
            )

    def claim(self, place: Place) -> None:
        """Make `place` this ledger's, whatever its note says."""
        place.put_note(self._note(place).content(), replace=True)

    def _take(self, place: Place) -> None:
        there = {file.sha256 for file in place.files()}
        unknown = there - self.digests() if there else set()
        if unknown:
            raise PlaceTaken(
                f"{place.url}: this ledger does not name {len(unknown)} of the {len(there)} files there, "
                f"which may be another ledger's: {ELSEWHERE}, or, if they are this ledger's, run {CLAIM}"
            )
        place.put_note(self._note(place).content(), replace=False)

    def _note(self, place: Place) -> Note:
        return Note(self.ledger_id, _whereabouts(self.url, place))


def _read(place: Place) -> Note | None:
    content = place.note()
    if content is None:
        return None
    try:
        found = json.loads(content)
        return Note(str(found["ledger_id"])[:100], str(found["ledger"])[:1000])
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise PlaceTaken(
            f"{place.url}/{NOTE}: it should say which ledger the files are of, and cannot be read: if they "
            f"are this ledger's, run {CLAIM}"
        ) from error


def _whereabouts(url: str, place: Place) -> str:
    """Return where a ledger lies, as seen from a place; never with a user's name or password."""
    path = file_of(url)
    if path is None:
        return f"postgresql://{label_of(url).removeprefix('postgresql://').rpartition('@')[2]}"
    if isinstance(place, FolderPlace):
        return Path(os.path.relpath(path.resolve(), place.folder.resolve())).as_posix()
    return str(path.resolve())


def named_digests(ledger: Ledger) -> set[str]:
    """Return whatever could be a digest in any payload."""
    found: set[str] = set()
    after = 0
    while rows := ledger.store.rows(after, _CHUNK, RecordFilter()):
        for row in rows:
            found.update(match.decode() for match in _DIGEST.findall(row.payload))
        after += len(rows)
    return found
