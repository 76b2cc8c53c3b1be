"""Settle interrupted attempts, and attempts whose answer was lost.

Nothing that costs money is sent. In order:

1. An attempt without news for the grace period is recorded as lost in a crash. Until then a process may be
   waiting for its answer. If one still is, no harm is done: an answer may follow ``unknown``.
2. The server is queried for its videos, then the ledger for claimed videos and open attempts (`search`).
3. Each open attempt gets its finding (`assignment`) and a verdict (`verdict`). If its video was found, it is
   *recovered*. If its server's list proves that there is none, it is *absent*: the list was requested with
   the attempt's own key and read to its end, submissions account for every video of that time, and that time
   is over. Otherwise the reason is reported, with the command for a person.

A person may settle an attempt from their own knowledge: with the id of its video, which is checked with the
server, or with a declaration that there is none, which rests on their word alone, with a reason.

Only ``submission.absent`` permits another attempt. It is recorded here, and wherever no connection was made.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ledger.errors import EventIdConflict, IllegalTransition, WrongExpectedVersion
from ledger.events import Event, NoteRecorded, SubmissionAbsent, SubmissionRecovered, SubmissionUnknown
from ledger.job import Job
from ledger.private import Private
from ledger.record import Draft
from ledger.store.filters import JobFilter
from ledger.terms import State
from render_service.recovery.assignment import Finding, assign, likeness
from render_service.recovery.attempts import GRACE_S, OPEN, Attempt, attempt_of, open_attempts, was_sent_to
from render_service.recovery.listing import Sightings
from render_service.recovery.search import find_known_job, look, with_prompts
from render_service.recovery.verdict import (
    Settlement,
    conclude,
    next_steps,
    settle_closed,
    settle_elsewhere,
    settle_under_way,
)
from render_service.runtime.errors import BadInput, ServiceError
from render_service.session.event_ids import claim_id
from render_service.session.servers import server_name_in_use
from render_service.session.session import Session
from sora_adapter.errors import AdapterError
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient


async def take_video(session: Session, job: Job, video_id: str, *, force: bool = False) -> Settlement:
    """Give `job` the video named by a person, if the server has it and describes it as requested.

    `force` accepts a video that the server describes differently, but never one that another job has.
    """
    if job.state is State.ABSENT and job.outcome is not None:
        raise BadInput(
            f"{job.job_id} is closed: `sora-ledger adopt --id {video_id}` imports the video",
            param="job",
            expected="an open job",
            found="a closed one",
        )
    attempt = await _attempt(session, job, (*OPEN, State.ABSENT))
    profile = session.profile(job.profile)
    async with session.connect_to(job) as client:
        video = await client.observe(video_id)
    compared = likeness(attempt, video)
    if compared.differences and not force:
        raise BadInput(
            f"{video_id} differs from the request of {job.job_id} in {', '.join(compared.differences)}; "
            "check it with `sora-ledger list`, and add --force if it is the right one",
            param="video_id",
            expected="a video of this request",
            found=f"another {', '.join(compared.differences)}",
        )
    recovered = SubmissionRecovered(
        attempt_id=attempt.intent.attempt_id,
        video_id=video.video_id,
        how="person",
        status=video.status,
        progress=video.progress,
    )
    server = server_name_in_use(session.settings, profile.name)
    drafts = [session.draft(event) for event in _list_preceding(attempt)]
    drafts.append(session.draft(recovered, event_id=claim_id(server, video.video_id)))
    other = await find_known_job(session, profile, video.video_id)
    if other is not None:
        raise _refuse_taken(video_id, other)
    try:
        now = await session.advance(job, drafts)
    except EventIdConflict:
        raise _refuse_taken(video_id, await find_known_job(session, profile, video_id)) from None
    except WrongExpectedVersion as conflict:
        raise _refuse_changed(job) from conflict
    # A crash here leaves the job to the worker that postponed it, which retries within ten minutes.
    await asyncio.to_thread(session.ledger.store.queue.hasten, [job.job_id])
    return Settlement(now, "recovered", f"a person named {video.video_id}, which the server has")


async def declare_absent(session: Session, job: Job, why: str) -> Settlement:
    """Record a person's declaration, with the reason, that the attempt created nothing and may be retried."""
    attempt = await _attempt(session, job, OPEN)
    absent = SubmissionAbsent(attempt_id=attempt.intent.attempt_id, how="person")
    note = NoteRecorded(text=Private.seal("text", why))
    events = [*_list_preceding(attempt), note, absent]
    try:
        now = await session.advance(job, [session.draft(event) for event in events])
    except WrongExpectedVersion as conflict:
        raise _refuse_changed(job) from conflict
    reason = f"a person says that nothing was created: {why}"
    return Settlement(now, "absent", reason, commands=next_steps(now))


async def _attempt(session: Session, job: Job, states: tuple[State, ...]) -> Attempt:
    if job.state not in states:
        raise BadInput(
            f"{job.job_id} is {job.state}, so there is no lost submission to settle: "
            f"`sora-ledger show {job.job_id}` shows what is recorded",
            param="job",
            expected="a job whose submission was lost",
            found=f"a {job.state} one",
        )
    return await asyncio.to_thread(attempt_of, session.ledger, job)


def _list_preceding(attempt: Attempt) -> list[Event]:
    """Return the event that must precede the settlement of an interrupted attempt."""
    if attempt.job.state is not State.SUBMITTING:
        return []
    return [SubmissionUnknown(attempt_id=attempt.intent.attempt_id, lost="crash")]


def _refuse_taken(video_id: str, other: Job | None) -> BadInput:
    owner = other.job_id if other else "another job"
    return BadInput(
        f"{video_id} belongs to {owner}: see `sora-ledger show {owner}`, and name another video",
        param="video_id",
        expected="a video of no other job",
        found=f"one of {owner}",
    )


def _refuse_changed(job: Job) -> BadInput:
    return BadInput(
        f"{job.job_id} was changed in the meantime: `sora-ledger show {job.job_id}` shows how",
        param="job",
        expected="an unchanged job",
        found="a changed one",
    )


ROUNDS = 3
APPENDS = 3


async def open_jobs(session: Session) -> list[Job]:
    """Return the jobs with an open attempt, oldest first."""
    jobs = await asyncio.to_thread(session.ledger.jobs, JobFilter(states=OPEN))
    return sorted(jobs, key=lambda job: job.job_id)


async def reconcile_job(session: Session, job: Job, *, grace_s: float = GRACE_S) -> Settlement:
    """Settle one job; see the module docstring. Raises `AdapterError` if the server cannot be asked."""
    return (await reconcile(session, [job], grace_s=grace_s))[0]


async def reconcile(session: Session, jobs: Sequence[Job], *, grace_s: float = GRACE_S) -> list[Settlement]:
    """Settle `jobs`, in their order; each server is searched once for all of its jobs.

    If a server cannot be asked, only its own jobs wait; the error is raised if that leaves no others.
    """
    done: dict[str, Settlement] = {}
    for name in dict.fromkeys(job.profile for job in jobs):
        ours = [job for job in jobs if job.profile == name]
        try:
            done |= await _Search(session, session.profile(name), grace_s).settle(ours)
        except (AdapterError, ServiceError) as error:
            if len(ours) == len(jobs):
                raise
            done |= {job.job_id: Settlement(job, "waiting", str(error)) for job in ours}
    return [done[job.job_id] for job in jobs]


class _Search:
    """The search of one server for the results of the jobs of one profile."""

    def __init__(self, session: Session, profile: Profile, grace_s: float) -> None:
        self._session = session
        self._profile = profile
        self._grace_s = grace_s

    async def settle(self, jobs: Sequence[Job]) -> dict[str, Settlement]:
        """Settle `jobs`; each recovery may remove the doubts about another job, so search again."""
        done: dict[str, Settlement] = {}
        left = list(jobs)
        for _ in range(ROUNDS):
            now = await self._settle_once(left)
            done |= now
            left = [settlement.job for settlement in now.values() if settlement.is_open]
            if not left or not any(settlement.verdict == "recovered" for settlement in now.values()):
                break
        return done

    async def _settle_once(self, jobs: Sequence[Job]) -> dict[str, Settlement]:
        done: dict[str, Settlement] = {}
        lost = []
        for pending in jobs:
            job = await self._record_loss(await self._session.job(pending.job_id))
            if job.state is State.UNKNOWN:
                lost.append(job)
            elif job.state is State.SUBMITTING:
                done[job.job_id] = settle_under_way(job, self._grace_s)
            else:
                done[job.job_id] = settle_closed(job)
        return done | (await self._search_server(lost) if lost else {})

    async def _record_loss(self, job: Job) -> Job:
        """Record an attempt as lost once no process can be waiting for it."""
        if job.state is not State.SUBMITTING:
            return job
        attempt = await asyncio.to_thread(attempt_of, self._session.ledger, job)
        if attempt.measure_silence_s(self._session.clock()) < self._grace_s:
            return job
        lost = SubmissionUnknown(attempt_id=attempt.intent.attempt_id, lost="crash")
        return await self._append(job, [self._session.draft(lost)])

    async def _search_server(self, jobs: Sequence[Job]) -> dict[str, Settlement]:
        names = {job.job_id for job in jobs}
        async with self._session.connect(self._profile) as client:
            attempts, findings, sightings = await self._match_videos(client, names, to_the_end=False)
            if sightings.stopped and self._needs_the_end(attempts, findings, names):
                attempts, findings, sightings = await self._match_videos(client, names, to_the_end=True)
        done = {name: settle_closed(await self._session.job(name)) for name in names}
        for attempt in attempts:
            name = attempt.job.job_id
            if name in names and name not in findings:
                done[name] = settle_elsewhere(attempt, client.base_url)
            elif name in names:
                done[name] = await self._conclude(client, attempt, findings[name], sightings)
        return done

    async def _match_videos(
        self, client: "VideosClient", names: set[str], *, to_the_end: bool
    ) -> tuple[list[Attempt], Mapping[str, Finding], Sightings]:
        """Ask the server, then the ledger, and return the open attempts with their findings."""
        begun = [
            attempt
            for attempt in await asyncio.to_thread(self._open_attempts)
            if self._is_at(client, attempt)
        ]
        first = min((attempt.position for attempt in begun), default=0)
        sightings = await look(self._session, client, first, to_the_end=to_the_end)
        attempts = await asyncio.to_thread(self._open_attempts)
        here = [attempt for attempt in attempts if self._is_at(client, attempt)]
        sightings = await with_prompts(client, here, sightings)
        under_way = self._may_be_answered(here, names)
        times_count = sightings.times_doubt is None
        findings = assign(here, sightings.unclaimed, under_way, sightings.adopted, times_count=times_count)
        return attempts, findings, sightings

    def _open_attempts(self) -> list[Attempt]:
        """Return all open attempts: those of another profile may have gone to the same server."""
        return open_attempts(self._session.ledger, None, self._profile.takes_effect_s)

    def _is_at(self, client: "VideosClient", attempt: Attempt) -> bool:
        return was_sent_to(attempt, self._profile.name, client.base_url)

    def _needs_the_end(
        self, attempts: Sequence[Attempt], findings: Mapping[str, Finding], names: set[str]
    ) -> bool:
        """Return whether a conclusion depends on what the list does not show."""
        unsure = [
            attempt for attempt in attempts if attempt.job.job_id in names and attempt.job.job_id in findings
        ]
        return any(
            findings[attempt.job.job_id].kind in {"nothing", "several"}
            and not (self._profile.list_proves_absence and self._measure_unproven_s(attempt) > 0)
            for attempt in unsure
        )

    def _measure_unproven_s(self, attempt: Attempt) -> float:
        return attempt.measure_unproven_s(self._session.clock(), self._grace_s)

    def _may_be_answered(self, attempts: Sequence[Attempt], names: set[str]) -> list[str]:
        """Name the other jobs whose answer may still come; a shorter grace period does not apply to them."""
        now, grace_s = self._session.clock(), max(GRACE_S, self._grace_s)
        under_way = [
            attempt
            for attempt in attempts
            if attempt.lost is None and attempt.measure_silence_s(now) < grace_s
        ]
        return [attempt.job.job_id for attempt in under_way if attempt.job.job_id not in names]

    async def _conclude(
        self, client: "VideosClient", attempt: Attempt, finding: Finding, sightings: Sightings
    ) -> Settlement:
        missing_s, has_key = self._measure_unproven_s(attempt), client.has_key_of(attempt.intent)
        concluded = conclude(attempt, finding, sightings, self._profile, missing_s, has_key=has_key)
        drafts = self._drafts(concluded, attempt, finding, sightings)
        if not drafts:
            return concluded
        try:
            job = await self._append(attempt.job, drafts)
        except EventIdConflict:  # the video was claimed in between
            job = await self._session.job(attempt.job.job_id)
        if job.state in OPEN:
            why = "another job has just claimed its video"
            return replace(concluded, job=job, verdict="waiting", why=why)
        expected = State.ABSENT if concluded.verdict == "absent" else State.RUNNING
        return replace(concluded, job=job) if job.state is expected else settle_closed(job)

    def _drafts(
        self, concluded: Settlement, attempt: Attempt, finding: Finding, sightings: Sightings
    ) -> list[Draft]:
        session, attempt_id = self._session, attempt.intent.attempt_id
        if concluded.verdict == "recovered" and finding.video is not None:
            video = finding.video
            server = server_name_in_use(session.settings, self._profile.name)
            recovered = SubmissionRecovered(
                attempt_id=attempt_id,
                video_id=video.video_id,
                how="webhook" if video.video_id in sightings.by_webhook else "list",
                status=video.status,
                progress=video.progress,
            )
            return [session.draft(recovered, event_id=claim_id(server, video.video_id))]
        if concluded.verdict == "absent":
            absent = SubmissionAbsent(attempt_id=attempt_id, how="list")
            return [session.draft(absent)]
        return []

    async def _append(self, job: Job, drafts: Sequence[Draft]) -> Job:
        """Append to the open attempt of `job`, or return the job if it was settled in the meantime."""
        for _ in range(APPENDS):
            try:
                return await self._session.advance(job, drafts)
            except (WrongExpectedVersion, IllegalTransition):
                now = await self._session.job(job.job_id)
            if now.state is not job.state or now.attempt_id != job.attempt_id:
                return now
            job = now  # another record about it came first
        return job
