"""Find the job that a name means to a caller.

A name means a job only to callers who may see it. To others it is unknown, with the same answer and after the
same reads, so nothing shows whether another team has such a video.
"""

import asyncio

from ledger.job import Job
from render_service.access.callers import Caller
from render_service.adoption.adopt import adopt
from render_service.server.gateway.errors import no_such_video
from render_service.server.gateway.projection import may_be_id, visible_job
from render_service.session.session import Session
from sora_adapter.errors import VideoNotFound


async def find_job(session: Session, caller: Caller, name: str, param: str = "video_id") -> Job:
    """Return the job that `name` means to `caller`, or raise the refusal of an unknown one in field `param`.

    A caller who may operate this ledger can name a video that only the server knows: it is adopted.
    """
    job = await asyncio.to_thread(visible_job, session.ledger, caller, name)
    return job or await adopted_job(session, caller, name, param)


async def adopted_job(session: Session, caller: Caller, name: str, param: str = "video_id") -> Job:
    """Return the job of a video that only the server knows, adopting it; refused if there is none."""
    if caller.operates_everything and may_be_id(name):
        try:
            job, _ = await adopt(caller.session(session), name)
        except VideoNotFound:
            pass
        else:
            if caller.may_see(job):
                return job
    raise no_such_video(param)
