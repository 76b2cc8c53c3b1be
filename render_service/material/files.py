"""The files that go with a request: kept in asset storage before anything is recorded, sent as they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from decision.request import ReferenceImage, SourceFile
from ledger.events import InputReference
from ledger.events import SourceFile as RecordedFile
from ledger.private import Private
from render_service.storage.assets import AssetStore


class Original(NamedTuple):
    """The file somebody gave, of which another one was made to be sent."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Material:
    """Contents: of the first frame, of what it was made of, of the images beside it; the video to edit."""

    reference: bytes | None = None
    original: Original | None = None
    further: tuple[bytes, ...] = ()
    video: Path | None = None


NOTHING = Material()


def keep_image(
    assets: AssetStore | None,
    image: ReferenceImage,
    content: bytes | None,
    field: str,
    original: Original | None = None,
) -> InputReference:
    """Store an image under its digest and return how a record speaks of it; `field` is its path there.

    The `original` is stored too, under the digest that the record has as ``original_sha256``. Without
    `assets` nothing is stored.
    """
    if assets is not None and original is not None:
        assets.put(original.content, original.media_type)
    uri = assets.put(content, image.media_type) if assets is not None and content is not None else None
    return InputReference(
        name=Private.seal(f"{field}.name", image.name),
        sha256=image.sha256,
        original_sha256=image.original_sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        bytes=image.bytes,
        storage_uri=uri,
    )


def keep_video(assets: AssetStore | None, file: SourceFile, path: Path | None) -> RecordedFile:
    """Store a video file under its digest, if there are `assets`; return how a record speaks of it."""
    return RecordedFile(
        name=Private.seal("source_file.name", file.name),
        sha256=file.sha256,
        media_type=file.media_type,
        bytes=file.bytes,
        storage_uri=assets.put_file(path, file.media_type) if assets and path else None,
    )
