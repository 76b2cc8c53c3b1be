"""Recording what came of an attempt, whatever was said about the job while the call was under way."""

import asyncio
from typing import assert_never

from ledger.errors import (
    EventIdConflict,
    IllegalTransition,
    LedgerUnusable,
    StaleFence,
    WrongExpectedVersion,
)
from ledger.events import (
    ErrorDetail,
    Event,
    Outcome,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionRejected,
    SubmissionUnknown,
)
from ledger.job import Job, State
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Draft
from render_service.runtime.errors import AnsweredTooLate
from render_service.session.closing import closed
from render_service.session.event_ids import CLAIMED, claim_id
from render_service.session.session import Session
from render_service.submission.keep_answer import Keeping
from sora_adapter.messages import Submission

SLOW_S = 2.0
"""A ledger that takes longer may not come back before this process ends."""


async def record_outcome(session: Session, job: Job, outcome: Submission, *, goes_on: bool) -> Job:
    """Record `outcome`, and the end of the session unless it `goes_on`; return the job after it.

    An acceptance claims its video. If another job has that video already, the server has not said what it
    made for this one: its outcome is recorded as unknown, for a person. `AnsweredTooLate` if the attempt was
    settled in the meantime, and otherwise than by this answer, or if the lease that it was made under was
    lost.

    A ledger that cannot be written is tried again for a while, and the answer is in the spool from the first
    failure on, so that not even a kill loses it. `AnswerSpooled` says where it is if that did not help.
    """
    end = None if goes_on else _end_of(session, job, outcome)
    events: list[Event] = [outcome] if end is None else [outcome, closed(session, job, end)]
    drafts = [_draft(session, job, event) for event in events]
    keeping = Keeping(session, job, outcome, drafts)
    while True:
        try:
            recorded = await _recorded_or_kept(session, job, outcome, drafts, keeping)
        except LedgerUnusable as trouble:
            await keeping.keep()
            if not await keeping.may_try_again():
                raise keeping.unrecorded(trouble) from trouble
        except AnsweredTooLate:
            if isinstance(outcome, SubmissionAccepted):  # recorded beside what the attempt was settled as
                await keeping.keep()
            raise
        else:
            await keeping.forget()
            return recorded


async def _recorded_or_kept(
    session: Session, job: Job, outcome: Submission, drafts: list[Draft], keeping: Keeping
) -> Job:
    """Record the answer; while the ledger keeps it waiting, as in a fail-over, it is in the spool."""
    recording = asyncio.ensure_future(_recorded(session, job, outcome, drafts))
    try:
        if not (await asyncio.wait({recording}, timeout=SLOW_S))[0]:
            await keeping.keep()
        return await recording
    finally:
        recording.cancel()  # does nothing to one that is done


async def _recorded(session: Session, job: Job, outcome: Submission, drafts: list[Draft]) -> Job:
    try:
        return await _advanced(session, job, drafts)
    except EventIdConflict:
        now = await session.job(job.job_id)
        if _is_settled_so(now, outcome) or not isinstance(outcome, SubmissionAccepted):
            return now
        session.log.warning("video.claimed_twice", job_id=job.job_id, video_id=outcome.video_id)
        if now.state is State.UNKNOWN:  # that is what it was recorded as in the meantime
            return now
        unknown = await asyncio.to_thread(answered_with_anothers, session.ledger, now.profile, outcome)
        return await _advanced(session, now, [session.draft(unknown)])


def answered_with_anothers(
    ledger: Ledger, profile: str | None, outcome: SubmissionAccepted
) -> SubmissionUnknown:
    """Return what is known of an attempt that the server answered with a video another job has."""
    claim = ledger.event(claim_id(profile or "", outcome.video_id))
    owner = claim.stream if claim else "another job"
    said = f"{outcome.video_id} belongs to {owner}, so it may have made another video, or none"
    return SubmissionUnknown(
        attempt_id=outcome.attempt_id,
        lost="unreadable",
        error=ErrorDetail(http_status=200, code=CLAIMED, message=Private.seal("error.message", said)),
        provider_request_id=outcome.provider_request_id,
    )


async def _advanced(session: Session, job: Job, drafts: list[Draft]) -> Job:
    outcome = drafts[0].event
    assert isinstance(outcome, Submission)  # noqa: S101  # that is what is recorded here
    while True:
        if job.attempt_id != outcome.attempt_id:  # it would end an attempt that is still to be answered
            raise _too_late(job, outcome)
        try:
            return await session.advance(job, drafts)
        except StaleFence as lost:
            raise AnsweredTooLate(_unrecorded(job, outcome)) from lost
        except IllegalTransition as late:
            raise _too_late(job, outcome) from late
        except WrongExpectedVersion:  # something was said about the job meanwhile: read it and try again
            job = await session.job(job.job_id)


def _unrecorded(job: Job, outcome: Event) -> str:
    """Say what an answer was that may not be recorded any more, as whoever took the job over will find it."""
    what = f"{job.job_id}: the lease was lost while its answer was on the way, so it is not recorded"
    if isinstance(outcome, SubmissionAccepted):
        taking = f"sora-ledger reconcile {job.job_id} --video-id {outcome.video_id}"
        made = f"the server has made {outcome.video_id}"
        return f"{what}; {made}: a worker will look for it, or `{taking}` takes it in"
    return f"{what}; it was {outcome.type}: a worker finds out what there is"


def _is_settled_so(job: Job, outcome: Submission) -> bool:
    return isinstance(outcome, SubmissionAccepted) and job.video_id == outcome.video_id


def _too_late(job: Job, outcome: Submission) -> AnsweredTooLate:
    what = f"{job.job_id} was settled as {job.state} while its answer was still on the way"
    if job.attempt_id != outcome.attempt_id:
        what = f"{job.job_id} was sent again while the answer to {outcome.attempt_id} was still on the way"
    if isinstance(outcome, SubmissionAccepted):
        taking = f"sora-ledger reconcile {job.job_id} --video-id {outcome.video_id}"
        if job.video_id is not None or job.outcome is not None:
            taking = f"sora-ledger adopt --id {outcome.video_id}"
        return AnsweredTooLate(f"{what}; the server has made {outcome.video_id}: `{taking}` takes it in")
    return AnsweredTooLate(f"{what}: `sora-ledger show {job.job_id}` tells how")


def _draft(session: Session, job: Job, event: Event) -> Draft:
    if isinstance(event, SubmissionAccepted):
        return session.draft(event, event_id=claim_id(job.profile or "", event.video_id))
    return session.draft(event)


def _end_of(session: Session, job: Job, outcome: Submission) -> Outcome | None:
    """Return how the session ends with `outcome`; None if it goes on, or its key may be used to try again."""
    match outcome:
        case SubmissionRejected():
            again = job.request_key is not None and session.profile(job.profile).is_free(outcome)
            return None if again else Outcome.REJECTED
        case SubmissionAbsent():
            return None if job.request_key is not None else Outcome.ABSENT
        case SubmissionAccepted() | SubmissionUnknown():
            return None
        case _:
            assert_never(outcome)
