"""Build the records of a request: its event, and the intent of each attempt."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from decision.request.request import ReferenceImage, RenderRequest, SourceFile
from ledger.events import InputReference, RenderDecided, RenderRequested, SubmissionIntended
from ledger.events import SourceFile as RecordedFile
from ledger.private import Private
from ledger.record import new_event_id
from ledger.store.interface import Fence
from render_service.assets.inputs import Material, OriginalFile
from render_service.assets.store import AssetStore
from render_service.runtime.settings import Settings
from render_service.submission.recorded_call import request_sha256
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

SEALED = frozenset(
    field.name for field in structs.fields(RenderRequested) if field.type in {Private, Private | None}
)
"""The texts of a request that are recorded with a commitment."""


def requested(
    assets: AssetStore | None, request: RenderRequest, material: Material, settings: Settings | None = None
) -> RenderRequested:
    """Return the event of `request`, with its files stored if there are `assets`.

    Team, project and access key come from `settings`.

    A field with the same name in both is recorded unchanged, or sealed if only its commitment is recorded.
    Fields that are recorded differently are written out; ``seconds`` is the length of the finished video.
    """
    image, video, source, sent = (
        request.input_reference,
        request.source_file,
        request.source,
        request.sent_prompt,
    )
    count = len(request.further_images)
    contents = material.further if assets else (None,) * count
    originals = material.further_originals or (None,) * count
    otherwise: dict[str, Any] = {
        "fields": {name: Private.seal(f"fields.{name}", text) for name, text in request.fields.items()},
        "augmented_prompt": Private.seal("augmented_prompt", sent) if sent != request.prompt else None,
        "seconds": request.total_seconds,
        "input_reference": (
            keep_image(assets, image, material.reference, "input_reference", material.original)
            if image
            else None
        ),
        "further_images": tuple(
            keep_image(assets, further, content, f"further_images.{index}", original)
            for index, (further, content, original) in enumerate(
                zip(request.further_images, contents, originals, strict=True)
            )
        ),
        "source_job": source.job_id if source else request.promotes,
        "remix_video_id": source.video_id if source else None,
        "source_file": keep_video(assets, video, material.video) if video else None,
        **{name: getattr(settings, name, None) for name in ("team", "project", "access_key_id")},
    }
    values = {
        name: _recorded(name, request) for name in RenderRequested.__struct_fields__ if name not in otherwise
    }
    return RenderRequested(**values, **otherwise)


def _recorded(name: str, request: RenderRequest) -> Any:
    value = getattr(request, name)
    return Private.seal(name, value) if value and name in SEALED else value


def intended(
    client: "VideosClient",
    profile: Profile,
    request: RenderRequested,
    ruling: RenderDecided,
    fence: Fence | None = None,
    sent_sha256: str | None = None,
) -> SubmissionIntended:
    """Return the intent of one attempt, with its own id; it commits to the request and to the key."""
    attempt_id = f"attempt_{new_event_id().replace('-', '')}"
    return SubmissionIntended(
        attempt_id=attempt_id,
        request_sha256=request_sha256(request, ruling.model),
        profile=profile.name,
        server=client.base_url,
        model=profile.server_model(ruling.model),
        fence=fence.token if fence else None,
        sent_sha256=Private.seal("sent_sha256", sent_sha256) if sent_sha256 else None,
        key_digest=Private.seal("key_digest", client.key_digest(attempt_id)),
    )


def keep_image(
    assets: AssetStore | None,
    image: ReferenceImage,
    content: bytes | None,
    field: str,
    original: OriginalFile | None = None,
) -> InputReference:
    """Store an image under its digest and return its reference for the record; `field` is its path there.

    The `original` is stored too, under the digest recorded as ``original_sha256``. Without `assets` nothing
    is stored.
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
    """Store a video file under its digest, if there are `assets`; return its reference for the record."""
    return RecordedFile(
        name=Private.seal("source_file.name", file.name),
        sha256=file.sha256,
        media_type=file.media_type,
        bytes=file.bytes,
        storage_uri=assets.put_file(path, file.media_type) if assets and path else None,
    )
