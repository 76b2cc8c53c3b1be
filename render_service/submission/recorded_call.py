"""What a record asks of a server: the one way from a recorded request to a call.

A first submission, a retry, `resume`, a repeated request key, a resumed batch and a worker all send what
`call_of` returns, so that no flag, file or newer version can make it differ from what is recorded. The prompt
is the one that was recorded as sent, whatever a newer version would make of the fields. Files are found by
their digest: those that came with the command if they are the ones, else those in asset storage.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

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
        given = self.at_hand.reference if isinstance(file, InputReference) else self.at_hand.video
        content = given.read_bytes() if isinstance(given, Path) and given.is_file() else given
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
        if (found := _sha256(content)) != file.sha256:
            raise NotReady(
                f"{self.job_id}: the stored file {path} is not the one it was asked with "
                f"(sha256 {found[:12]}…, recorded {file.sha256[:12]}…): nothing was sent"
            )
        return content


def call_of(asked: RenderRequested, ruling: RenderDecided, files: Files) -> SubmitCall:
    """Return what is asked of the server for a request that was decided so.

    `NotReady` if its text was erased, or a file it needs is missing or damaged.
    """
    return SubmitCall(
        operation=asked.operation,
        prompt=text_of(files.job_id, "prompt", asked.augmented_prompt or asked.prompt),
        model=ruling.model,
        size=asked.size,
        seconds=int(ruling.basis.inputs["seconds"] or asked.seconds),  # of an extension, what is added
        input_reference=_reference(asked, files),
        characters=asked.character_ids,
        fields=dict(asked.options),  # type: ignore[arg-type]  # the record's vocabulary is part of the adapter's
        source_video_id=asked.remix_video_id,
        source_file=files.read(asked.source_file) if asked.source_file else None,
    )


def _reference(asked: RenderRequested, files: Files) -> ReferenceFile | ReferenceUrl | ReferenceId | None:
    if asked.input_reference is not None:
        return files.read(asked.input_reference)
    if asked.reference_url is not None:
        return ReferenceUrl(text_of(files.job_id, "reference URL", asked.reference_url))
    return ReferenceId(asked.reference_file_id) if asked.reference_file_id else None


def text_of(job_id: str, what: str, private: Private) -> str:
    """Return a recorded text; `NotReady` if it was erased."""
    if private.text is None:
        raise NotReady(
            f"{job_id}: the {what} was erased, so there is nothing to send: "
            f"`sora-ledger cancel {job_id}` withdraws it; ask again"
        )
    return private.text


def request_sha256(asked: RenderRequested, model: str) -> str:
    """Return the digest of what `call_of` sends; over the prompt's commitment, never over its text."""
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


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
