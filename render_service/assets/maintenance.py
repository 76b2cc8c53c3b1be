"""Stored files of a ledger: links for people, checks of the referenced files, removal of all others.

Nothing here writes to the ledger. Removal goes by digest: a file is kept if its digest appears anywhere in
any event, whatever the event says about it. Because files are written before the event that refers to them,
recent files are kept too. Files are removed only for the ledger that owns the place
(`render_service.assets.folder`), and never if their bytes do not match their name.

People get a folder next to the stored files with a link to each video, named by its day, its prompt and its
id: ``assets/videos/2026-11-30-a-teal-coupe-ca0e8877.mp4`` leads to ``assets/sha256/…``. The links are made
when a video is stored and when it is opened. They are a convenience: nothing reads them, and a failure to
make one never fails the command that stored a paid video. A link has words of the prompt in its name, so it
is removed when the prompt or the file is erased. Only a local folder has links, not a bucket.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ledger.events import AssetLost, AssetStored, InputReference, PrivateErased, RenderRequested, SourceFile
from ledger.job import Job
from ledger.log.job_names import handle_of
from ledger.log.ledger import Ledger
from ledger.private_files import make_folders
from ledger.store.filters import RecordFilter
from ledger.terms import Variant
from render_service.assets.folder import FolderPlace
from render_service.assets.interface import FileInPlace
from render_service.assets.store import AssetStore, find_digests
from render_service.runtime.errors import BadInput
from render_service.runtime.files import slug

FOLDER = "videos"


def link_video(assets: AssetStore, job: Job, prompt: str | None, *, is_first: bool = False) -> Path | None:
    """Link the stored video of `job` under its name and return the link; None if there is no local file.

    An earlier link of the job, under the name it had before its prompt was erased, say, is replaced. Looking
    for one reads the whole folder; the first link of a job (`is_first`) has none before it.
    """
    asset = job.assets.get(Variant.VIDEO)
    path = assets.locate(asset.storage_uri) if asset else None
    if path is None or not isinstance(path.place, FolderPlace):
        return None
    stored = path.place.folder / path.name
    link = assets.folder / FOLDER / _name(job, prompt, stored.suffix)
    with suppress(OSError):
        if link.samefile(stored):
            return link
    if not is_first:
        unlink_video(assets, job)
    try:
        make_folders(link.parent)
        _link(stored, link)
    except OSError:  # a folder without links, or without space: the file itself is there
        return None
    return link


def unlink_video(assets: AssetStore, job: Job) -> None:
    """Remove the links to the video of `job`."""
    for link in _links_of(assets, job):
        with suppress(OSError):
            link.unlink()


def _links_of(assets: AssetStore, job: Job) -> Iterator[Path]:
    yield from (assets.folder / FOLDER).glob(f"{_day(job)}-*{handle_of(job.job_id)}.*")


def _name(job: Job, prompt: str | None, suffix: str) -> str:
    words = [slug(prompt)] if prompt else []
    return "-".join([_day(job), *words, handle_of(job.job_id)]) + suffix


def _day(job: Job) -> str:
    return job.created_at[:10]


def _link(stored: Path, link: Path) -> None:
    """Make a symbolic link that survives a move of the whole folder; a hard link where there are none."""
    try:
        link.symlink_to(os.path.relpath(stored, link.parent))
    except FileExistsError:  # another process has just made it
        return
    except OSError:
        link.hardlink_to(stored)


YOUNG = timedelta(days=1)


class NamedFile(NamedTuple):
    """A file that an event refers to; `what` is the variant of a video, or ``given`` for an input file.

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
    """The unreferenced files, removed or (in a dry run) to be removed; the number of others."""

    removed: list[FileInPlace]
    kept: int

    @property
    def bytes(self) -> int:
        """The total size of the removed files."""
        return sum(file.bytes for file in self.removed)


def iterate_named_files(ledger: Ledger) -> Iterator[NamedFile]:
    """Yield the stored files that the ledger refers to, in the order of the records."""
    erased, lost = _find_erased(ledger), _find_lost(ledger)
    for record in ledger.read(RecordFilter(type=RenderRequested.type)):
        event = record.event
        if isinstance(event, RenderRequested):
            for file in (event.input_reference, *event.further_images, event.source_file):
                if file is not None and file.storage_uri is not None:
                    gone = file.name.commitment in erased
                    yield _make_named(record.stream, "given", file.storage_uri, file, may_be_gone=gone)
    for record in ledger.read(RecordFilter(type=AssetStored.type)):
        event = record.event
        if isinstance(event, AssetStored):
            what = event.variant.value
            gone = lost.get((record.stream, what), 0) > record.position
            yield _make_named(record.stream, what, event.storage_uri, event, may_be_gone=gone)


def _find_erased(ledger: Ledger) -> set[str]:
    """Return the commitments of erased texts."""
    events = (record.event for record in ledger.read(RecordFilter(type=PrivateErased.type)))
    return {name for event in events if isinstance(event, PrivateErased) for name in event.commitments}


def _find_lost(ledger: Ledger) -> dict[tuple[str, str], int]:
    """Return the last position at which each variant of a job was recorded as lost or deleted."""
    records = ledger.read(RecordFilter(type=AssetLost.type))
    return {(r.stream, r.event.variant.value): r.position for r in records if isinstance(r.event, AssetLost)}


def _make_named(
    job_id: str, what: str, uri: str, file: AssetStored | InputReference | SourceFile, *, may_be_gone: bool
) -> NamedFile:
    return NamedFile(job_id, what, uri, file.sha256, file.bytes, file.media_type, may_be_gone)


def check(assets: AssetStore, files: Sequence[NamedFile], *, quick: bool) -> Iterator[tuple[NamedFile, str]]:
    """Yield each file with ``ok``, ``missing``, ``let_go`` (missing, as recorded) or ``damaged``.

    `quick` compares sizes and reads no bytes.
    """
    states: dict[str, str] = {}
    for file in files:
        if file.storage_uri not in states:
            states[file.storage_uri] = _state_of(assets, file, quick=quick)
        state = states[file.storage_uri]
        yield file, "let_go" if state == "missing" and file.may_be_gone else state


def _state_of(assets: AssetStore, file: NamedFile, *, quick: bool) -> str:
    place = assets.locate(file.storage_uri)
    if place is None:
        return "missing"
    if place.sha256 != file.sha256 or place.bytes != file.bytes:
        return "damaged"
    return "ok" if quick or place.place.digest(place.name) == file.sha256 else "damaged"


def remove_unnamed(ledger: Ledger, assets: AssetStore, now: datetime, *, dry_run: bool) -> Removal:
    """Remove unreferenced files that are a day old; `PlaceTaken` if another ledger may own them.

    The files are listed before the ledger is read, so a file that is referenced in the meantime is kept.
    """
    there = list(assets.place.files())
    named = find_digests(ledger)
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
    unnamed = [file for file in there if file.sha256 not in named and file.stored_at < now - YOUNG]
    removed = [file for file in unnamed if dry_run or _remove_verified(assets, file)]
    return Removal(removed, len(there) - len(removed))


def _remove_verified(assets: AssetStore, file: FileInPlace) -> bool:
    """Remove a file and return True, unless its bytes do not match its name: then it was not stored here."""
    if assets.place.digest(file.name) != file.sha256:
        return False
    assets.place.remove(file.name)
    return True


def file_document(file: NamedFile, state: str | None = None) -> dict[str, Any]:
    """Return a referenced file as a JSON object."""
    return file._asdict() | ({} if state is None else {"state": state})
