"""Find videos on a server that no submission of this ledger accounts for.

The server is asked before the ledger is read: anything that it shows by then was requested by an intent that
is in the ledger by then. So an attempt that has just begun appears as open, and its video is not mistaken for
a lost one.

A server stamps videos with its own clock. Its times are trusted only once it has stamped one of our
submissions correctly and none incorrectly. The HTTP header ``Date`` proves neither: a proxy with another
clock may have written it (docs/decisions/0134).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ledger.events import (
    SubmissionAccepted,
    SubmissionIntended,
    WebhookReceived,
)
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.filters import JobFilter, RecordFilter
from ledger.terms import State
from render_service.recovery.assignment import doubts_about
from render_service.recovery.attempts import CLOCKS_DIFFER, Attempt
from render_service.recovery.listing import Listing, Sightings, read_list
from render_service.session.event_ids import claim_id
from render_service.session.history import JobHistory
from render_service.session.servers import address_in_use, is_at, job_of_video, server_name
from render_service.session.session import Session
from render_service.submission.retry import patiently
from render_service.webhooks.inbox import inbox_of
from sora_adapter.errors import ServerRefused, ServerUnreadable, VideoNotFound
from sora_adapter.models import Observation, Page
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient


ROUNDED = timedelta(seconds=60)
"""Tolerance for the rounding of two videos' times; a clock is proven right with this much to spare."""

COARSE_S = 300
"""Times that are all multiples of this are rounded to it, or to hours or days."""


@dataclass(frozen=True)
class Flight:
    """A submission and the creation time its listed video shows.

    The video was created between `intended_at` and `until`, which is when its answer was recorded or, if the
    answer was lost (`is_answered` is False), when the call could no longer take effect.
    """

    job_id: str
    video_id: str
    created_at: int
    intended_at: datetime
    until: datetime
    is_answered: bool

    @property
    def is_impossible(self) -> bool:
        """Whether a clock that agrees with ours cannot have shown this time."""
        since = int((self.intended_at - CLOCKS_DIFFER).timestamp())
        return not since <= self.created_at <= (self.until + CLOCKS_DIFFER).timestamp()

    @property
    def proves_the_clock(self) -> bool:
        """Whether the clock agreed with ours, at whatever moment of the flight the video was created."""
        may_differ = (CLOCKS_DIFFER - ROUNDED).total_seconds()
        behind, ahead = (
            self.until.timestamp() - self.created_at,
            self.created_at - self.intended_at.timestamp(),
        )
        return self.is_answered and behind <= may_differ and ahead <= may_differ


def doubt_times(flights: Sequence[Flight], times: Iterable[int], now: datetime) -> str | None:
    """Return why the times of a server prove nothing; None if they can be trusted.

    `flights` are all submissions whose videos it lists with a time, `times` the times of all videos it lists.
    """
    times = list(times)
    for flight in flights:
        if flight.is_impossible:
            shown, sent = _utc(flight.created_at), _utc(flight.intended_at.timestamp())
            return f"{flight.video_id} was requested by {flight.job_id} at {sent}, and it says {shown}"
    latest = max(times, default=0)
    if latest > (now + CLOCKS_DIFFER).timestamp():
        return f"it says that a video was created at {_utc(latest)}, which is in the future"
    if times and all(time % COARSE_S == 0 for time in times):
        return f"all of them are multiples of {COARSE_S} s, so they may be rounded"
    if not any(flight.proves_the_clock for flight in flights):
        return "none of this ledger's videos in its list proves that its clock agrees with ours"
    return None


def _utc(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


async def find_known_job(session: Session, profile: Profile, video_id: str) -> Job | None:
    """Return the job of a video at the server of a profile; None if the ledger has none."""
    address = address_in_use(session.settings, profile)
    return await asyncio.to_thread(job_of_video, session.ledger, profile.name, address, video_id)


async def look(
    session: Session, client: "VideosClient", after: int, *, to_the_end: bool = False
) -> Sightings:
    """Search for everything that may have been created since position `after` of the ledger.

    A list that is evidently newest first is read to the first page with a video claimed before `after`,
    unless `to_the_end`.
    """
    profile = client.profile
    before = (await asyncio.to_thread(session.ledger.head)).size

    async def is_far_enough(page: Page) -> bool:
        ids = [video.video_id for video in page.observations]
        return await asyncio.to_thread(_has_claim_before, session.ledger, client, ids, after)

    try:
        listing = await read_list(client, None if to_the_end else is_far_enough) if profile.can_list else None
        doubt = listing.doubt if listing else None
    except (VideoNotFound, ServerUnreadable) as error:  # it has no list, despite its profile
        listing, doubt = None, str(error)
    shown = {video.video_id for video in listing.videos} if listing else set()
    announced, unknown = await _fetch_announced(session, client, after, shown)
    if unknown:
        doubt = doubt or f"a webhook announced {unknown[0]}, which the server does not show"
    sightings = await asyncio.to_thread(_sightings, session, client, listing, announced, doubt)
    if sightings.doubt is None:
        missing = await asyncio.to_thread(_missing, session.ledger, client, shown, before)
        sightings = replace(sightings, doubt=missing)
    return sightings


async def with_prompts(
    client: "VideosClient", attempts: Sequence[Attempt], sightings: Sightings
) -> Sightings:
    """Fetch each unclaimed video that may belong to an attempt and was listed without its prompt."""
    described = []
    for video in sightings.unclaimed:
        is_like_ours = any(doubts_about(attempt, video) is not None for attempt in attempts)
        described.append(await _describe(client, video) if video.prompt is None and is_like_ours else video)
    return replace(sightings, unclaimed=tuple(described))


async def _describe(client: "VideosClient", video: Observation) -> Observation:
    try:
        observed = await patiently(partial(client.observe, video.video_id))
    except (VideoNotFound, ServerUnreadable, ServerRefused):  # without a prompt, a person decides
        return video
    return replace(observed, video_id=video.video_id, created_at=observed.created_at or video.created_at)


def _has_claim_before(
    ledger: Ledger, client: "VideosClient", video_ids: Sequence[str], position: int
) -> bool:
    profile = client.profile.name
    names = (server_name(profile, client.base_url), profile)  # older claims have the name of the profile
    claims = (ledger.event(claim_id(name, video_id)) for video_id in video_ids for name in names)
    return any(claim is not None and claim.position < position for claim in claims)


async def _fetch_announced(
    session: Session, client: "VideosClient", after: int, listed: set[str]
) -> tuple[list[Observation], list[str]]:
    """Fetch the videos that webhooks announced since `after` and that neither list nor ledger knows.

    Returns the server's answers and the ids it does not know: it may have deleted such a video, or another
    replica may have it.
    """
    inbox = RecordFilter(stream=inbox_of(client.profile.name), type=WebhookReceived.type)
    records = await asyncio.to_thread(lambda: list(session.ledger.read(inbox, after=after)))
    named = {r.event.video_id for r in records if isinstance(r.event, WebhookReceived)}
    announced, unknown = [], []
    for video_id in sorted(named - listed):
        known = await asyncio.to_thread(
            job_of_video, session.ledger, client.profile.name, client.base_url, video_id
        )
        if known is not None:
            continue
        try:
            announced.append(await patiently(partial(client.observe, video_id)))
        except VideoNotFound:
            unknown.append(video_id)
    return announced, unknown


def _sightings(
    session: Session,
    client: "VideosClient",
    listing: Listing | None,
    announced: Sequence[Observation],
    doubt: str | None,
) -> Sightings:
    ledger, profile, listed = session.ledger, client.profile, listing.videos if listing else ()
    shown = {video.video_id: video for video in (*listed, *announced)}
    jobs = {name: job_of_video(ledger, profile.name, client.base_url, name) for name in shown}
    submitted = {name: job for name, job in jobs.items() if job and job.operation is not None}
    times_doubt = None
    if len(submitted) < len(shown):
        ours = [(job, shown[name]) for name, job in submitted.items()]
        times_doubt = _doubt_times(session, ours, shown.values(), profile.takes_effect_s)
    return Sightings(
        unclaimed=tuple(video for name, video in shown.items() if jobs[name] is None),
        adopted=tuple(video for name, video in shown.items() if jobs[name] and name not in submitted),
        by_webhook=frozenset(video.video_id for video in announced),
        listed=len(listed) if listing else None,
        knows_ours=any(jobs.values()) or not _has_videos(ledger, profile.name),
        doubt=doubt,
        times_doubt=times_doubt,
        stopped=listing.stopped if listing else False,
    )


def _doubt_times(
    session: Session,
    ours: Iterable[tuple[Job, Observation]],
    shown: Iterable[Observation],
    takes_effect_s: float,
) -> str | None:
    """Return why the times of a list prove nothing; `ours` are the videos that a submission claimed."""
    flights = [_flight(session.ledger, job, video, takes_effect_s) for job, video in ours]
    times = [video.created_at for video in shown if video.created_at is not None]
    return doubt_times([flight for flight in flights if flight], times, session.clock())


def _flight(ledger: Ledger, job: Job, video: Observation, takes_effect_s: float) -> Flight | None:
    """Return when the video of a submission may have been created; None if the server shows no time."""
    history = JobHistory.of(ledger, job)
    got = next((claim for claim in history.claims if claim.event.video_id == video.video_id), None)
    if got is None or video.created_at is None:
        return None
    attempt_id = got.event.attempt_id
    [sent] = (entry for entry in history.all_of(SubmissionIntended) if entry.event.attempt_id == attempt_id)
    intended_at, heard_at = (datetime.fromisoformat(entry.record.recorded_at) for entry in (sent, got))
    is_answered = isinstance(got.event, SubmissionAccepted)
    until = heard_at if is_answered else intended_at + timedelta(seconds=takes_effect_s)
    return Flight(job.job_id, video.video_id, video.created_at, intended_at, until, is_answered)


def _missing(ledger: Ledger, client: "VideosClient", shown: set[str], before: int) -> str | None:
    """Record that a job's expected video was not shown, which means that the list is incomplete.

    A server with several replicas lists the videos of one of them. Anything recorded after `before`, while
    the list was read, proves nothing.
    """
    waiting = ledger.jobs(JobFilter(states=(State.RUNNING, State.COMPLETED)))
    for job in waiting:
        was_requested = job.operation is not None and job.position <= before
        hidden = was_requested and job.video_id not in shown and not _may_have_expired(job, ledger)
        if hidden and is_at(ledger, job, client.profile.name, client.base_url):
            return f"it does not show {job.video_id}, which {job.job_id} waits for"
    return None


def _may_have_expired(job: Job, ledger: Ledger) -> bool:
    return job.expires_at is not None and job.expires_at <= ledger.store.now().timestamp()


def _has_videos(ledger: Ledger, profile: str) -> bool:
    there = (State.RUNNING, State.COMPLETED, State.STORED, State.FAILED, State.LOST, State.ABANDONED)
    return bool(ledger.jobs(JobFilter(states=there, profile=profile), 1))
