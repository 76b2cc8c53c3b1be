"""Public ids, and the job that a name means to a caller.

A video's public id is ``video_`` and the 32 hex digits of its job id, so it exists before the server's id
does, and each can be computed from the other. The job id and the server's id are accepted as well.

A name means a job only to callers who may see it. To others it is unknown, with the same answer and after the
same reads, so nothing shows whether another team has such a video.
"""

import asyncio
import re

from decision.rules.roles import Permission
from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.store.interface import JobFilter
from render_service.access.callers import Caller
from render_service.adoption.adopt import adopt
from render_service.server.gateway.errors import no_such_video
from render_service.session.session import Session
from sora_adapter.errors import VideoNotFound

PUBLIC_PREFIX = "video_"
LONGEST_NAME = 512
"""Gateways encode their routing into ids; LiteLLM's have some 300 characters."""

_ID = re.compile(rf"(?:{PUBLIC_PREFIX}|{JOB_PREFIX})(?P<digits>[0-9a-f]{{32}})")


def job_id_of(name: str) -> str | None:
    """Return the job id that a public id or job id means; None for a name of another form."""
    match = _ID.fullmatch(name)
    return JOB_PREFIX + match["digits"] if match else None


def visible_job(ledger: Ledger, caller: Caller, name: str) -> Job | None:
    """Return the job that `name` means to `caller`: a public id, a job id, or the id of the server's video.

    A public id has precedence: another server, such as a gateway behind this one, may use ids of the form.
    """
    job_id = job_id_of(name)
    job = ledger.store.job(job_id) if job_id else None
    if job is not None and caller.may_see(job):
        return job
    if not name or len(name) > LONGEST_NAME:
        return None
    return next(filter(caller.may_see, ledger.jobs(JobFilter(video_id=name))), None)


async def find_job(session: Session, caller: Caller, name: str) -> Job:
    """Return the job that `name` means to `caller`, or raise the refusal of an unknown one.

    A caller who may operate this ledger can name a video that only the server knows: it is adopted.
    """
    job = await asyncio.to_thread(visible_job, session.ledger, caller, name)
    return job or await adopted_job(session, caller, name)


async def adopted_job(session: Session, caller: Caller, name: str) -> Job:
    """Return the job of a video that only the server knows, adopting it; refused if there is none."""
    if Permission.OPERATE in caller.permissions and 0 < len(name) <= LONGEST_NAME:
        try:
            job, _ = await adopt(caller.session(session), name)
        except VideoNotFound:
            pass
        else:
            if caller.may_see(job):
                return job
    raise no_such_video()
