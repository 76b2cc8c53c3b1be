"""Requests made from the record of an earlier job, files included: a retry, and the next remix of a split.

A retry is the same request with a new decision, for a job without a result. The actor and the rules are the
current ones. The new job has its own idempotency key, derived from the id of the earlier job, so that a job
is retried once, however often and by whomever the command is repeated. A failed retry is retried by its own
id. The new request names the record that ended the earlier job as its cause. A job is retried only if nothing
more can be billed for it.

The next remix of a split is requested in the name of the person who requested the split, and decided by the
rules in force now; it is recorded and left to a worker. Its request key is derived from the split's, so that
it is requested once, however many workers try. In the same transaction the planned prompts are deleted from
the previous job: the new job has them now, so that each text is in one place and one erasure removes it. The
identity of the requester counts as it was established for the split. A signature covers only one request, so
a signing requester's name counts as typed here.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from decision.request.attachments import SEVERAL_IMAGES
from decision.request.request import ReferenceImage, RenderRequest, parse_request
from ledger.errors import WrongExpectedVersion
from ledger.events import Basis, InputReference, RenderRequested, SplitPlanned
from ledger.job import Job
from ledger.private import Private
from ledger.record import ActorSource, Authority
from ledger.store.interface import ANY
from ledger.terms import Operation, State
from render_service.assets.fit import detect_faces
from render_service.assets.inputs import Material, read_source_file
from render_service.assets.store import AssetStore
from render_service.rules.overrides import Override
from render_service.runtime.errors import BadInput, NotReady, StorageFailed
from render_service.session.event_ids import RETRY, retry_key
from render_service.session.history import JobHistory
from render_service.session.jobs import RETRYABLE
from render_service.session.session import Session
from render_service.session.splits import (
    MOVED,
    deletion,
    find_taken_key,
    follower_of,
    is_withdrawn,
    plan_of,
    plan_split,
    step_key,
)
from render_service.submission.result import Opening, Placed, placed_in
from render_service.submission.sources import source_of
from render_service.submission.submit import may_try_again, place

AS_RECORDED: Mapping[str, Any] = MappingProxyType({})

_INSTEAD: Mapping[State, str] = {
    State.HELD: "it waits for approval: `sora-ledger approve {id}`, or `sora-ledger cancel {id}` first",
    State.APPROVED: "it waits for another approval: `sora-ledger approve {id}`",
    State.SUBMITTING: "a video may exist and be billed: `sora-ledger reconcile {id}` finds out",
    State.UNKNOWN: "a video may exist and be billed: `sora-ledger reconcile {id}` finds out",
    State.RUNNING: "it is being rendered: `sora-ledger poll {id}` waits for it",
    State.COMPLETED: "its video is at the server: `sora-ledger poll {id}` stores it",
    State.STORED: "its video is stored: `sora-ledger open {id}`; for another take, make a new request",
    State.ABANDONED: "its render may still finish and be billed; if you accept that, make a new request: "
    "`sora-ledger explain {id}` shows what it asked for",
    State.DELETED: "its video was made and then deleted; for another take, make a new request",
}


def retried_job(request: RenderRequest) -> str:
    """Return the id of the job that `request` retries, from its key."""
    return (request.request_key or "").removeprefix(RETRY)


async def request_again(
    session: Session,
    job: Job,
    *,
    attested: bool = False,
    queue: bool = False,
    override: Override | None = None,
) -> tuple[Placed, RenderRequest]:
    """Place the request of `job` again; return the new job, or its earlier retry.

    `NotReady` says why the job cannot be retried and what to do, or which part of its request is missing.
    """
    history = await asyncio.to_thread(JobHistory.of, session.ledger, job)
    requested = _check(session, job, history)
    paying = replace(session.settings, team=requested.team, project=requested.project)
    session = replace(session, settings=paying)
    request, material = await recorded_request(session, job, history, attested=attested)
    opening = _carried_on(session, history)
    placed = await place(session, request, material, queue=queue, override=override, opening=opening)
    return placed, request


def _carried_on(session: Session, history: JobHistory) -> Opening:
    """Return the records to add to a job's retry: the plan of its split, if it is part of one."""
    cause = history.records[-1].event_id
    planned = history.last_of(SplitPlanned)
    if planned is None:
        return Opening(caused_by=cause)
    plan = planned.event
    texts = [(remix.prompt.text, remix.declared_change) for remix in plan.rest]
    rest = [(text, declared) for text, declared in texts if text is not None]
    moved = deletion(session, history.first.stream, plan, MOVED, ANY)
    return Opening(
        caused_by=cause,
        plan=plan_split(plan.split_key, plan.number, rest),
        batches=lambda _: moved,
    )


def _check(session: Session, job: Job, history: JobHistory) -> RenderRequested:
    """Return the request of `job`, which may be retried; `NotReady` if it may not."""
    requested = history.requested
    if requested is None:
        raise NotReady(
            f"{job.job_id} was made by another tool: there is no request to repeat",
            param="job",
            expected="a request of this ledger",
            found="a video of another tool",
        )
    outcome = history.outcome.event if history.outcome else None
    if may_try_again(session, job, outcome):
        raise NotReady(
            f"{job.job_id} is not over: its decision holds and it created nothing so far: "
            f"`sora-ledger resume {job.job_id}` submits it",
            param="job",
            expected="a job that is over",
            found=f"a {job.state} one",
        )
    if job.state not in RETRYABLE:
        instead = _INSTEAD.get(job.state, "`sora-ledger show {id}` says why").format(id=job.job_id)
        raise NotReady(
            f"{job.job_id} is {job.state} and is not requested again: {instead}",
            param="job",
            expected="a job that may be requested again",
            found=f"a {job.state} one",
        )
    return requested


async def request_next_remix(session: Session, job: Job) -> Placed | None:
    """Request the remix that follows `job` in its split; None if there is none, or it must wait.

    An already requested remix is returned, whoever requested it. Obstacles to the request are raised.
    """
    while True:
        if job.state is not State.STORED or await asyncio.to_thread(plan_of, session.ledger, job) is None:
            return None
        history = await asyncio.to_thread(JobHistory.of, session.ledger, job)
        plan = next(iter(history.all_of(SplitPlanned))).event
        if not plan.rest:
            return None
        following = await asyncio.to_thread(follower_of, session.ledger, job, plan)
        if following is not None:
            return await asyncio.to_thread(placed_in, session.ledger, following, repeated=True)
        taken = await asyncio.to_thread(find_taken_key, session.ledger, job, plan)
        if is_withdrawn(plan) or taken is not None:
            return None
        try:
            # A crash before the append leaves the job unchanged: the next worker that checks finds it.
            return await _request_step(session, job, history, plan)
        except WrongExpectedVersion:  # another process recorded something about it, such as an erasure
            job = await session.job(job.job_id)


async def _request_step(session: Session, job: Job, history: JobHistory, plan: SplitPlanned) -> Placed:
    acting = _in_the_name_of(session, history)
    following, *rest = plan.rest
    instead = {
        "source": job.job_id,
        "prompt": following.prompt.text,
        "declared_change": following.declared_change,
        "request_key": step_key(plan.split_key, plan.number + 1),
    }
    request, material = await recorded_request(acting, job, history, instead=instead)
    later = [(str(remix.prompt.text), remix.declared_change) for remix in rest]
    moved = deletion(session, job.job_id, plan, MOVED, history.version)
    opening = Opening(
        caused_by=history.records[-1].event_id,
        plan=plan_split(plan.split_key, plan.number + 1, later),
        batches=lambda _: moved,
    )
    return await place(acting, request, material, queue=True, opening=opening)


def _in_the_name_of(session: Session, history: JobHistory) -> Session:
    """Return a session that acts for a job's requester, with their team, project and access key."""
    first, requested = history.first, history.requested
    assert requested is not None  # a planned remix was requested here
    source = ActorSource(first.envelope.actor_source)
    settings = replace(
        session.settings,
        actor=first.actor,
        actor_source=ActorSource.FLAG if source is ActorSource.SIGNATURE else source,
        team=requested.team,
        project=requested.project,
        access_key_id=requested.access_key_id,
        key_file=None,
        request_key_file=None,
    )
    return replace(session, settings=settings, authority=Authority.SYSTEM)


async def recorded_request(
    session: Session,
    job: Job,
    history: JobHistory,
    *,
    attested: bool = False,
    instead: Mapping[str, Any] = AS_RECORDED,
) -> tuple[RenderRequest, Material]:
    """Return the recorded request of `job`, with its files and the key of a retry.

    The guardrails count as confirmed if the same person confirmed them then, or with `attested` now.
    `instead` are values that differ; a `source` is the name of its job.
    """
    requested, decided = history.requested, history.decisions[0].event
    assert requested is not None  # checked by the caller
    values, material = await asyncio.to_thread(_attachments, session.assets, job.job_id, requested)
    source = requested.remix_video_id and (requested.source_job or requested.remix_video_id)
    if source := instead.get("source", source):
        values["source"], _ = await source_of(session, source)
    else:
        values["promotes"] = requested.source_job
    texts = {name: _text(job.job_id, f"field {name}", text) for name, text in requested.fields.items()}
    values |= {
        "operation": requested.operation,
        "prompt": _text(job.job_id, "prompt", requested.prompt),
        "fields": texts,
        "purpose": requested.purpose,
        "profile": requested.profile,
        "model": requested.requested_model,
        "character_ids": requested.character_ids,
        "options": dict(requested.options),
        "max_cost_usd_micros": requested.max_cost_usd_micros,
        "attested": attested or (requested.attested and job.actor == session.settings.actor),
        "request_key": retry_key(job.job_id),
        **_shape(requested, decided.basis),
        **{name: value for name, value in instead.items() if name != "source"},
    }

    def parsed() -> RenderRequest:
        return parse_request(catalog=session.catalog, **values)

    return await asyncio.to_thread(parsed), material


def _shape(requested: RenderRequested, basis: Basis) -> dict[str, Any]:
    """Return the request's other terms, from the inputs of the first decision."""
    inputs = basis.inputs
    creates = requested.operation is Operation.CREATE
    extends = requested.operation is Operation.EXTEND
    return {
        "size": requested.size if creates else inputs.get("wished_size"),
        "seconds": inputs["seconds"] if creates or extends else inputs.get("wished_seconds"),
        "augment": inputs.get("augment") is not False,
        "deadline_minutes": inputs.get("deadline_minutes"),
        "declared_change": inputs.get("declared_change"),
    }


def _attachments(
    assets: AssetStore, job_id: str, requested: RenderRequested
) -> tuple[dict[str, Any], Material]:
    """Return the files of a request as request values, and their contents."""
    first, video, url = requested.input_reference, requested.source_file, requested.reference_url
    content = _content(assets, job_id, first) if first else None
    further = tuple(_content(assets, job_id, image) for image in requested.further_images)
    is_sent = bool(requested.options.get(SEVERAL_IMAGES))
    path = assets.path(video.storage_uri) if video and video.storage_uri else None
    if video and (path is None or not path.is_file()):
        raise _gone(job_id, "video", video.storage_uri)
    file = read_source_file(path) if path else None
    if video and file and file.sha256 != video.sha256:
        raise StorageFailed(
            f"{job_id}: the stored video {path} differs from that of its request",
            param="job",
            expected="the video of the request",
            found="another file",
        )
    name = _text(job_id, "name of its video", video.name) if video else ""
    values: dict[str, Any] = {
        "input_reference": _image(job_id, first, content) if first else None,
        "further_images": tuple(
            _image(job_id, image, content if is_sent else None)
            for image, content in zip(requested.further_images, further, strict=True)
        ),
        "reference_url": _text(job_id, "reference URL", url) if url else None,
        "reference_file_id": requested.reference_file_id,
        "source_file": file.model_copy(update={"name": name}) if file else None,
    }
    return values, Material(reference=content, further=further, video=path)


def _image(job_id: str, image: InputReference, content: bytes | None = None) -> ReferenceImage:
    return ReferenceImage(
        name=_text(job_id, "name of its image", image.name),
        sha256=image.sha256,
        original_sha256=image.original_sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        bytes=image.bytes,
        faces=detect_faces(content) if content is not None else None,
    )


def _content(assets: AssetStore, job_id: str, image: InputReference) -> bytes:
    if image.storage_uri is None or not assets.has(image.storage_uri):
        raise _gone(job_id, "image", image.storage_uri)
    return assets.read(image.storage_uri)


def _gone(job_id: str, what: str, uri: str | None) -> NotReady:
    return NotReady(
        f"{job_id}: the {what} of its request is no longer in asset storage ({uri}): put it back, or make a "
        f"new request with the {what}",
        param="job",
        expected=f"the {what} of its request",
        found="none",
    )


def _text(job_id: str, what: str, private: Private) -> str:
    if private.text is None:
        raise BadInput(
            f"{job_id}: the {what} was erased, so the same request cannot be made again: make a new one",
            param="job",
            expected=f"the {what} of the request",
            found="an erased one",
        )
    return private.text
