"""Adopt videos created outside this ledger as ``render.adopted``; from then on they are ordinary jobs.

An adoption is a claim (`render_service.session.event_ids`), so a ledger holds each video once, however often
it is adopted: the later of two adoptions finds the job of the earlier (`ledger.errors.EventIdConflict`).

A video that an open submission may have created is not adopted: that would hide the outcome and the cost of
the submission. The server is queried for the video before the ledger is queried for open submissions, so if a
submission created the video, its intent is already in the ledger.

The cost of an adopted video was paid elsewhere and is unknown here; see `render_service.session.session`.

`archive` does this with a whole account: it records every video the server lists and stores every finished
one. All progress is in the ledger, so an interrupted archive is simply run again: known videos are not
rerecorded, and stored files are not downloaded again.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from ledger.errors import EventIdConflict
from ledger.events import Event, RenderAdopted, StatusObserved
from ledger.job import Job
from ledger.private import Private
from ledger.record import new_job_id
from ledger.store.filters import JobFilter
from ledger.store.interface import NEW
from ledger.terms import State, Status, Variant
from render_service.recovery.assignment import doubts_about, may_be_of
from render_service.recovery.attempts import OPEN, Attempt, attempt_of, was_sent_to
from render_service.recovery.listing import pages
from render_service.recovery.reconcile import reconcile_job
from render_service.recovery.search import find_known_job
from render_service.runtime.errors import AssetUnusable, MayBeOurs
from render_service.runtime.settings import SANDBOX, Settings
from render_service.runtime.telemetry import Trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from render_service.session.event_ids import claim_id
from render_service.session.servers import address_in_use, server_name_in_use
from render_service.session.session import Session
from render_service.settlement.settle import fetch, refresh, settle
from render_service.submission.retry import patiently
from sora_adapter.errors import AnswerError, ContentTruncated, ServerTrouble
from sora_adapter.models import Observation
from sora_adapter.profiles import Profile, require


async def look_up(
    settings: Settings, trace: Trace, video_id: str, *, even_if_retired: bool = False
) -> Observation:
    """Return the server's description of a video; needs no ledger and records nothing."""
    profile = find_usable_profile(settings, None, even_if_retired=even_if_retired)
    async with connection(settings, trace, profile) as client:
        return await client.observe(video_id)


async def adopt(session: Session, video_id: str) -> tuple[Job, bool]:
    """Return the job of a video, adopting the video if it is unknown, and whether it was adopted now.

    `VideoNotFound` if the server does not know it either.
    """
    profile = session.profile()
    known = await find_known_job(session, profile, video_id)
    if known is not None:
        return known, False
    async with session.connect(profile) as client:
        observation = await client.observe(video_id)
    return await adopt_or_recover(session, profile, observation)


async def adopt_or_recover(session: Session, profile: Profile, observation: Observation) -> tuple[Job, bool]:
    """Adopt a video requested by id, or recover the lost submission that created it.

    `MayBeOurs` if it cannot be decided which; the message names the next command.
    """
    try:
        return await take_in(session, profile, observation, source="poll")
    except MayBeOurs as ours:
        if not profile.can_list:
            raise
        settlement = await reconcile_job(session, await session.job(ours.job_id))
        if settlement.job.video_id == observation.video_id:
            return settlement.job, False
        if settlement.is_open:
            raise MayBeOurs(f"{ours} ({settlement.why})", ours.job_id) from ours
    return await take_in(session, profile, observation, source="poll")


async def take_in(
    session: Session, profile: Profile, observation: Observation, *, source: str
) -> tuple[Job, bool]:
    """Adopt an observed video and, if it is final, record its status; `source` is ``poll`` or ``list``.

    `MayBeOurs` if an open submission may have created it.
    """
    known = await find_known_job(session, profile, observation.video_id)
    if known is not None:
        return known, False
    await _refuse_if_ours(session, profile, observation)
    server = server_name_in_use(session.settings, profile.name)
    job_id, event_id = new_job_id(), claim_id(server, observation.video_id)
    drafts = [
        session.draft(
            make_adoption(profile, observation, _choose_server(session, profile)), event_id=event_id
        )
    ]
    if observation.is_final:
        drafts.append(session.draft(make_observation(observation, source), causation_id=event_id))
    try:
        await session.append(job_id, NEW, drafts)
    except EventIdConflict:  # another process adopted it concurrently
        earlier = await asyncio.to_thread(session.ledger.event, event_id)
        if earlier is None:
            raise
        return await session.job(earlier.stream), False
    return await session.job(job_id), True


async def _refuse_if_ours(session: Session, profile: Profile, observation: Observation) -> None:
    attempts = await asyncio.to_thread(_find_unsettled, session, profile)
    if not attempts:
        return
    async with session.connect(profile) as client:
        here = [attempt for attempt in attempts if was_sent_to(attempt, profile.name, client.base_url)]
    matching = [attempt for attempt in here if doubts_about(attempt, observation) == ()]
    similar = [a for a in here if a.job.state in OPEN and may_be_of(a, observation)]
    for attempt in (*matching, *similar):
        raise MayBeOurs(_refusal(attempt, observation), attempt.job.job_id)


def _find_unsettled(session: Session, profile: Profile) -> list[Attempt]:
    """Return the attempts whose outcome is unknown, and those presumed to have created nothing.

    Attempts of all profiles are included, because two profiles may name one server.
    """
    jobs = session.ledger.jobs(JobFilter(states=(*OPEN, State.ABSENT)))
    unsettled = [job for job in jobs if job.outcome is None]
    return [attempt_of(session.ledger, job, profile.takes_effect_s) for job in unsettled]


def _refusal(attempt: Attempt, observation: Observation) -> str:
    name, reconcile = attempt.job.job_id, f"`sora-ledger reconcile {attempt.job.job_id}"
    doubts = doubts_about(attempt, observation)
    difference = f" (it differs in {', '.join(doubts)})" if doubts else ""
    assign = f"{reconcile} --video-id {observation.video_id}` assigns it to that job"
    if attempt.job.state is State.ABSENT:
        problem = f"{observation.video_id} matches {name}, which was presumed to have created nothing"
        return f"{problem}: {assign}, `sora-ledger cancel {name}` ends that job; then repeat the command"
    problem = f"{observation.video_id} may be the video of {name}, whose outcome is unknown{difference}"
    return (
        f"{problem}: {reconcile}` searches for the outcome, {assign}, "
        f"{reconcile} --absent --reason TEXT` records that {name} created no video; then repeat the command"
    )


def _choose_server(session: Session, profile: Profile) -> str | None:
    """Return the base URL to record; None for the embedded sandbox, whose port changes."""
    return None if profile.name == SANDBOX else address_in_use(session.settings, profile)


def make_adoption(profile: Profile, observation: Observation, server: str | None) -> RenderAdopted:
    """Return the event that adopts a video as the server describes it."""
    names = {server_name: name for name, server_name in profile.models.items()}
    return RenderAdopted(
        profile=profile.name,
        video_id=observation.video_id,
        status=observation.status,
        model=names.get(observation.model or "", observation.model),
        size=observation.size,
        seconds=int(observation.seconds) if observation.seconds and observation.seconds.isdecimal() else None,
        prompt=Private.seal("prompt", observation.prompt) if observation.prompt else None,
        remix_video_id=observation.remixed_from_video_id,
        server=server,
    )


def make_observation(observation: Observation, source: str) -> Event:
    """Return the event of an observation from polling (``poll``) or from a listing (``list``)."""
    return StatusObserved(
        video_id=observation.video_id,
        status=observation.status,
        progress=observation.progress,
        source="list" if source == "list" else "poll",
        server_status=observation.server_status,
        error=observation.error,
        completed_at=observation.completed_at,
        expires_at=observation.expires_at,
    )


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
