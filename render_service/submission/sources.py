"""Find the source video of a remix, edit or extension in the ledger."""

import asyncio

from decision.request.request import Source
from ledger.events import Operation, Status
from ledger.job import Job, State
from ledger.log.ledger import Ledger
from render_service.runtime.errors import NotReady
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.settlement.settle import refresh

UNDER_WAY = (Status.QUEUED, Status.IN_PROGRESS)


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
            f"{job.job_id} is {job.state} and has no video: `sora-ledger show {job.job_id}` says why"
        )
    return job.video_id, job.profile


def _extensions(ledger: Ledger, job: Job) -> int:
    """Count how often the video was extended, along its chain of source jobs."""
    count = 0
    while job.operation is Operation.EXTEND and job.source_job is not None:
        count += 1
        job = ledger.job(job.source_job)
    return count
