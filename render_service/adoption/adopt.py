"""Videos that another tool had made: taken in as ``render.adopted``, and from then on jobs like any other.

An adoption is a claim (`render_service.session.event_ids`), so a ledger holds each video once, whoever
adopts it and however often: the later of two finds the job of the earlier (`ledger.errors.EventIdConflict`).

A video that may be what an open submission created is not adopted: it would hide that submission's outcome,
and its cost. The server is asked about the video before the ledger is asked for open submissions, so the
intent of whoever created it is in the ledger by then.

What such a video cost was paid elsewhere and is unknown here; see `render_service.session.session`.
"""

import asyncio

from ledger.errors import EventIdConflict
from ledger.events import Event, RenderAdopted, StatusObserved
from ledger.job import Job, State
from ledger.private import Private
from ledger.record import new_job_id
from ledger.store.interface import NEW, JobFilter
from render_service.recovery.assignment import doubts_about, may_be_of
from render_service.recovery.attempts import OPEN, Attempt, attempt_of, went_to
from render_service.recovery.reconcile import reconcile_job
from render_service.recovery.search import known_job
from render_service.runtime.errors import MayBeOurs
from render_service.runtime.settings import SANDBOX, Settings
from render_service.runtime.telemetry import Trace
from render_service.session.event_ids import claim_id
from render_service.session.servers import address_in_use, connection, server_name_in_use, usable_profile
from render_service.session.session import Session
from sora_adapter.models import Observation
from sora_adapter.profiles import Profile


async def look_up(
    settings: Settings, trace: Trace, video_id: str, *, even_if_retired: bool = False
) -> Observation:
    """Ask the server about a video; needs no ledger and records nothing."""
    profile = usable_profile(settings, None, even_if_retired=even_if_retired)
    async with connection(settings, trace, profile) as client:
        return await client.observe(video_id)


async def adopt(session: Session, video_id: str) -> tuple[Job, bool]:
    """Return the job of a video, adopted now if the ledger does not know it, and whether it was.

    `VideoNotFound` if the server does not know it either.
    """
    profile = session.profile()
    known = await known_job(session, profile, video_id)
    if known is not None:
        return known, False
    async with session.connect(profile) as client:
        seen = await client.observe(video_id)
    return await adopt_or_recover(session, profile, seen)


async def adopt_or_recover(session: Session, profile: Profile, seen: Observation) -> tuple[Job, bool]:
    """Adopt a video that a person named, or recover the lost submission that created it.

    `MayBeOurs` names the command where it cannot be known which of them it is.
    """
    try:
        return await take_in(session, profile, seen, source="poll")
    except MayBeOurs as ours:
        if not profile.can_list:
            raise
        settlement = await reconcile_job(session, await session.job(ours.job_id))
        if settlement.job.video_id == seen.video_id:
            return settlement.job, False
        if settlement.is_open:
            raise MayBeOurs(f"{ours} ({settlement.why})", ours.job_id) from ours
    return await take_in(session, profile, seen, source="poll")


async def take_in(session: Session, profile: Profile, seen: Observation, *, source: str) -> tuple[Job, bool]:
    """Record a video the server described, and that it is done if it is; `source` is ``poll`` or ``list``.

    `MayBeOurs` if it may be what an open submission created.
    """
    known = await known_job(session, profile, seen.video_id)
    if known is not None:
        return known, False
    await _refuse_if_ours(session, profile, seen)
    server = server_name_in_use(session.settings, profile.name)
    job_id, event_id = new_job_id(), claim_id(server, seen.video_id)
    drafts = [session.draft(adopted(profile, seen, _found_at(session, profile)), event_id=event_id)]
    if seen.is_final:
        drafts.append(session.draft(observed(seen, source), causation_id=event_id))
    try:
        await session.append(job_id, NEW, drafts)
    except EventIdConflict:  # somebody claimed it in between
        first = await asyncio.to_thread(session.ledger.event, event_id)
        if first is None:
            raise
        return await session.job(first.stream), False
    return await session.job(job_id), True


async def _refuse_if_ours(session: Session, profile: Profile, seen: Observation) -> None:
    attempts = await asyncio.to_thread(_unsettled, session, profile)
    if not attempts:
        return
    async with session.connect(profile) as client:
        here = [attempt for attempt in attempts if went_to(attempt, profile.name, client.base_url)]
    fitting = [one for one in here if doubts_about(one, seen) == ()]
    similar = [one for one in here if one.job.state in OPEN and may_be_of(one, seen)]
    for attempt in (*fitting, *similar):
        raise MayBeOurs(_refusal(attempt, seen), attempt.job.job_id)


def _unsettled(session: Session, profile: Profile) -> list[Attempt]:
    """Return the attempts whose outcome is not known, and those that are taken to have created nothing.

    Of every profile: two of them may name one server.
    """
    jobs = session.ledger.jobs(JobFilter(states=(*OPEN, State.ABSENT)))
    unsettled = [job for job in jobs if job.outcome is None]
    return [attempt_of(session.ledger, job, profile.takes_effect_s) for job in unsettled]


def _refusal(attempt: Attempt, seen: Observation) -> str:
    name, again = attempt.job.job_id, f"`sora-ledger reconcile {attempt.job.job_id}"
    doubts = doubts_about(attempt, seen)
    differing = f" (it differs in {', '.join(doubts)})" if doubts else ""
    taking = f"{again} --video-id {seen.video_id}` gives it to that job"
    if attempt.job.state is State.ABSENT:
        what = f"{seen.video_id} fits {name}, which was taken to have created nothing"
        return f"{what}: {taking}, `sora-ledger cancel {name}` ends that job; then repeat the command"
    what = f"{seen.video_id} may be what {name} created, whose outcome is not known{differing}"
    return (
        f"{what}: {again}` looks for it, {taking}, "
        f"{again} --absent --reason TEXT` says that it is another's; then repeat the command"
    )


def _found_at(session: Session, profile: Profile) -> str | None:
    """Return the base URL to record; None for the embedded sandbox, which changes its port."""
    return None if profile.name == SANDBOX else address_in_use(session.settings, profile)


def adopted(profile: Profile, seen: Observation, server: str | None) -> RenderAdopted:
    """Return the event that takes in a video as the server describes it."""
    ours = {theirs: name for name, theirs in profile.models.items()}
    return RenderAdopted(
        profile=profile.name,
        video_id=seen.video_id,
        status=seen.status,
        model=ours.get(seen.model or "", seen.model),
        size=seen.size,
        seconds=int(seen.seconds) if seen.seconds and seen.seconds.isdecimal() else None,
        prompt=Private.seal("prompt", seen.prompt) if seen.prompt else None,
        remix_video_id=seen.remixed_from_video_id,
        server=server,
    )


def observed(seen: Observation, source: str) -> Event:
    """Return the event of an observation that was made by looking (``poll``) or by listing (``list``)."""
    return StatusObserved(
        video_id=seen.video_id,
        status=seen.status,
        progress=seen.progress,
        source="list" if source == "list" else "poll",
        server_status=seen.server_status,
        error=seen.error,
        completed_at=seen.completed_at,
        expires_at=seen.expires_at,
    )
