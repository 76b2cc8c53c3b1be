"""Download one variant of a video: receive, check, store.

After an interruption, a server that supports ranges is asked for the rest, any other for the whole file
again. Memory stays at `TOGETHER_BYTES` and one chunk. Nothing is recorded here.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ledger.events import AssetStored, ProvenanceObserved
from ledger.job import Job
from ledger.terms import Operation, Variant
from render_service.assets.probe import mismatches, probe
from render_service.assets.store import IncomingFile
from render_service.provenance.observe import File, find, observe
from render_service.runtime.errors import AssetUnusable
from render_service.session.session import Session
from sora_adapter.errors import ContentMissing, ContentTruncated, loggable
from sora_adapter.requests import ResumePoint

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient
    from sora_adapter.transport import Content

TRIES = 3
PROGRESS_BYTES = 1 << 20
"""An interrupted try that received this much is not counted; a complete but unusable file always is."""

TOGETHER_BYTES = 1 << 20
"""Chunks are written together, up to this size: each write is handed to a thread and back."""

PATIENCE_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses after a server reports that a completed video has no bytes yet."""

MEDIA_TYPES = {
    Variant.VIDEO: ("video/",),
    Variant.THUMBNAIL: ("image/",),
    Variant.SPRITESHEET: ("image/",),
}
OPAQUE = "application/octet-stream"
USUAL_TYPE = {Variant.VIDEO: "video/mp4", Variant.THUMBNAIL: "image/webp", Variant.SPRITESHEET: "image/jpeg"}


class Downloaded(NamedTuple):
    """A stored file, and its claims about its origin; None if they cannot be read here."""

    stored: AssetStored
    provenance: ProvenanceObserved | None


async def download(session: Session, client: "VideosClient", job: Job, variant: Variant) -> Downloaded:
    """Download `variant` completely and store it; raises the error of the last try.

    Bytes that are missing right after completion are requested again, `PATIENCE_S` apart.
    """
    with session.assets.open_incoming() as incoming:
        receiving, tries, pauses = Receiving(incoming), TRIES, iter(PATIENCE_S)
        while True:
            before = incoming.bytes
            try:
                media_type = await receiving.take(client, job, variant)
                return await _store(session, job, variant, incoming, media_type)
            except ContentMissing as missing:
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise
                log = {"pause_s": pause_s, **loggable(missing)}
                session.log.info("asset.missing_yet", job_id=job.job_id, **log)
                await session.sleep(pause_s)
            except (ContentTruncated, AssetUnusable) as error:
                is_progress = incoming.bytes >= before + PROGRESS_BYTES and isinstance(
                    error, ContentTruncated
                )
                tries = TRIES if is_progress else tries - 1
                if not tries:
                    raise
                if isinstance(error, AssetUnusable):
                    receiving.restart()
                facts = {"have": incoming.bytes, **loggable(error)}
                session.log.warning("asset.download_again", job_id=job.job_id, **facts)


class Receiving:
    """A file being received, possibly in several requests."""

    def __init__(self, incoming: IncomingFile) -> None:
        self._incoming = incoming
        self._tag: str | None = None

    async def take(self, client: "VideosClient", job: Job, variant: Variant) -> str:
        """Receive the missing bytes; return the media type to store under."""
        assert job.video_id is not None  # a completed job has a video
        begun = ResumePoint(self._incoming.bytes, self._tag) if self._tag and self._incoming.bytes else None
        async with client.fetch(job.video_id, variant, begun) as content:
            media_type = _media_type(content, variant)
            if content.begins_at != self._incoming.bytes:
                self.restart()
            if content.begins_at != self._incoming.bytes:
                raise AssetUnusable(
                    f"{job.video_id}: the server sent a range that was not requested",
                    expected="the requested range",
                    found="another",
                )
            self._tag = content.tag
            await drain(content, self._incoming)
        return media_type

    def restart(self) -> None:
        """Start over with an empty file."""
        self._incoming.restart()
        self._tag = None


async def drain(content: "Content", incoming: IncomingFile) -> None:
    """Write all of `content`; after an interruption, the part received."""
    received = bytearray()
    try:
        async for chunk in content:
            received += chunk
            if len(received) >= TOGETHER_BYTES:
                together, received = received, bytearray()
                await asyncio.to_thread(incoming.write, together)
    finally:
        if received:
            await asyncio.to_thread(incoming.write, received)


async def _store(
    session: Session, job: Job, variant: Variant, incoming: IncomingFile, media_type: str
) -> Downloaded:
    def keep() -> Downloaded:
        incoming.show()
        is_video = variant is Variant.VIDEO
        # A manifest is read before the file is stored, which may move it to a bucket, and in a thread while
        # the disk writes; it is recorded together with `stored`.
        with ThreadPoolExecutor(1) as pool:
            origin = File(variant, incoming.sha256, media_type)
            embedded = find(session, incoming.path, origin)
            read = partial(observe, session, incoming.path, origin, embedded)
            reading = pool.submit(read).result if embedded and embedded.has_manifest else read
            probed = probe(incoming.path, media_type)
            session.assets.flush(incoming)
            provenance = reading()
        stored = AssetStored(
            variant=variant,
            storage_uri=session.assets.keep(incoming, media_type),
            sha256=incoming.sha256,
            bytes=incoming.bytes,
            media_type=media_type,
            probe=probed,
            mismatches=mismatches(probed, job.size, _length_of(job)) if is_video else (),
        )
        return Downloaded(stored, provenance)

    with await session.span_of("store", job) as span:
        span.note({"sora_ledger.job_id": job.job_id, "sora_ledger.variant": variant})
        downloaded = await asyncio.to_thread(keep)
        span.note({"sora_ledger.bytes": incoming.bytes})
    return downloaded


def _length_of(job: Job) -> int | None:
    """Return the expected length of the video of `job`; None for an edited file, whose length is unknown."""
    is_of_file = job.operation is Operation.EDIT and job.remix_video_id is None
    return None if is_of_file else job.seconds


def _media_type(content: "Content", variant: Variant) -> str:
    """Return the media type to store under; refuse bytes whose announced type does not match the variant."""
    announced = content.content_type
    if announced == OPAQUE:
        return USUAL_TYPE[variant]
    if not announced.startswith(MEDIA_TYPES[variant]):
        raise AssetUnusable(
            f"requested the {variant}, the server sent {announced}: this server may not support variants; "
            "every server has `--variant video`",
            param="variant",
            expected=variant,
            found=announced,
        )
    return announced
