"""Compare stored files with the ledger: check the files it names, and remove those that no event names.

Nothing here writes to the ledger. Removal goes by digest: a file is kept if its digest appears anywhere in
any event, whatever the event says about it. Because files are written before the event that names them, young
files are kept too. Files are removed only for the ledger that owns the place
(`render_service.assets.folder`), and never if their bytes do not match their name.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ledger.events import AssetLost, AssetStored, InputReference, PrivateErased, RenderRequested, SourceFile
from ledger.log.ledger import Ledger
from ledger.store.filters import RecordFilter
from render_service.assets.interface import Kept
from render_service.assets.store import AssetStore, named_digests
from render_service.runtime.errors import BadInput

YOUNG = timedelta(days=1)


class Named(NamedTuple):
    """A file that an event names; `what` is the variant of a video, or ``given`` for an input file.

    `may_be_gone` if a later event records its loss or deletion, or erases its file name.
    """

    job_id: str
    what: str
    storage_uri: str
    sha256: str
    bytes: int
    media_type: str
    may_be_gone: bool


class Removal(NamedTuple):
    """The files that no event names, removed or (in a dry run) to be removed; the number of others."""

    removed: list[Kept]
    kept: int

    @property
    def bytes(self) -> int:
        """The total size of the removed files."""
        return sum(file.bytes for file in self.removed)


def named_files(ledger: Ledger) -> Iterator[Named]:
    """Yield the stored files that the ledger names, in the order of the records."""
    erased, lost = _erased(ledger), _lost(ledger)
    for record in ledger.read(RecordFilter(type=RenderRequested.type)):
        event = record.event
        if isinstance(event, RenderRequested):
            for file in (event.input_reference, *event.further_images, event.source_file):
                if file is not None and file.storage_uri is not None:
                    gone = file.name.commitment in erased
                    yield _named(record.stream, "given", file.storage_uri, file, may_be_gone=gone)
    for record in ledger.read(RecordFilter(type=AssetStored.type)):
        event = record.event
        if isinstance(event, AssetStored):
            what = event.variant.value
            gone = lost.get((record.stream, what), 0) > record.position
            yield _named(record.stream, what, event.storage_uri, event, may_be_gone=gone)


def _erased(ledger: Ledger) -> set[str]:
    """Return the commitments of erased texts."""
    events = (record.event for record in ledger.read(RecordFilter(type=PrivateErased.type)))
    return {name for event in events if isinstance(event, PrivateErased) for name in event.commitments}


def _lost(ledger: Ledger) -> dict[tuple[str, str], int]:
    """Return the last position at which each variant of a job was recorded as lost or deleted."""
    records = ledger.read(RecordFilter(type=AssetLost.type))
    return {(r.stream, r.event.variant.value): r.position for r in records if isinstance(r.event, AssetLost)}


def _named(
    job_id: str, what: str, uri: str, file: AssetStored | InputReference | SourceFile, *, may_be_gone: bool
) -> Named:
    return Named(job_id, what, uri, file.sha256, file.bytes, file.media_type, may_be_gone)


def check(assets: AssetStore, files: Sequence[Named], *, quick: bool) -> Iterator[tuple[Named, str]]:
    """Yield each file with ``ok``, ``missing``, ``let_go`` (missing, as recorded) or ``damaged``.

    `quick` compares sizes and reads no bytes.
    """
    states: dict[str, str] = {}
    for file in files:
        if file.storage_uri not in states:
            states[file.storage_uri] = _state_of(assets, file, quick=quick)
        state = states[file.storage_uri]
        yield file, "let_go" if state == "missing" and file.may_be_gone else state


def _state_of(assets: AssetStore, file: Named, *, quick: bool) -> str:
    place = assets.locate(file.storage_uri)
    if place is None:
        return "missing"
    if place.sha256 != file.sha256 or place.bytes != file.bytes:
        return "damaged"
    return "ok" if quick or place.place.digest(place.name) == file.sha256 else "damaged"


def remove_unnamed(ledger: Ledger, assets: AssetStore, now: datetime, *, dry_run: bool) -> Removal:
    """Remove files that no event names and that are a day old; `PlaceTaken` if another ledger may own them.

    The files are listed before the ledger is read, so a file that is named in the meantime is in the list.
    """
    there = list(assets.place.files())
    named = named_digests(ledger)
    kept = [file for file in there if file.sha256 in named]
    if there and not kept:
        raise BadInput(
            f"{assets.place.url}: this ledger names none of the {len(there)} files there, which probably "
            "belong to another ledger: name that with --ledger, or another place with SORA_LEDGER_ASSETS",
            param="SORA_LEDGER_ASSETS",
            expected="files of this ledger",
            found=f"{len(there)} files of which it names none",
        )
    if not dry_run:
        assets.check_removing(assets.place)
    unnamed = [file for file in there if file.sha256 not in named and file.kept_at < now - YOUNG]
    removed = [file for file in unnamed if dry_run or _remove_verified(assets, file)]
    return Removal(removed, len(there) - len(removed))


def _remove_verified(assets: AssetStore, file: Kept) -> bool:
    """Remove a file and return True, unless its bytes do not match its name: then it was not stored here."""
    if assets.place.digest(file.name) != file.sha256:
        return False
    assets.place.remove(file.name)
    return True


def file_document(file: Named, state: str | None = None) -> dict[str, Any]:
    """Return a named file as a JSON object."""
    return file._asdict() | ({} if state is None else {"state": state})
