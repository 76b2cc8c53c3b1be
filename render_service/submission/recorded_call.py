"""What a record asks of a server: the one way from a recorded request to a call.

A first submission, a retry, `resume`, a repeated request key, a resumed batch and a worker all send what
`call_of` returns, so that no flag, file or newer version can make it differ from what is recorded. The prompt
is the one that was recorded as sent, whatever a newer version would make of the fields. Files are found by
their digest: those that came with the command if they are the ones, else those in asset storage.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ledger.canonical import digest
from ledger.events import InputReference, RenderDecided, RenderRequested, SourceFile
from ledger.private import Private
from render_service.assets.inputs import NOTHING, Material
from render_service.assets.store import AssetStore
from render_service.runtime.errors import NotReady
from sora_adapter.requests import ReferenceFile, ReferenceId, ReferenceUrl, SubmitCall


@dataclass(frozen=True)
class Files:
    """Where the bytes of a job's files come from; `at_hand` are those that came with the command."""

    job_id: str
    assets: AssetStore | None
    at_hand: Material = NOTHING

    def read(self, file: InputReference | SourceFile) -> ReferenceFile:
        """Return `file` with the bytes that the record names; `NotReady` if they are not to be had."""
        name = text_of(self.job_id, "name of the file", file.name)
        at_hand = self.at_hand.reference if isinstance(file, InputReference) else self.at_hand.video
        content = at_hand.read_bytes() if isinstance(at_hand, Path) and at_hand.is_file() else at_hand
        if not isinstance(content, bytes) or _sha256(content) != file.sha256:
            content = self._stored(file)
        return ReferenceFile(name=name, media_type=file.media_type, content=content)

    def _stored(self, file: InputReference | SourceFile) -> bytes:
        path = self.assets.path(file.storage_uri) if self.assets and file.storage_uri else None
        if path is None or not path.is_file():
            raise NotReady(
                f"{self.job_id}: the file it was asked with is not in asset storage any more "
                f"({file.storage_uri}): put it back, or `sora-ledger cancel {self.job_id}` and ask again"
            )
        content = path.read_bytes()
        if (actual := _sha256(content)) != file.sha256:
            raise NotReady(
                f"{self.job_id}: the stored file {path} is not the one it was asked with "
                f"(sha256 {actual[:12]}…, recorded {file.sha256[:12]}…): nothing was sent"
            )
        return content


def call_of(requested: RenderRequested, ruling: RenderDecided, files: Files) -> SubmitCall:
    """Return what is asked of the server for a request that was decided so.

    A field that has one name in the record and in the call is sent as it was recorded. `NotReady` if its text
    was erased, or a file it needs is missing or damaged.
    """
    otherwise: dict[str, Any] = {
        "prompt": text_of(files.job_id, "prompt", sent_prompt(requested)),
        "model": ruling.model,
        "seconds": int(ruling.basis.inputs["seconds"] or requested.seconds),  # of an extension, what is added
        "input_reference": _reference(requested, files),
        "source_video_id": requested.remix_video_id,
        "source_file": files.read(requested.source_file) if requested.source_file else None,
    }
    names = {field.name for field in fields(SubmitCall)} & RenderRequested.model_fields.keys()
    as_recorded = {name: _sent(name, requested, files.job_id) for name in names - otherwise.keys()}
    return SubmitCall(**as_recorded, **otherwise)


def _sent(name: str, requested: RenderRequested, job_id: str) -> Any:
    value = getattr(requested, name)
    return text_of(job_id, name.replace("_", " "), value) if isinstance(value, Private) else value


def sent_prompt(requested: RenderRequested) -> Private:
    """Return the prompt as it goes to the server."""
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
            f"{job_id}: the {what} was erased, so there is nothing to send: "
            f"`sora-ledger cancel {job_id}` withdraws it; ask again"
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
    }
)
"""What the record of a request has for us; everything else of it is sent."""

SENT = RenderRequested.model_fields.keys() - NOT_SENT


def request_sha256(requested: RenderRequested, model: str) -> str:
    """Return the digest of what `call_of` sends; over the prompt's commitment, never over its text."""
    payload = requested.model_dump(mode="json", include=SENT)
    payload |= {"prompt": sent_prompt(requested).commitment, "model": model}
    files = ((name, getattr(requested, name)) for name in ("input_reference", "source_file"))
    return digest(payload | {name: file.sha256 for name, file in files if file})


def comparable(requested: RenderRequested) -> dict[str, Any]:
    """Return what a request asks for, to be compared with another: texts, and of files their digests.

    A text that was erased is None.
    """
    return {name: _content_of(getattr(requested, name)) for name in RenderRequested.model_fields}


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
