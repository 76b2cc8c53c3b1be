"""The source video of a remix, edit or extension, and its known shot.

A source's shot is described by a spec, derived from the remixes that led to it. A remix requested with
`decision.one_change.shot_spec.change_spec` changes one known line. For a remix in other words, only the
changed aspect is known, so that line becomes unknown; nothing is guessed.
"""

import asyncio

from decision.one_change.lexicon import FIELD_ASPECTS
from decision.one_change.shot_spec import find_changed_key, spec_of
from decision.request.request import Source
from ledger.events import RenderDecided
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.terms import UNDER_WAY, Operation, State, Status
from render_service.runtime.errors import NotReady
from render_service.runtime.settings import Settings
from render_service.session.history import JobHistory
from render_service.session.servers import check_server
from render_service.session.session import Session
from render_service.settlement.settle import refresh


async def source_of(session: Session, name: str) -> tuple[Source, str]:
    """Return the source called `name`, and the profile whose server has it.

    A source last seen running is polled first, and news is recorded, since it may have completed unnoticed.
    `WrongServer` if its server is not the one in use, `AnswerError` if that cannot be asked; nothing about
    the request is recorded then.
    """
    job = await session.job(name)
    video_in(job)
    await session.check_server(job)
    if job.status in UNDER_WAY:
        await refresh(session, job)
    return await asyncio.to_thread(source_in, session.ledger, job.job_id)


def source_in(ledger: Ledger, name: str) -> tuple[Source, str]:
    """Return the same from a ledger alone; `NotReady` if the job never got a video."""
    job = ledger.job(name)
    video_id, profile = video_in(job)
    history = JobHistory.of(ledger, job)
    began = history.requested or history.adopted
    prompt = began.prompt if began else None
    source = Source(
        job_id=job.job_id,
        video_id=video_id,
        status=job.status,
        deleted=job.state is State.DELETED,
        model=job.model or "sora-2",
        size=job.size or "1280x720",
        seconds=job.seconds or 4,
        extensions=_extensions(ledger, job),
        prompt=prompt.text if prompt else None,
    )
    return source, profile


def source_ahead(ledger: Ledger, name: str) -> tuple[Source, str]:
    """Return the source as a run may find it after asking the server: a running one counts as completed."""
    source, profile = source_in(ledger, name)
    if source.status in UNDER_WAY and not source.deleted:
        source = source.model_copy(update={"status": Status.COMPLETED})
    return source, profile


def video_in(job: Job) -> tuple[str, str]:
    """Return the id of the job's video and the profile of its server; `NotReady` if it never got one."""
    if job.video_id is None or job.profile is None:
        raise NotReady(
            f"{job.job_id} is {job.state} and has no video: `sora-ledger show {job.job_id}` says why",
            param="job",
            expected="a job with a video",
            found=f"a {job.state} one",
        )
    return job.video_id, job.profile


def _extensions(ledger: Ledger, job: Job) -> int:
    """Count how often the video was extended, along its chain of source jobs."""
    count = 0
    while job.operation is Operation.EXTEND and job.source_job is not None:
        count += 1
        job = ledger.job(job.source_job)
    return count


def known_source(settings: Settings, ledger: Ledger, name: str) -> tuple[Source, str]:
    """Return the same, unless a server must be asked about it first: `NotReady` while it is being rendered.

    `WrongServer` if its server is not the one in use.
    """
    job = ledger.job(name)
    source, profile = source_in(ledger, job.job_id)
    check_server(settings, ledger, job)
    if source.status in UNDER_WAY and not source.deleted:
        raise NotReady(
            f"{job.job_id} is {job.state}: `sora-ledger poll {job.job_id}` waits for its video",
            param="job",
            expected="a completed video",
            found=f"a {job.state} one",
        )
    return source, profile


Spec = dict[str, str]


def spec_at(ledger: Ledger, job: Job) -> Spec:
    """Return the known spec of the shot in `job`; empty for a job of another tool."""
    line = [job]
    while line[-1].operation in (Operation.REMIX, Operation.EDIT) and line[-1].source_job:
        line.append(ledger.job(line[-1].source_job))
    spec: Spec = {}
    for ancestor in reversed(line):
        spec = _after(ledger, ancestor, spec)
    return spec


def _after(ledger: Ledger, job: Job, spec: Spec) -> Spec:
    history = JobHistory.of(ledger, job)
    request = history.requested
    if request is None:
        return {}
    prompt, fields = _text(request.prompt), {name: _text(field) for name, field in request.fields.items()}
    if request.operation not in (Operation.REMIX, Operation.EDIT):
        return spec_of(prompt, fields)
    key = find_changed_key(prompt, fields)
    if key is not None:
        return {**spec, key: fields[key]}
    decided = history.all_of(RenderDecided)[0].event
    changed = _aspects(str(decided.basis.inputs.get("change_aspects") or ""))
    return {name: line for name, line in spec.items() if FIELD_ASPECTS.get(name) not in changed}


def _text(private: Private) -> str:
    return private.text or ""


def _aspects(recorded: str) -> set[str]:
    return {pair.partition(":")[0] for pair in recorded.split(",")}
