"""The files of a video: the playable ones, and the origin of each."""

import math

from ledger.events import AssetLost, AssetStored, InputReference, Probe, ProvenanceObserved, SourceFile
from ledger.job import Job
from ledger.record import Entry, Record
from ledger.terms import Variant
from render_service.provenance.words import describe_observed
from render_service.server.console.pages import PREFIX, View
from render_service.server.console.views.video_parts import PrivateText, private
from render_service.session.history import JobHistory


class File(View):
    """A file of a job with its digest and origin; `href` is the address of its bytes, if stored here.

    `role` is ``video``, ``thumbnail``, ``spritesheet``, or ``reference`` and ``source`` for what was sent.
    """

    role: str
    href: str | None
    name: PrivateText | None
    media_type: str
    bytes: int
    sha256: str
    storage_uri: str | None
    shape: str | None
    mismatches: tuple[str, ...]
    stored_at: str
    stored_by: str
    position: int
    lost: str | None
    provenance: str | None = None
    provenance_kind: str = "quiet"
    provenance_position: int | None = None


_BADGES = {"trusted": "good", "invalid": "bad", "valid": "quiet", "unknown_signer": "attention"}


def files(job: Job, history: JobHistory) -> tuple[File, ...]:
    """Return the files of a job: made by the server, and sent to it."""
    stored = {entry.event.variant: entry for entry in history.all_of(AssetStored)}
    gone = {entry.event.variant: entry.event.cause for entry in history.all_of(AssetLost)}
    lost = history.lost_variants
    made = [
        _made(job, entry.record, entry.event, gone[variant] if variant in lost else None)
        for variant in Variant
        if (entry := stored.get(variant)) is not None
    ]
    read = {
        (entry.event.variant.value, entry.event.sha256): entry for entry in history.all_of(ProvenanceObserved)
    }
    return (*(_with_origin(file, read.get((file.role, file.sha256))) for file in made), *_sent(history))


def _with_origin(file: File, read: Entry[ProvenanceObserved] | None) -> File:
    """Return `file` with its claims about its origin, if they were read."""
    if read is None:
        return file
    return file.model_copy(
        update={
            "provenance": describe_observed(read.event).partition(": ")[2],
            "provenance_kind": _BADGES.get(read.event.validity or "", "quiet"),
            "provenance_position": read.record.position,
        }
    )


def _made(job: Job, record: Record, event: AssetStored, lost: str | None) -> File:
    return File(
        role=event.variant.value,
        href=None if lost else file_address(job, event.variant),
        name=None,
        media_type=event.media_type,
        bytes=event.bytes,
        sha256=event.sha256,
        storage_uri=event.storage_uri,
        shape=shape_of(event.probe),
        mismatches=tuple(
            f"{mismatch.field}: {mismatch.expected} requested, {mismatch.found} found"
            for mismatch in event.mismatches
        ),
        stored_at=record.recorded_at,
        stored_by=record.actor,
        position=record.position,
        lost=lost,
    )


def _sent(history: JobHistory) -> list[File]:
    request = history.requested
    if request is None:
        return []
    images = [request.input_reference, *request.further_images]
    sent = [_reference_file(history, "reference", image) for image in images if image is not None]
    return [
        *sent,
        *([_reference_file(history, "source", request.source_file)] if request.source_file else ()),
    ]


def _reference_file(history: JobHistory, role: str, reference: InputReference | SourceFile) -> File:
    shape = f"{reference.width}x{reference.height}" if isinstance(reference, InputReference) else None
    return File(
        role=role,
        href=None,
        name=private(reference.name),
        media_type=reference.media_type,
        bytes=reference.bytes,
        sha256=reference.sha256,
        storage_uri=reference.storage_uri,
        shape=shape,
        mismatches=(),
        stored_at=history.first.recorded_at,
        stored_by=history.first.actor,
        position=history.first.position,
        lost=None,
    )


def file_address(job: Job, variant: Variant) -> str:
    """Return the address where the console serves a file of `job`."""
    return f"{PREFIX}/videos/{job.job_id}/files/{variant.value}"


def shape_of(probe: Probe | None) -> str | None:
    """Return the properties of a decoded file in a few words."""
    if probe is None:
        return None
    length = f"{probe.duration_ms / 1000:g} s" if probe.duration_ms else None
    codecs = " and ".join(filter(None, (probe.video_codec, probe.audio_codec)))
    return ", ".join(filter(None, (f"{probe.width}x{probe.height}", length, codecs)))


class Sheet(View):
    """A spritesheet: frames of the video in a grid, in reading order."""

    href: str
    columns: int
    rows: int


class Media(View):
    """The playable files; `missing` are the pictures that the server may still have."""

    video: str | None
    media_type: str | None
    poster: str | None
    sheet: Sheet | None
    picture: str | None
    missing: tuple[str, ...]
    width: int
    height: int
    duration_ms: int | None


USUAL_SIZE = (1280, 720)


def media(job: Job, history: JobHistory, made: tuple[File, ...]) -> Media:
    """Return the playable files of a job."""
    here = {file.role: file for file in made if file.href}
    stored = {entry.event.variant: entry.event for entry in history.all_of(AssetStored)}
    video = stored.get(Variant.VIDEO)
    probe = video.probe if video else None
    width, height = (probe.width, probe.height) if probe else size_of(job)
    picture = here["spritesheet"].href if "spritesheet" in here else None
    grid = grid_of(stored[Variant.SPRITESHEET].probe, width, height) if picture else None
    return Media(
        video=here["video"].href if "video" in here else None,
        media_type=here["video"].media_type if "video" in here else None,
        poster=here["thumbnail"].href if "thumbnail" in here else None,
        sheet=Sheet(href=picture, columns=grid[0], rows=grid[1]) if picture and grid else None,
        picture=picture,
        missing=tuple(name for name in ("thumbnail", "spritesheet") if name not in here),
        width=width,
        height=height,
        duration_ms=probe.duration_ms if probe else None,
    )


def size_of(job: Job) -> tuple[int, int]:
    """Return the requested width and height; the usual ones if unknown."""
    width, _, height = (job.size or "").partition("x")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else USUAL_SIZE


MOST_TILES = 12
LIKELY_TILE = 280
"""The side of a square as large as most sheets' tiles: decides between grids of the same proportions."""

_TOLERANCE = 0.02


def grid_of(sheet: Probe | None, width: int, height: int) -> tuple[int, int] | None:
    """Return columns and rows of a spritesheet, which no server states: its tiles look like the video."""
    if sheet is None or not width or not height:
        return None
    wanted = width / height
    grids = [
        (columns, rows)
        for columns in range(1, MOST_TILES + 1)
        for rows in range(1, MOST_TILES + 1)
        if columns * rows > 1
        and abs((sheet.width / columns) / (sheet.height / rows) / wanted - 1) < _TOLERANCE
    ]

    def oddness(grid: tuple[int, int]) -> float:
        return abs(math.sqrt(sheet.width * sheet.height / (grid[0] * grid[1])) - LIKELY_TILE)

    return min(grids, key=oddness, default=None)
