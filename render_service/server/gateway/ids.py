"""Find the job, or the character, that a name refers to for a caller.

A name refers to a job only for callers who may see it. Others get the same answer as for an unknown name,
after the same reads, so nothing reveals whether another team has such a video. The same is true of
characters. Objects that only the server knows, such as a file uploaded there, can be named by operators
without a team.
"""

import asyncio

from ledger.job import Job
from ledger.record import Record
from render_service.access.callers import Caller
from render_service.adoption.adopt import adopt
from render_service.adoption.characters import find_character, team_of
from render_service.server.gateway.projection import may_be_id, visible_job
from render_service.server.gateway.refusals import Refusal, no_such_video
from render_service.session.session import Session
from sora_adapter.errors import VideoNotFound

SHOWN = 200
"""Maximum characters of a name that a refusal repeats."""


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


async def known_character(session: Session, caller: Caller, name: str, param: str) -> Record | None:
    """Return the record of a character of the caller; None for one that only the server may know."""
    record = await asyncio.to_thread(find_character, session.ledger, name) if may_be_id(name) else None
    is_own = record is not None and caller.owns(record.actor, team_of(record))
    if not is_own and not caller.operates_everything:
        raise no_such_character(name, param)
    return record


def no_such_character(name: str, param: str) -> Refusal:
    """Return the refusal for a character that does not exist, or is not the caller's."""
    message = f"Character with id '{name[:SHOWN]}' not found."
    return Refusal(
        404,
        "character_not_found",
        message,
        param=param,
        expected="the id of one of your characters",
        found=name[:SHOWN],
    )


def check_file(caller: Caller, file_id: str, param: str) -> None:
    """Refuse a file at the server, which no team owns, to callers who may not name server-only objects."""
    if not caller.operates_everything:
        message = (
            f"File with id '{file_id[:SHOWN]}' not found. This gateway keeps no files: send the image "
            "itself, or its URL."
        )
        raise Refusal(
            404,
            "file_not_found",
            message,
            param=param,
            expected="the image itself, or its URL",
            found=file_id[:SHOWN],
        )
