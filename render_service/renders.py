"""Asking for a render: decide, record, call once, record what came of it.

The order is the guarantee. Request, decision and intent are durable before the call; a crash between the
call and its outcome leaves the job ``submitting``, which says that a video may exist. Nothing here sends
anything a second time unless the last attempt is known to have created nothing.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from decision.decide import DecisionContext, Ruling, decide
from decision.explain import what_now, why
from decision.request import RenderRequest, Source
from ledger.canonical import digest
from ledger.errors import EventIdConflict
from ledger.events import (
    InputReference,
    Operation,
    Outcome,
    RenderClosed,
    RenderDecided,
    RenderDenied,
    RenderRequested,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionUnknown,
)
from ledger.job import Job, State
from ledger.ledger import Ledger
from ledger.private import Private
from ledger.record import Record, new_event_id, new_job_id
from ledger.store.interface import NEW, Document
from render_service.closing import closed
from render_service.desk import Desk
from render_service.errors import NotReady, RequestKeyTaken
from sora_adapter.advice import Submission, trouble
from sora_adapter.calls import ReferenceFile, SubmitCall
from sora_adapter.errors import AdapterError, AnswerError
from sora_adapter.profiles import Profile
from sora_adapter.profiles import profile as profile_named

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

REQUEST_KEYS = uuid.UUID("5f0c3f0e-9c1b-5f5b-8a52-6d4a3f2f7c11")
"""Namespace of the event ids made from request keys, so that a key can be used once in a ledger."""

T = TypeVar("T")


@dataclass(frozen=True)
class Placed:
    """A request that went through the desk: the job, what was asked, and the ruling."""

    job: Job
    requested: RenderRequested
    ruling: Ruling
    outcome: Submission | None = None
    repeated: bool = False


def rule(desk: Desk, request: RenderRequest) -> Ruling:
    """Decide on `request` as `place` would, recording nothing."""
    return decide(request, catalog=desk.catalog, policy=desk.policy, context=DecisionContext())


async def place(desk: Desk, request: RenderRequest, reference: bytes | None = None) -> Placed:
    """Decide on `request`, record it, and submit it if it is allowed; `reference` is its image's content.

    A request key that was used before gives the job it was used for; `RequestKeyTaken` if that job was
    asked for something else.
    """
    repeated = await _find_repeated(desk, request)
    if repeated is None:
        profile = desk.profile(request.profile)
        requested = await _requested(desk, request, reference)
        ruling = rule(desk, request)
        if isinstance(ruling, RenderDenied):
            return await _denied(desk, request, requested, ruling)
        async with desk.connect(profile) as client:
            try:
                return await _submitted(desk, client, request, requested, ruling, reference)
            except EventIdConflict:  # another process used the key in between
                repeated = await _find_repeated(desk, request)
                if repeated is None:
                    raise
    if may_try_again(desk, repeated.job, repeated.outcome):
        return await _attempt_again(desk, repeated, request, reference)
    return repeated


def may_try_again(desk: Desk, job: Job, outcome: Submission | None) -> bool:
    """Say whether the last attempt is known to have created nothing and cost nothing."""
    if job.outcome is not None:
        return False
    if job.state is State.ABSENT:
        return True
    rejected = job.state is State.REJECTED and isinstance(outcome, SubmissionRejected)
    return rejected and desk.profile(job.profile).is_free(outcome)  # type: ignore[arg-type]  # rejected says so


async def source_of(desk: Desk, name: str) -> tuple[Source, str]:
    """Return the video a remix starts from, and the profile whose server has it."""
    return await asyncio.to_thread(source_in, desk.ledger, name)


def source_in(ledger: Ledger, name: str) -> tuple[Source, str]:
    """Return the same from a ledger alone; `NotReady` if the job never got a video."""
    job = ledger.job(name)
    video_id, profile = video_in(job)
    asked = next((r.event for r in ledger.history(job.job_id) if isinstance(r.event, RenderRequested)), None)
    source = Source(
        job_id=job.job_id,
        video_id=video_id,
        status=job.status,
        deleted=job.state is State.DELETED,
        model=job.model or "sora-2",
        size=job.size or "1280x720",
        seconds=job.seconds or 4,
        prompt=asked.prompt.text if asked else None,
    )
    return source, profile


def video_in(job: Job) -> tuple[str, str]:
    """Return the id of the job's video and the profile of its server; `NotReady` if it never got one."""
    if job.video_id is None or job.profile is None:
        raise NotReady(
            f"{job.job_id} is {job.state} and has no video: `sora-ledger show {job.job_id}` says why"
        )
    return job.video_id, job.profile


async def _requested(desk: Desk, request: RenderRequest, reference: bytes | None) -> RenderRequested:
    image = request.input_reference
    stored = None
    if image is not None:
        uri = None
        if reference is not None:
            uri = await asyncio.to_thread(desk.assets.put, reference, image.media_type)
        stored = InputReference(
            name=Private.seal("input_reference.name", image.name),
            sha256=image.sha256,
            media_type=image.media_type,
            width=image.width,
            height=image.height,
            bytes=image.bytes,
            storage_uri=uri,
        )
    sent = request.sent_prompt
    return RenderRequested(
        operation=request.operation,
        request_key=request.request_key,
        prompt=Private.seal("prompt", request.prompt),
        fields={name: Private.seal(f"fields.{name}", text) for name, text in request.fields.items()},
        augmented_prompt=Private.seal("augmented_prompt", sent) if sent != request.prompt else None,
        size=request.size,
        seconds=request.seconds,
        input_reference=stored,
        source_job=request.source.job_id if request.source else None,
        remix_video_id=request.source.video_id if request.source else None,
        purpose=request.purpose,
        requested_model=request.requested_model,
        profile=request.profile,
        max_cost_usd_micros=request.max_cost_usd_micros,
    )


async def _denied(
    desk: Desk, request: RenderRequest, requested: RenderRequested, ruling: RenderDenied
) -> Placed:
    end = RenderClosed(outcome=Outcome.DENIED, duration_ms=0, cost_usd_micros=0)
    job_id = new_job_id()
    first = desk.draft(requested, event_id=event_id_of(request.request_key))
    drafts = [first, desk.draft(ruling, causation_id=first.event_id), desk.draft(end)]
    await desk.append(job_id, NEW, drafts, documents=_documents(desk))
    return Placed(await desk.job(job_id), requested, ruling)


async def _submitted(  # what one submission is made of
    desk: Desk,
    client: "VideosClient",
    request: RenderRequest,
    requested: RenderRequested,
    ruling: RenderDecided,
    reference: bytes | None,
) -> Placed:
    job_id = new_job_id()
    first = desk.draft(requested, event_id=event_id_of(request.request_key))
    decided = desk.draft(ruling, causation_id=first.event_id)
    intent = _intent(client, desk.profile(request.profile), requested, ruling)
    drafts = [first, decided, desk.draft(intent, causation_id=decided.event_id)]
    call = call_of(request, ruling, reference)
    recording = desk.append(job_id, NEW, drafts, documents=_documents(desk))
    outcome = await uninterrupted(desk, _carry_out(desk, client, recording, intent, call))
    return Placed(await desk.job(job_id), requested, ruling, outcome)


async def _attempt_again(
    desk: Desk, placed: Placed, request: RenderRequest, reference: bytes | None
) -> Placed:
    job, ruling = placed.job, placed.ruling
    if isinstance(ruling, RenderDenied):
        return placed
    profile = desk.profile(job.profile)
    async with desk.connect(profile) as client:
        intent = _intent(client, profile, placed.requested, ruling)
        call = call_of(request, ruling, reference)
        recording = desk.append(job.job_id, job.version, [desk.draft(intent)])
        outcome = await uninterrupted(desk, _carry_out(desk, client, recording, intent, call))
    return Placed(await desk.job(job.job_id), placed.requested, ruling, outcome, repeated=True)


async def _carry_out(
    desk: Desk,
    client: "VideosClient",
    recording: Awaitable[list[Record]],
    intent: SubmissionIntended,
    call: SubmitCall,
) -> Submission:
    """Record the intent, call once, record the outcome; a crash in between leaves the job ``submitting``."""
    job_id = (await recording)[-1].stream
    try:
        outcome = await client.submit(intent, call)
    except AdapterError:  # raised only before anything was sent
        await _record_outcome(
            desk, job_id, SubmissionAbsent(attempt_id=intent.attempt_id, how="never_connected")
        )
        raise
    await _record_outcome(desk, job_id, outcome)
    return outcome


async def _record_outcome(desk: Desk, job_id: str, outcome: Submission) -> None:
    job = await desk.job(job_id)
    drafts = [desk.draft(outcome)]
    end = _end_of(desk, job, outcome)
    if end is not None:
        drafts.append(desk.draft(closed(desk, job, end)))
    await desk.append(job_id, job.version, drafts)


def _end_of(desk: Desk, job: Job, outcome: Submission) -> Outcome | None:
    """Return how the session ends with `outcome`; None if it goes on, or its key may be used to try again."""
    match outcome:
        case SubmissionRejected():
            again = job.request_key is not None and desk.profile(job.profile).is_free(outcome)
            return None if again else Outcome.REJECTED
        case SubmissionAbsent():
            return None if job.request_key is not None else Outcome.ABSENT
        case SubmissionAccepted() | SubmissionUnknown():
            return None
        case _:
            assert_never(outcome)


async def uninterrupted(desk: Desk, work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` although somebody pressed Ctrl-C: an answer that is on its way is recorded first."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        desk.log.warning("submission.finishing", hint="press Ctrl-C again to leave the outcome unknown")
        await task
        raise


def event_id_of(request_key: str | None) -> str:
    """Return the event id of a request: made from its key, so that the ledger itself refuses a second one."""
    return str(uuid.uuid5(REQUEST_KEYS, request_key)) if request_key else new_event_id()


async def _find_repeated(desk: Desk, request: RenderRequest) -> Placed | None:
    if request.request_key is None:
        return None
    first = await asyncio.to_thread(desk.ledger.event, event_id_of(request.request_key))
    if first is None:
        return None
    history = await asyncio.to_thread(desk.ledger.history, first.stream)
    requested = first.event
    assert isinstance(requested, RenderRequested)  # noqa: S101  # the id is made from the key of a request
    differing = _differences(requested, request)
    if differing:
        raise RequestKeyTaken(
            f"request key {request.request_key!r} stands for {first.stream}, which was asked for with other "
            f"{', '.join(differing)}: use another --request-key, or repeat exactly that request"
        )
    ruling = next(r.event for r in history if isinstance(r.event, RenderDecided | RenderDenied))
    outcomes = [r.event for r in history if isinstance(r.event, Submission)]
    outcome = outcomes[-1] if outcomes else None
    return Placed(await desk.job(first.stream), requested, ruling, outcome, repeated=True)


def _differences(requested: RenderRequested, request: RenderRequest) -> list[str]:
    """Name what `request` asks differently; text that was erased cannot be the same any more."""
    image = requested.input_reference
    pairs: dict[str, tuple[object, object]] = {
        "operation": (requested.operation, request.operation),
        "prompt": (requested.prompt.text, request.prompt),
        "fields": ({k: v.text for k, v in requested.fields.items()}, request.fields),
        "size": (requested.size, request.size),
        "seconds": (requested.seconds, request.seconds),
        "model": (requested.requested_model, request.requested_model),
        "purpose": (requested.purpose, request.purpose),
        "profile": (requested.profile, request.profile),
        "cost limit": (requested.max_cost_usd_micros, request.max_cost_usd_micros),
        "source": (requested.remix_video_id, request.source.video_id if request.source else None),
        "input reference": (
            image.sha256 if image else None,
            request.input_reference.sha256 if request.input_reference else None,
        ),
    }
    return [name for name, (before, now) in pairs.items() if before != now]


def _intent(
    client: "VideosClient", profile: Profile, requested: RenderRequested, ruling: RenderDecided
) -> SubmissionIntended:
    return SubmissionIntended(
        attempt_id=f"attempt_{uuid.UUID(new_event_id()).hex}",
        request_sha256=request_sha256(requested, ruling.model),
        profile=profile.name,
        server=client.base_url,
        model=profile.server_model(ruling.model),
    )


def request_sha256(requested: RenderRequested, model: str) -> str:
    """Return the digest of what is sent; over the prompt's commitment, never over its text."""
    prompt = requested.augmented_prompt or requested.prompt
    return digest(
        {
            "operation": requested.operation.value,
            "prompt": prompt.commitment,
            "model": model,
            "size": requested.size,
            "seconds": requested.seconds,
            "input_reference": requested.input_reference.sha256 if requested.input_reference else None,
            "remix_video_id": requested.remix_video_id,
        }
    )


def call_of(request: RenderRequest, ruling: RenderDecided, reference: bytes | None) -> SubmitCall:
    """Return what is asked of the server for `request` as it was decided."""
    match request.operation:
        case Operation.CREATE | Operation.REMIX:
            operation = request.operation
        case Operation.EDIT | Operation.EXTEND:
            raise NotReady(f"{request.operation} is not offered yet")
        case _:
            assert_never(request.operation)
    image = request.input_reference
    file = None
    if image is not None and reference is not None:
        file = ReferenceFile(name=image.name, media_type=image.media_type, content=reference)
    return SubmitCall(
        operation=operation,
        prompt=request.sent_prompt,
        model=ruling.model,
        size=request.size,
        seconds=request.seconds,
        input_reference=file,
        source_video_id=request.source.video_id if request.source else None,
    )


def _documents(desk: Desk) -> list[Document]:
    return [Document(desk.policy.canonical), Document(desk.catalog.canonical)]


def denial(ledger: Ledger, job: Job) -> str:
    """Return the first reason why `job` was denied, and the first thing that would be allowed."""
    ruling = next(r.event for r in ledger.history(job.job_id) if isinstance(r.event, RenderDenied))
    reasons, steps = why(ruling), what_now(ruling)
    return "; ".join([reasons[0], *steps[:1]])


def submission_trouble(ledger: Ledger, job: Job) -> AnswerError | None:
    """Return what to tell about the last submission of `job`; None if it was accepted or never made."""
    server, said = "", None
    for record in ledger.history(job.job_id):
        if isinstance(record.event, SubmissionIntended):
            server, said = record.event.server, None
        elif isinstance(record.event, Submission):
            said = trouble(record.event, profile_named(job.profile or ""), server)
    return said
