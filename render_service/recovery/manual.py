"""Settle a lost submission with what a person knows: the id of its video, or that there is none.

The server is asked about the id. That nothing was created rests on the person's word alone, with a reason.
"""

import asyncio

from ledger.errors import EventIdConflict, WrongExpectedVersion
from ledger.events import Event, NoteRecorded, SubmissionAbsent, SubmissionRecovered, SubmissionUnknown
from ledger.job import Job, State
from ledger.private import Private
from render_service.recovery.attempts import OPEN, Attempt, attempt_of
from render_service.recovery.matching import likeness
from render_service.recovery.search import known_job
from render_service.recovery.verdict import Settlement, next_steps
from render_service.runtime.errors import BadInput
from render_service.session.event_ids import claim_id
from render_service.session.servers import server_name_in_use
from render_service.session.session import Session


async def take_video(session: Session, job: Job, video_id: str, *, force: bool = False) -> Settlement:
    """Give `job` the video a person names, if the server has it and describes it as requested.

    `force` accepts a video that the server describes differently, but never one that another job has.
    """
    if job.state is State.ABSENT and job.outcome is not None:
        raise BadInput(f"{job.job_id} is closed: `sora-ledger adopt --id {video_id}` imports the video")
    attempt = await _attempt(session, job, (*OPEN, State.ABSENT))
    profile = session.profile(job.profile)
    async with session.connect_to(job) as client:
        video = await client.observe(video_id)
    compared = likeness(attempt, video)
    if compared.differences and not force:
        raise BadInput(
            f"{video_id} differs from the request of {job.job_id} in {', '.join(compared.differences)}; "
            "check it with `sora-ledger list`, and add --force if it is the right one"
        )
    recovered = SubmissionRecovered(
        attempt_id=attempt.intent.attempt_id,
        video_id=video.video_id,
        how="person",
        status=video.status,
        progress=video.progress,
    )
    server = server_name_in_use(session.settings, profile.name)
    drafts = [session.draft(event) for event in _lost_first(attempt)]
    drafts.append(session.draft(recovered, event_id=claim_id(server, video.video_id)))
    other = await known_job(session, profile, video.video_id)
    if other is not None:
        raise _taken(video_id, other)
    try:
        now = await session.advance(job, drafts)
    except EventIdConflict:
        raise _taken(video_id, await known_job(session, profile, video_id)) from None
    except WrongExpectedVersion as conflict:
        raise _moved_on(job) from conflict
    return Settlement(now, "recovered", f"a person named {video.video_id}, which the server has")


async def declare_absent(session: Session, job: Job, why: str) -> Settlement:
    """Record a person's word that the attempt created nothing, with the reason; it may then be retried."""
    attempt = await _attempt(session, job, OPEN)
    absent = SubmissionAbsent(attempt_id=attempt.intent.attempt_id, how="person")
    note = NoteRecorded(text=Private.seal("text", why))
    events = [*_lost_first(attempt), note, absent]
    try:
        now = await session.advance(job, [session.draft(event) for event in events])
    except WrongExpectedVersion as conflict:
        raise _moved_on(job) from conflict
    reason = f"a person says that nothing was created: {why}"
    return Settlement(now, "absent", reason, commands=next_steps(now))


async def _attempt(session: Session, job: Job, states: tuple[State, ...]) -> Attempt:
    if job.state not in states:
        raise BadInput(
            f"{job.job_id} is {job.state}, so there is no lost submission to settle: "
            f"`sora-ledger show {job.job_id}` shows what is recorded"
        )
    return await asyncio.to_thread(attempt_of, session.ledger, job)


def _lost_first(attempt: Attempt) -> list[Event]:
    """Return the event that has to precede the settlement of an attempt that was cut off."""
    if attempt.job.state is not State.SUBMITTING:
        return []
    return [SubmissionUnknown(attempt_id=attempt.intent.attempt_id, lost="crash")]


def _taken(video_id: str, other: Job | None) -> BadInput:
    owner = other.job_id if other else "another job"
    return BadInput(f"{video_id} belongs to {owner}: see `sora-ledger show {owner}`, and name another video")


def _moved_on(job: Job) -> BadInput:
    return BadInput(f"{job.job_id} was changed in the meantime: `sora-ledger show {job.job_id}` shows how")
