"""Submitting what was decided before, from its record alone: by `resume`, by an approval, by a worker.

The request is made again from ``render.requested``: private texts, and stored files by their digest. What is
sent is the prompt that was recorded as sent, whatever a newer version would make of the fields.
"""

import asyncio
import hashlib
from dataclasses import dataclass

from decision.decide import Ruling
from decision.holding import Considered
from ledger.errors import WrongExpectedVersion
from ledger.events import (
    InputReference,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    RenderRequested,
    SourceFile,
)
from ledger.job import Job, State
from ledger.ledger import Ledger
from ledger.private import Private
from render_service.asking.patience import Patience
from render_service.asking.placed import Placed
from render_service.asking.renders import may_try_again, submit
from render_service.desk import Desk
from render_service.errors import NotApproved, NotReady
from render_service.storage.assets import AssetStore
from sora_adapter.advice import Submission
from sora_adapter.calls import ReferenceFile, ReferenceId, ReferenceUrl, SubmitCall


@dataclass(frozen=True)
class Recorded:
    """What the record of a job says that submitting it needs; `outcome` is that of the last attempt."""

    requested: RenderRequested
    ruling: Considered
    outcome: Submission | None


def recorded(ledger: Ledger, job: Job) -> Recorded:
    """Return request, last decision and last outcome of `job`; `NotReady` for one that was adopted."""
    events = [record.event for record in ledger.history(job.job_id)]
    if not isinstance(events[0], RenderRequested):
        raise NotReady(f"{job.job_id} was made by another tool: there is no request to submit")
    rulings = [event for event in events if isinstance(event, RenderDecided | RenderDenied | RenderHeld)]
    outcomes = [event for event in events if isinstance(event, Submission)]
    return Recorded(events[0], rulings[-1], outcomes[-1] if outcomes else None)


async def resume(desk: Desk, job: Job, patience: Patience | None = None) -> Placed:
    """Submit `job` as it was decided; `NotReady` says why it cannot be, and what to do.

    Of what waits for a person, that is a `NotApproved`.

    It can be where nothing was attempted yet, or the last attempt is known to have created nothing.
    """
    found = await asyncio.to_thread(recorded, desk.ledger, job)
    if not may_try_again(desk, job, found.outcome):
        raise _not_ready(job)
    placed, call = await asyncio.to_thread(rebuild, desk, job, found)
    try:
        return await submit(desk, placed, call, patience or Patience())
    except WrongExpectedVersion:  # a worker, or another person, was quicker
        raise _not_ready(await desk.job(job.job_id)) from None


def rebuild(desk: Desk, job: Job, found: Recorded | None = None) -> tuple[Placed, SubmitCall]:
    """Return `job` as it was placed, and the call that carries it out, both from the record.

    `NotReady` if it was not allowed, its text was erased, or a file it needs is missing or damaged.
    """
    found = found or recorded(desk.ledger, job)
    if not isinstance(found.ruling, RenderDecided):
        raise _not_ready(job)
    call = _call(desk.assets, job, found.requested, found.ruling)
    return Placed(job, found.requested, found.ruling, found.outcome), call


def _call(assets: AssetStore, job: Job, asked: RenderRequested, ruling: Ruling) -> SubmitCall:
    assert isinstance(ruling, RenderDecided)  # noqa: S101  # rebuild has looked
    prompt = asked.augmented_prompt or asked.prompt
    return SubmitCall(
        operation=asked.operation,
        prompt=_text(job, "prompt", prompt),
        model=ruling.model,
        size=asked.size,
        seconds=int(ruling.basis.inputs["seconds"] or asked.seconds),  # of an extension, what is added
        input_reference=_reference(assets, job, asked),
        characters=asked.character_ids,
        fields=dict(asked.options),  # type: ignore[arg-type]  # the record's vocabulary is part of the adapter's
        source_video_id=asked.remix_video_id,
        source_file=_stored(assets, job, asked.source_file),
    )


def _reference(
    assets: AssetStore, job: Job, asked: RenderRequested
) -> ReferenceFile | ReferenceUrl | ReferenceId | None:
    if asked.input_reference is not None:
        file = _stored(assets, job, asked.input_reference)
        assert file is not None and not isinstance(file.content, bytes)  # noqa: S101, PT018  # a stored one is a path
        return ReferenceFile(name=file.name, media_type=file.media_type, content=file.content.read_bytes())
    if asked.reference_url is not None:
        return ReferenceUrl(_text(job, "reference URL", asked.reference_url))
    return ReferenceId(asked.reference_file_id) if asked.reference_file_id else None


def _stored(assets: AssetStore, job: Job, file: InputReference | SourceFile | None) -> ReferenceFile | None:
    """Return the stored file, after a look whether its bytes are still those of the record."""
    if file is None:
        return None
    name = _text(job, "name of the file", file.name)
    path = assets.path(file.storage_uri) if file.storage_uri else None
    if path is None or not path.is_file():
        raise NotReady(
            f"{job.job_id}: the file it was asked with is not in asset storage any more "
            f"({file.storage_uri}): put it back, or `sora-ledger cancel {job.job_id}` and ask again"
        )
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.sha256:
        raise NotReady(
            f"{job.job_id}: the stored file {path} is not the one it was asked with "
            f"(sha256 {found[:12]}…, recorded {file.sha256[:12]}…): nothing was sent"
        )
    return ReferenceFile(name=name, media_type=file.media_type, content=path)


def _text(job: Job, what: str, private: Private) -> str:
    if private.text is None:
        raise NotReady(
            f"{job.job_id}: the {what} was erased, so there is nothing to send: "
            f"`sora-ledger cancel {job.job_id}` withdraws it; ask again"
        )
    return private.text


_WAITS = "waits for approval: somebody else can `sora-ledger approve {id}`"
_MAY_BE_OUT = "may have been submitted already: `sora-ledger reconcile {id}` finds out; nothing is sent again"
_OUT = "was submitted already: `sora-ledger poll --id {id}` waits for it"
_REASONS = {
    State.HELD: _WAITS,
    State.APPROVED: _WAITS,
    State.SUBMITTING: _MAY_BE_OUT,
    State.UNKNOWN: _MAY_BE_OUT,
    State.RUNNING: _OUT,
    State.COMPLETED: _OUT,
    State.REJECTED: "was refused, and trying again might cost; `sora-ledger show {id}` says why",
}


def _not_ready(job: Job) -> NotReady:
    waits = job.outcome is None and job.state in {State.HELD, State.APPROVED}
    return (NotApproved if waits else NotReady)(f"{job.job_id} {_why_not(job)}")


def _why_not(job: Job) -> str:
    """Say why `job` cannot be submitted as it stands, and what to do."""
    if job.outcome is not None:
        return (
            f"is closed ({job.outcome}): `sora-ledger show {job.job_id}` says why; "
            "to try again, make a new request"
        )
    said = _REASONS.get(job.state, f"is {job.state}; `sora-ledger show {{id}}` says why")
    return said.format(id=job.job_id)
