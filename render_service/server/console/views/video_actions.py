"""What a person can do with a video from its page; each is recorded as theirs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import FormData

from decision.rules.roles import Permission
from ledger.job import Job
from ledger.terms import Variant
from render_service.adoption.server_library import delete
from render_service.runtime.errors import BadInput, NotReady
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import Action, Done, Visit, text_of
from render_service.settlement.overdue import give_up
from render_service.settlement.settle import fetch
from render_service.submission.resume import cancel, resume
from sora_adapter.errors import AdapterError, ContentExpired, ContentGone, loggable

PAGE = "/videos/{name}"
LONGEST_REASON = 2_000


async def _job(visit: Visit) -> Job:
    return await asyncio.to_thread(find_job, visit, visit.part("name"))


def _reason(form: FormData) -> str | None:
    text = text_of(form, "reason")
    if len(text) > LONGEST_REASON:
        raise BadInput(f"the reason has {len(text):,} characters, at most {LONGEST_REASON:,} are recorded")
    return text or None


@contextmanager
def _at_server(visit: Visit, doing: str) -> Iterator[None]:
    """Say what became of a call to the server; only operators read its words, which may quote its key."""
    try:
        yield
    except AdapterError as error:
        visit.session.log.warning("console.server_failed", doing=doing, **loggable(error))
        because = f": {error}" if visit.may(Permission.OPERATE) else "; the log of this server says why"
        raise NotReady(f"the server did not {doing}, so nothing was recorded{because}") from error


def _done(job: Job, message: str) -> Done:
    return Done(f"/videos/{job.job_id}", message)


async def cancel_job(visit: Visit, form: FormData) -> Done:
    """Withdraw a job that was not sent."""
    job = await cancel(visit.session, await _job(visit), _reason(form))
    return _done(job, "The request was cancelled, and its reservation released.")


async def delete_video(visit: Visit, form: FormData) -> Done:
    """Delete a video at its server."""
    job = await _job(visit)
    with _at_server(visit, "delete the video"):
        job = await delete(visit.session, job, _reason(form))
    return _done(job, "The video was deleted at the server.")


async def resume_job(visit: Visit, _: FormData) -> Done:
    """Submit a job again that is known to have created nothing."""
    job = await _job(visit)
    with _at_server(visit, "take the request"):
        placed = await resume(visit.session, job)
    return _done(placed.job, f"The request was sent again: it is {placed.job.state} now.")


async def give_up_job(visit: Visit, form: FormData) -> Done:
    """Close a job whose render never ends."""
    reason = _reason(form)
    if reason is None:
        raise BadInput("a reason is required: the record explains the money with it")
    job = await give_up(visit.session, await _job(visit), reason)
    return _done(job, "The render was given up; its estimate counts as spent.")


async def fetch_pictures(visit: Visit, _: FormData) -> Done:
    """Store the thumbnail and the spritesheet, as far as the server has them."""
    job = await _job(visit)
    missing = [variant for variant in (Variant.THUMBNAIL, Variant.SPRITESHEET) if variant not in job.assets]
    fetched, gone = list[str](), list[str]()
    for variant in missing:
        try:
            with _at_server(visit, f"send the {variant}"):
                job = await fetch(visit.session, job, variant)
        except NotReady as refused:
            if not isinstance(refused.__cause__, ContentExpired | ContentGone) and not fetched:
                raise
            gone.append(variant.value)
        else:
            fetched.append(variant.value)
    if not fetched:
        raise NotReady(
            f"the server no longer has the {' and the '.join(gone) or 'files'}; nothing was recorded"
        )
    return _done(job, f"Stored: the {' and the '.join(fetched)}.")


ACTIONS = (
    Action(f"{PAGE}/cancel", PAGE, Permission.REQUEST, cancel_job),
    Action(f"{PAGE}/delete", PAGE, Permission.REQUEST, delete_video),
    Action(f"{PAGE}/resume", PAGE, Permission.REQUEST, resume_job),
    Action(f"{PAGE}/give-up", PAGE, Permission.OPERATE, give_up_job),
    Action(f"{PAGE}/fetch", PAGE, Permission.READ, fetch_pictures),
)
