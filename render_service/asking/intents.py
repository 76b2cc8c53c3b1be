"""From a request to what is recorded and sent: the event, the intent, the call. Nothing happens here."""

from typing import TYPE_CHECKING

from decision.request import RenderRequest
from ledger.canonical import digest
from ledger.events import Operation, RenderDecided, RenderRequested, SubmissionIntended
from ledger.private import Private
from ledger.record import new_event_id
from ledger.store.interface import Fence
from render_service.material.files import Material, keep_image, keep_video
from render_service.storage.assets import AssetStore
from sora_adapter.calls import ReferenceFile, ReferenceId, ReferenceUrl, SubmitCall
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

MP4 = "video/mp4"


def requested(assets: AssetStore, request: RenderRequest, material: Material) -> RenderRequested:
    """Return the event of `request`, with its files stored; ``seconds`` is the finished video's length."""
    image, video = request.input_reference, request.source_file
    sent = request.sent_prompt
    return RenderRequested(
        operation=request.operation,
        request_key=request.request_key,
        prompt=Private.seal("prompt", request.prompt),
        fields={name: Private.seal(f"fields.{name}", text) for name, text in request.fields.items()},
        augmented_prompt=Private.seal("augmented_prompt", sent) if sent != request.prompt else None,
        size=request.size,
        seconds=request.total_seconds,
        input_reference=(
            keep_image(assets, image, material.reference, "input_reference", material.original)
            if image
            else None
        ),
        further_images=tuple(
            keep_image(assets, further, content, f"further_images.{index}")
            for index, (further, content) in enumerate(
                zip(request.further_images, material.further, strict=True)
            )
        ),
        reference_url=Private.seal("reference_url", request.reference_url) if request.reference_url else None,
        reference_file_id=request.reference_file_id,
        character_ids=request.character_ids,
        options={name: value for name, value in request.options.items()},  # noqa: C416  # a copy of its own
        source_job=request.source.job_id if request.source else request.promotes,
        remix_video_id=request.source.video_id if request.source else None,
        source_file=keep_video(assets, video, material.video) if video else None,
        attested=request.attested,
        purpose=request.purpose,
        requested_model=request.requested_model,
        profile=request.profile,
        max_cost_usd_micros=request.max_cost_usd_micros,
    )


def intended(
    client: "VideosClient",
    profile: Profile,
    asked: RenderRequested,
    ruling: RenderDecided,
    fence: Fence | None = None,
) -> SubmissionIntended:
    """Return the intent of one attempt, with an id of its own."""
    return SubmissionIntended(
        attempt_id=f"attempt_{new_event_id().replace('-', '')}",
        request_sha256=request_sha256(asked, ruling.model),
        profile=profile.name,
        server=client.base_url,
        model=profile.server_model(ruling.model),
        fence=fence.token if fence else None,
    )


def request_sha256(asked: RenderRequested, model: str) -> str:
    """Return the digest of what is sent; over the prompt's commitment, never over its text."""
    prompt = asked.augmented_prompt or asked.prompt
    return digest(
        {
            "operation": asked.operation.value,
            "prompt": prompt.commitment,
            "model": model,
            "size": asked.size,
            "seconds": asked.seconds,
            "input_reference": asked.input_reference.sha256 if asked.input_reference else None,
            "reference_url": asked.reference_url.commitment if asked.reference_url else None,
            "reference_file_id": asked.reference_file_id,
            "character_ids": list(asked.character_ids),
            "options": dict(asked.options),
            "remix_video_id": asked.remix_video_id,
            "source_file": asked.source_file.sha256 if asked.source_file else None,
        }
    )


def call_of(request: RenderRequest, model: str, material: Material) -> SubmitCall:
    """Return what is asked of the server for `request`, decided for `model`."""
    image, video = request.input_reference, request.source_file
    reference: ReferenceFile | ReferenceUrl | ReferenceId | None = None
    if image is not None and material.reference is not None:
        reference = ReferenceFile(name=image.name, media_type=image.media_type, content=material.reference)
    elif request.reference_url is not None:
        reference = ReferenceUrl(request.reference_url)
    elif request.reference_file_id is not None:
        reference = ReferenceId(request.reference_file_id)
    upload = None
    if request.operation is Operation.EDIT and video is not None and material.video is not None:
        upload = ReferenceFile(name=video.name, media_type=video.media_type, content=material.video)
    return SubmitCall(
        operation=request.operation,
        prompt=request.sent_prompt,
        model=model,
        size=request.size,
        seconds=request.seconds,
        input_reference=reference,
        characters=request.character_ids,
        fields=request.options,  # type: ignore[arg-type]  # the decision's vocabulary is part of the adapter's
        source_video_id=request.source.video_id if request.source else None,
        source_file=upload,
    )
