"""Archive a whole account: record every video the server lists, store every finished one.

All progress is in the ledger, so an interrupted archive is simply run again: known videos are not recorded
again, and stored files are not downloaded again.

A video that a submission of this ledger may have created, because its answer was lost or has not arrived yet,
is skipped: if it were adopted, it would be in the ledger twice once the submission is resolved.
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
    """The result of an archive run: counts of videos, and the videos that need attention.

    `listed` = `adopted` + `known` + the number of `left`. `stored` and `thumbnails` count the files that
    this run downloaded, `running` the videos that are not finished yet. Missing thumbnails do not make an
    archive incomplete, because only videos are paid for.
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
        """Whether every finished video that was listed and not skipped is stored."""
        return not self.troubles and not self.lost

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return asdict(self) | {"complete": self.complete}


Watch = Callable[[Archive], None]


async def archive(session: Session, watch: Watch | None = None) -> Archive:
    """Record and store every video of the server; `OperationUnsupported` if the server cannot list them.

    `watch` is called after every video. Temporary errors are retried for a while, then raised; run again, the
    archive continues where it stopped.
    """
    profile = session.profile()
    require(profile, "list")
    done, turn = Archive(), asyncio.Semaphore(AT_ONCE)
    async with session.connect(profile) as client:
        async for page in pages(client):
            jobs = [await _adopt_listed(session, profile, video, done) for video in page.observations]
            await _await_all(
                _store_one(session, profile, job, done, turn, watch) for job in jobs if job is not None
            )
    return done


async def _adopt_listed(session: Session, profile: Profile, video: Observation, done: Archive) -> Job | None:
    """Return the job of a listed video, adopting it if necessary; None if it is skipped."""
    done.listed += 1
    try:
        job, adopted_now = await take_in(session, profile, video, source="list")
    except MayBeOurs as ours:
        done.left.append({"video_id": video.video_id, "job_id": ours.job_id})
        return None
    done.adopted += adopted_now
    done.known += not adopted_now
    return job


async def _await_all(tasks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all tasks; the first failure cancels the others and is raised unwrapped."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from group_error


async def _store_one(  # the parameters of one task
    session: Session,
    profile: Profile,
    job: Job,
    done: Archive,
    turn: asyncio.Semaphore,
    watch: Watch | None,
) -> None:
    """Store video and thumbnail of a finished job; record a failure in `done.troubles` and continue."""
    async with turn:
        try:
            await _store_files(session, profile, job, done)
        except ServerTrouble:
            raise
        except UNUSABLE as trouble:
            done.troubles.append({"video_id": job.video_id or "", "error": str(trouble)})
        if watch:
            watch(done)


async def _store_files(session: Session, profile: Profile, job: Job, done: Archive) -> None:
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
