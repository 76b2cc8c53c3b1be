"""Derive a call from a recorded request: the only way to build one.

A first submission, a retry, `resume`, a repeated idempotency key, a resumed batch and a worker all send what
`call_of` returns, so that no option, file or newer version can make the call differ from the record. The
prompt is the recorded one, whatever a newer version would build from the fields. Files are found by digest:
the files passed with the command if they match, else those in asset storage.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from decision.request.attachments import SEVERAL_IMAGES
from ledger.canonical import digest
from ledger.events import InputReference, RenderDecided, RenderRequested, SourceFile
from ledger.private import Private
from render_service.assets.inputs import NOTHING, Material
from render_service.assets.store import AssetStore
from render_service.runtime.errors import NotReady
from sora_adapter.requests import ReferenceFile, ReferenceId, ReferenceUrl, SubmitCall


@dataclass(frozen=True)
class Files:
    """The source of a job's file contents; `at_hand` are the files passed with the command."""

    job_id: str
    assets: AssetStore | None
    at_hand: Material = NOTHING

    def read(self, file: InputReference | SourceFile) -> ReferenceFile:
        """Return `file` with the bytes that match the record; `NotReady` if they are not available."""
        name = text_of(self.job_id, "name of the file", file.name)
        content = next((content for content in self._at_hand(file) if _sha256(content) == file.sha256), None)
        if content is None:
            content = self._stored(file)
        return ReferenceFile(name=name, media_type=file.media_type, content=content)

    def _at_hand(self, file: InputReference | SourceFile) -> Iterator[bytes]:
        if isinstance(file, InputReference):
            yield from (
                content for content in (self.at_hand.reference, *self.at_hand.further) if content is not None
            )
        elif self.at_hand.video is not None and self.at_hand.video.is_file():
            yield self.at_hand.video.read_bytes()

    def _stored(self, file: InputReference | SourceFile) -> bytes:
        path = self.assets.path(file.storage_uri) if self.assets and file.storage_uri else None
        if path is None or not path.is_file():
            raise NotReady(
                f"{self.job_id}: the file of its request is no longer in asset storage ({file.storage_uri}): "
                f"put it back, or `sora-ledger cancel {self.job_id}` and repeat the request",
                param="job",
                expected="the file of its request",
                found="none",
            )
        content = path.read_bytes()
        if (actual := _sha256(content)) != file.sha256:
            raise NotReady(
                f"{self.job_id}: the stored file {path} differs from that of its request "
                f"(sha256 {actual[:12]}…, recorded {file.sha256[:12]}…): nothing was sent",
                param="job",
                expected="the file of its request",
                found="another one",
            )
        return content


_SHARED = {field.name for field in fields(SubmitCall)} & set(RenderRequested.__struct_fields__)
"""The fields common to record and call."""


def call_of(requested: RenderRequested, ruling: RenderDecided, files: Files) -> SubmitCall:
    """Return the call for a request with this decision.

    A field with the same name in the record and in the call is sent as recorded. `NotReady` if its text was
    erased, or a file it needs is missing or damaged.
    """
    otherwise: dict[str, Any] = {
        "prompt": text_of(files.job_id, "prompt", sent_prompt(requested)),
        "model": ruling.model,
        "seconds": int(
            ruling.basis.inputs["seconds"] or requested.seconds
        ),  # for an extension, the added length
        "input_reference": _reference(requested, files),
        "more_references": tuple(files.read(image) for image in images_sent(requested)[1:]),
        "options": {name: value for name, value in requested.options.items() if name != SEVERAL_IMAGES},
        "source_video_id": requested.remix_video_id,
        "source_file": files.read(requested.source_file) if requested.source_file else None,
    }
    as_recorded = {name: _sent(name, requested, files.job_id) for name in _SHARED - otherwise.keys()}
    return SubmitCall(**as_recorded, **otherwise)


def _sent(name: str, requested: RenderRequested, job_id: str) -> Any:
    value = getattr(requested, name)
    return text_of(job_id, name.replace("_", " "), value) if isinstance(value, Private) else value


def images_sent(requested: RenderRequested) -> tuple[InputReference, ...]:
    """Return the images whose files are sent, the first frame first."""
    first = requested.input_reference
    further = requested.further_images if requested.options.get(SEVERAL_IMAGES) else ()
    return (first, *further) if first else ()


def sent_prompt(requested: RenderRequested) -> Private:
    """Return the prompt as sent to the server."""
    return requested.augmented_prompt or requested.prompt


def _reference(requested: RenderRequested, files: Files) -> ReferenceFile | ReferenceUrl | ReferenceId | None:
    if requested.input_reference is not None:
        return files.read(requested.input_reference)
    if requested.reference_url is not None:
        return ReferenceUrl(text_of(files.job_id, "reference URL", requested.reference_url))
    return ReferenceId(requested.reference_file_id) if requested.reference_file_id else None


def text_of(job_id: str, what: str, private: Private) -> str:
    """Return a recorded text; `NotReady` if it was erased."""
    if private.text is None:
        raise NotReady(
            f"{job_id}: the {what} was erased, so it cannot be sent: "
            f"`sora-ledger cancel {job_id}` withdraws it; make a new request",
            param="job",
            expected=f"the {what} of the request",
            found="an erased one",
        )
    return private.text


NOT_SENT = frozenset(
    {
        "request_key",
        "fields",
        "augmented_prompt",
        "further_images",
        "source_job",
        "attested",
        "purpose",
        "requested_model",
        "profile",
        "max_cost_usd_micros",
        "team",
        "project",
        "access_key_id",
    }
)
"""The recorded fields that are not sent; all others are. Further images are sent if an option says so."""

SENT = frozenset(RenderRequested.__struct_fields__) - NOT_SENT


def request_sha256(requested: RenderRequested, model: str) -> str:
    """Return the digest of what `call_of` sends; over the prompt's commitment, never over its text."""
    payload = {name: value for name, value in requested.as_json().items() if name in SENT}
    payload |= {"prompt": sent_prompt(requested).commitment, "model": model}
    if further := images_sent(requested)[1:]:
        payload["further_images"] = [image.sha256 for image in further]
    files = ((name, getattr(requested, name)) for name in ("input_reference", "source_file"))
    return digest(payload | {name: file.sha256 for name, file in files if file})


def comparable(requested: RenderRequested) -> dict[str, Any]:
    """Return the content of a request for comparison: texts, and files by digest.

    An erased text is None.
    """
    return {name: _content_of(getattr(requested, name)) for name in RenderRequested.__struct_fields__}


def _content_of(value: Any) -> Any:
    match value:
        case Private():
            return value.text
        case InputReference() | SourceFile():
            return value.sha256
        case tuple():
            return tuple(map(_content_of, value))
        case dict():
            return {key: _content_of(item) for key, item in value.items()}
        case _:
            return value


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
