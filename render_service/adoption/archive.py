"""Archiving a whole account: every video the server lists is recorded, every finished one is stored.

Nothing is remembered but what is recorded, so an archive that was interrupted is begun again and goes on: a
video that is known is not recorded a second time, a file that is stored is not fetched a second time.

A video that may be the answer to a submission of ours, lost or still under way, is left alone: adopted, it
would be in the ledger twice once the answer is found.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from ledger.events import Status, Variant
from ledger.job import Job, State
from render_service.adoption.adopt import take_in
from render_service.recovery.listing import pages
from render_service.runtime.errors import AssetUnusable, MayBeOurs
from render_service.session.session import Session
from render_service.settlement.settle import fetch, refresh, settle
from render_service.submission.retry import patiently
from sora_adapter.capabilities import require
from sora_adapter.errors import AnswerError, ContentTruncated, ServerTrouble
from sora_adapter.models import Observation
from sora_adapter.profiles import Profile

AT_ONCE = 4
UNUSABLE = (AnswerError, ContentTruncated, AssetUnusable)
FINISHED = (State.COMPLETED, State.STORED)


@dataclass
class Archive:
    """What an archiving did: counts of videos, and those that somebody should look at.

    `listed` = `adopted` + `known` + the number of `left`. `stored` and `thumbnails` count the files that were
    fetched now, `running` the videos to come back for. An archive is complete without the thumbnails that
    could not be stored: only videos are paid for.
    """

    listed: int = 0
    adopted: int = 0
    known: int = 0
    stored: int = 0
    thumbnails: int = 0
    running: int = 0
    failed: int = 0
    lost: int = 0
    left: list[dict[str, str]] = field(default_factory=list)
    troubles: list[dict[str, str]] = field(default_factory=list)
    missing_thumbnails: list[dict[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every finished video that was listed, and not left alone, is here."""
        return not self.troubles and not self.lost

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"complete": self.complete}


Watch = Callable[[Archive], None]


async def archive(session: Session, watch: Watch | None = None) -> Archive:
    """Record and store everything the server has; `OperationUnsupported` where it cannot be listed.

    `watch` is told after every video. Passing trouble is waited out for a while, then raised: begun again,
    the archive goes on where it stopped.
    """
    profile = session.profile()
    require(profile, "list")
    done, turn = Archive(), asyncio.Semaphore(AT_ONCE)
    async with session.connect(profile) as client:
        async for page in pages(client):
            jobs = [await _taken_in(session, profile, seen, done) for seen in page.observations]
            await _together(
                _kept(session, profile, job, done, turn, watch) for job in jobs if job is not None
            )
    return done


async def _taken_in(session: Session, profile: Profile, seen: Observation, done: Archive) -> Job | None:
    """Return the job of a listed video, adopted if need be; None if it is left alone."""
    done.listed += 1
    try:
        job, now = await take_in(session, profile, seen, source="list")
    except MayBeOurs as ours:
        done.left.append({"video_id": seen.video_id, "job_id": ours.job_id})
        return None
    done.adopted += now
    done.known += not now
    return job


async def _together(tasks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all; the first that fails ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except ExceptionGroup as several:
        raise several.exceptions[0] from several


async def _kept(  # what one video needs
    session: Session,
    profile: Profile,
    job: Job,
    done: Archive,
    turn: asyncio.Semaphore,
    watch: Watch | None,
) -> None:
    """Store video and thumbnail of a job that is done; count what could not be had and go on."""
    async with turn:
        try:
            await _keep(session, profile, job, done)
        except ServerTrouble:
            raise
        except UNUSABLE as trouble:
            done.troubles.append({"video_id": job.video_id or "", "error": str(trouble)})
        if watch:
            watch(done)


async def _keep(session: Session, profile: Profile, job: Job, done: Archive) -> None:
    if job.state is State.RUNNING:
        job = await patiently(partial(refresh, session, job))
    if job.state is State.FAILED:
        job = await settle(session, job, interval_s=1, timeout_s=0)
    done.running += job.state is State.RUNNING
    done.failed += job.state is State.FAILED
    done.lost += job.state is State.LOST
    if job.status is not Status.COMPLETED or job.state not in FINISHED:
        return
    if profile.offers(Variant.VIDEO):
        job, fetched = await _fetch(session, job, Variant.VIDEO)
        done.stored += fetched
    if profile.offers(Variant.THUMBNAIL) and job.state in FINISHED:
        try:
            job, fetched = await _fetch(session, job, Variant.THUMBNAIL)
        except ServerTrouble:
            raise
        except UNUSABLE as trouble:
            done.missing_thumbnails.append({"video_id": job.video_id or "", "error": str(trouble)})
        else:
            done.thumbnails += fetched


async def _fetch(session: Session, job: Job, variant: Variant) -> tuple[Job, bool]:
    """Return the job with the variant stored, and whether it was fetched now."""
    before = job.assets.get(variant)
    job = await patiently(partial(fetch, session, job, variant))
    return job, job.assets.get(variant) != before
