"""What a server has that no submission of this ledger accounts for.

The server is asked before the ledger is read: whatever it shows by then was asked for by an intent that is
in the ledger by then, so an attempt that has only just begun is seen as open, and its video is not taken for
a lost one.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

from ledger.events import (
    Event,
    RenderAdopted,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRecovered,
    WebhookReceived,
)
from ledger.job import Job, State
from ledger.log.ledger import Ledger
from ledger.store.interface import JobFilter, RecordFilter
from render_service.recovery.assignment import doubts_about
from render_service.recovery.attempts import Attempt
from render_service.recovery.clocks import Flight, doubt_times
from render_service.recovery.listing import Listing, read_list
from render_service.session.event_ids import claim_id
from render_service.session.servers import server_of
from render_service.session.session import Session
from render_service.submission.retry import patiently
from render_service.webhooks.matching import inbox_of
from sora_adapter.errors import ServerRefused, ServerUnreadable, VideoNotFound
from sora_adapter.models import Observation, Page
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient


@dataclass(frozen=True)
class Sightings:
    """The videos no submission accounts for, and what the list that showed them is worth.

    `unclaimed` belong to no job, `adopted` to one that was taken in without a submission. `by_webhook` names
    those that only a webhook told of. `listed` is None where the server cannot be searched, else how many
    videos it showed. `knows_ours` is False where none of the videos this ledger has from it was among them:
    then it may be another account's list. `doubt` is why there may be more than this, `times_doubt` why the
    times of these prove nothing; `stopped` that the list was not read to its end on purpose.
    """

    unclaimed: tuple[Observation, ...]
    adopted: tuple[Observation, ...]
    by_webhook: frozenset[str]
    listed: int | None
    knows_ours: bool
    doubt: str | None
    times_doubt: str | None = None
    stopped: bool = False


async def known_job(session: Session, profile: Profile, video_id: str) -> Job | None:
    """Return the job of a profile's video; None if the ledger has none."""
    where = JobFilter(profile=profile.name, video_id=video_id)
    jobs = await asyncio.to_thread(session.ledger.jobs, where, 1)
    return jobs[0] if jobs else None


async def look(
    session: Session, client: "VideosClient", after: int, *, to_the_end: bool = False
) -> Sightings:
    """Look for everything that may have been created since position `after` of the ledger.

    A list that is seen to be newest first is read to the first page with a video claimed before `after`,
    unless `to_the_end`.
    """
    profile = client.profile
    before = (await asyncio.to_thread(session.ledger.head)).size

    async def is_far_enough(page: Page) -> bool:
        ids = [seen.video_id for seen in page.observations]
        return await asyncio.to_thread(_has_claim_before, session.ledger, profile.name, ids, after)

    try:
        listing = await read_list(client, None if to_the_end else is_far_enough) if profile.can_list else None
        doubt = listing.doubt if listing else None
    except (VideoNotFound, ServerUnreadable) as error:  # there is no list, whatever the profile says
        listing, doubt = None, str(error)
    shown = {seen.video_id for seen in listing.videos} if listing else set()
    announced, unknown = await _announced(session, client, after, shown)
    if unknown:
        doubt = doubt or f"a webhook told of {unknown[0]}, which the server does not show"
    sightings = await asyncio.to_thread(_sightings, session, profile, listing, announced, doubt)
    if sightings.doubt is None:
        missing = await asyncio.to_thread(_missing, session.ledger, client, shown, before)
        sightings = replace(sightings, doubt=missing)
    return sightings


async def with_prompts(
    client: "VideosClient", attempts: Sequence[Attempt], sightings: Sightings
) -> Sightings:
    """Ask for each unclaimed video that may be of an attempt and was listed without its prompt."""
    described = []
    for seen in sightings.unclaimed:
        is_like_ours = any(doubts_about(attempt, seen) is not None for attempt in attempts)
        described.append(await _described(client, seen) if seen.prompt is None and is_like_ours else seen)
    return replace(sightings, unclaimed=tuple(described))


async def _described(client: "VideosClient", seen: Observation) -> Observation:
    try:
        asked = await patiently(partial(client.observe, seen.video_id))
    except (VideoNotFound, ServerUnreadable, ServerRefused):  # it stays without a prompt: a person decides
        return seen
    return replace(asked, video_id=seen.video_id, created_at=asked.created_at or seen.created_at)


def _has_claim_before(ledger: Ledger, profile: str, video_ids: Sequence[str], position: int) -> bool:
    claims = (ledger.event(claim_id(profile, video_id)) for video_id in video_ids)
    return any(claim is not None and claim.position < position for claim in claims)


async def _announced(
    session: Session, client: "VideosClient", after: int, listed: set[str]
) -> tuple[list[Observation], list[str]]:
    """Ask about the videos that webhooks named since `after`, and that neither list nor ledger knows.

    Returns what the server said of them, and the ids it does not know: it may have deleted such a video, or
    another replica of it may have it.
    """
    inbox = RecordFilter(stream=inbox_of(client.profile.name), type=WebhookReceived.type)
    records = await asyncio.to_thread(lambda: list(session.ledger.read(inbox, after=after)))
    named = {r.event.video_id for r in records if isinstance(r.event, WebhookReceived)}
    found, unknown = [], []
    for video_id in sorted(named - listed):
        if await asyncio.to_thread(is_claimed, session.ledger, client.profile.name, video_id):
            continue
        try:
            found.append(await patiently(partial(client.observe, video_id)))
        except VideoNotFound:
            unknown.append(video_id)
    return found, unknown


def _sightings(
    session: Session,
    profile: Profile,
    listing: Listing | None,
    announced: Sequence[Observation],
    doubt: str | None,
) -> Sightings:
    ledger, listed = session.ledger, listing.videos if listing else ()
    shown = {seen.video_id: seen for seen in (*listed, *announced)}
    claims = {video_id: _claimed_by(ledger, profile.name, video_id) for video_id in shown}
    known = sum(claim is not None for claim in claims.values())
    ours = [seen for name, seen in shown.items() if claims[name] == "submission"]
    is_accounted_for = len(ours) == len(shown)
    all_times = [seen.created_at for seen in shown.values() if seen.created_at is not None]
    return Sightings(
        unclaimed=tuple(seen for name, seen in shown.items() if claims[name] is None),
        adopted=tuple(seen for name, seen in shown.items() if claims[name] == "adoption"),
        by_webhook=frozenset(seen.video_id for seen in announced),
        listed=len(listed) if listing else None,
        knows_ours=known > 0 or not _has_videos(ledger, profile.name),
        doubt=doubt,
        times_doubt=None if is_accounted_for else _doubt_times(session, profile, ours, all_times),
        stopped=listing.stopped if listing else False,
    )


def _doubt_times(
    session: Session, profile: Profile, ours: Iterable[Observation], all_times: Sequence[int]
) -> str | None:
    """Return why the times of a list prove nothing; `ours` are the videos that a submission claimed."""
    flights = (_flight(session.ledger, profile, seen) for seen in ours)
    return doubt_times([flight for flight in flights if flight], all_times, session.clock())


def _flight(ledger: Ledger, profile: Profile, seen: Observation) -> Flight | None:
    """Return when the video of a submission may have been created; None where that is not recorded."""
    jobs = ledger.jobs(JobFilter(profile=profile.name, video_id=seen.video_id), 1)
    history = ledger.history(jobs[0].job_id) if jobs else []
    got = next((record for record in history if _gives(record.event, seen.video_id)), None)
    if got is None or seen.created_at is None:
        return None
    assert isinstance(got.event, SubmissionAccepted | SubmissionRecovered)  # they give a video
    attempt_id = got.event.attempt_id
    [sent] = (record for record in history if _begins(record.event, attempt_id))
    intended_at, heard_at = (datetime.fromisoformat(record.recorded_at) for record in (sent, got))
    is_answered = isinstance(got.event, SubmissionAccepted)
    until = heard_at if is_answered else intended_at + timedelta(seconds=profile.takes_effect_s)
    return Flight(jobs[0].job_id, seen.video_id, seen.created_at, intended_at, until, is_answered)


def _begins(event: Event, attempt_id: str) -> bool:
    return isinstance(event, SubmissionIntended) and event.attempt_id == attempt_id


def _gives(event: Event, video_id: str) -> bool:
    return isinstance(event, SubmissionAccepted | SubmissionRecovered) and event.video_id == video_id


def _claimed_by(ledger: Ledger, profile: str, video_id: str) -> Literal["submission", "adoption"] | None:
    """Return how a job got the video, None if none has it; also one from before there were claims."""
    claim = ledger.event(claim_id(profile, video_id))
    if claim is not None:
        return "adoption" if isinstance(claim.event, RenderAdopted) else "submission"
    jobs = ledger.jobs(JobFilter(profile=profile, video_id=video_id), 1)
    if not jobs:
        return None
    return "adoption" if jobs[0].operation is None else "submission"


def is_claimed(ledger: Ledger, profile: str, video_id: str) -> bool:
    """Say whether a job has the video."""
    return _claimed_by(ledger, profile, video_id) is not None


def _missing(ledger: Ledger, client: "VideosClient", shown: set[str], before: int) -> str | None:
    """Say which video of a job that waits for it was not shown: then not everything was.

    A server with several replicas lists what one of them has. What was recorded after `before`, while the
    list was read, proves nothing.
    """
    waiting = ledger.jobs(JobFilter(states=(State.RUNNING, State.COMPLETED), profile=client.profile.name))
    for job in waiting:
        is_asked_for = job.operation is not None and job.position <= before
        hidden = is_asked_for and job.video_id not in shown and not _may_have_expired(job, ledger)
        if hidden and server_of(ledger, job) in {client.base_url, None}:
            return f"it does not show {job.video_id}, for which {job.job_id} waits"
    return None


def _may_have_expired(job: Job, ledger: Ledger) -> bool:
    return job.expires_at is not None and job.expires_at <= ledger.store.now().timestamp()


def _has_videos(ledger: Ledger, profile: str) -> bool:
    there = (State.RUNNING, State.COMPLETED, State.STORED, State.FAILED, State.LOST, State.ABANDONED)
    return bool(ledger.jobs(JobFilter(states=there, profile=profile), 1))
