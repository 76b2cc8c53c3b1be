"""Record the outcome of an attempt, regardless of records about the job during the call.

While the ledger is not writable, the answer is in the spool.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import assert_never

from ledger.errors import (
    EventIdConflict,
    IllegalTransition,
    LedgerUnusable,
    StaleFence,
    WrongExpectedVersion,
)
from ledger.events import Event, SubmissionAbsent, SubmissionAccepted, SubmissionRejected, SubmissionUnknown
from ledger.job import Job
from ledger.record import Draft, timestamp
from ledger.store.filters import JobFilter
from ledger.store.interface import ANY
from ledger.terms import Outcome, State
from render_service.runtime.errors import AnsweredTooLate, AnswerSpooled
from render_service.session.event_ids import claim_id
from render_service.session.jobs import make_closed, reject_anothers_video
from render_service.session.servers import address_in_use, job_of_video, server_name_in_use
from render_service.session.session import Session
from render_service.submission import spool
from render_service.submission.spool import Spooled, SpooledDraft
from sora_adapter.messages import Submission
from sora_adapter.profiles import profile

FIRST_PAUSE_S = 0.25


LONGEST_PAUSE_S = 2.0


class Keeping:
    """The answer to one attempt, from the first failure to record it until it is recorded or given up."""

    def __init__(self, session: Session, job: Job, outcome: Submission, drafts: Sequence[Draft]) -> None:
        self._session = session
        self._job = job
        self._outcome = outcome
        self._drafts = drafts
        self._file: Path | None = None
        self._trouble: OSError | None = None
        self._until = 0.0
        self._pause_s = FIRST_PAUSE_S

    @property
    def _video_id(self) -> str | None:
        return self._outcome.video_id if isinstance(self._outcome, SubmissionAccepted) else None

    async def keep(self, why: str) -> None:
        """Write the answer to the spool, unless it is there; log its path, all ids and `why`."""
        if self._file is not None:
            return
        first = self._trouble is None
        try:
            self._file = await asyncio.to_thread(self._write)
        except OSError as error:
            self._trouble = error
        if self._file is not None or first:
            self._session.log.warning(
                "answer.kept" if self._file else "answer.not_kept",
                job_id=self._job.job_id,
                attempt_id=self._outcome.attempt_id,
                video_id=self._video_id,
                outcome=self._outcome.type,
                file=str(self._file) if self._file else None,
                why=why,
            )

    def _write(self) -> Path:
        spooled = Spooled(
            ledger_id=self._session.ledger.ledger_id,
            job_id=self._job.job_id,
            attempt_id=self._outcome.attempt_id,
            outcome=self._outcome.type,
            video_id=self._video_id,
            spooled_at=timestamp(self._session.clock()),
            drafts=tuple(map(SpooledDraft.of, self._drafts)),
        )
        return spool.write(self._session.settings.spool_folders(spooled.ledger_id), spooled)

    async def may_try_again(self) -> bool:
        """Wait briefly and return True, or False once the time is over."""
        self._until = self._until or time.monotonic() + self._session.settings.retry_seconds
        if time.monotonic() + self._pause_s > self._until:
            return False
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return True

    async def forget(self) -> None:
        """Delete the file: the answer is recorded."""
        if self._file is not None:
            await asyncio.to_thread(spool.remove, self._file)

    def unrecorded(self, cause: LedgerUnusable) -> AnswerSpooled:
        """Return an error that says what arrived, where it is, and which command records it."""
        job_id, attempt_id, video_id = self._job.job_id, self._outcome.attempt_id, self._video_id
        came = f"the server created {video_id}" if video_id else f"it ended as {self._outcome.type}"
        what = f"{job_id}: {came} for {attempt_id}, and the ledger cannot record it: {cause}"
        if self._file is not None:
            return AnswerSpooled(
                f"{what}. The answer is kept in {self._file}; the next command that records something reads "
                f"it from there: once the ledger can be written, `sora-ledger poll --id {job_id}`. "
                "Do not send the request again"
            )
        because = self._trouble.strerror if self._trouble else "unknown"
        command = f"reconcile {job_id}" + (f" --video-id {video_id}" if video_id else "")
        return AnswerSpooled(
            f"{what}. It cannot be kept in a file either ({because}): note both ids, and once the ledger "
            f"can be written, run `sora-ledger {command}`. Do not send the request again"
        )


SLOW_S = 2.0
"""A ledger that is slower than this may not return before the process ends."""


async def record_outcome(session: Session, job: Job, outcome: Submission, *, goes_on: bool) -> Job:
    """Record `outcome`, and the end of the session unless it `goes_on`; return the job after it.

    An acceptance claims its video. If another job already has that video, the server has not said what it
    created for this one, so the outcome is recorded as unknown, for a person to settle. `AnsweredTooLate` if
    the attempt was settled differently in the meantime, or if its lease was lost.

    If the ledger cannot be written, the append is retried for a while. The answer is in the spool from the
    first failure on, so that not even a kill loses it. If retrying fails, `AnswerSpooled` says where the
    answer is.
    """
    end = None if goes_on else _end_of(session, job, outcome)
    events: list[Event] = [outcome] if end is None else [outcome, make_closed(session.clock(), job, end)]
    drafts = [_draft(session, job, event) for event in events]
    keeping = Keeping(session, job, outcome, drafts)
    while True:
        # A crash here loses an answer that is not in the spool yet: the job stays submitting, and `reconcile`
        # or a worker looks for its video. One in the spool is recorded by the next session (`drain`).
        try:
            recorded = await _record_or_spool(session, job, outcome, drafts, keeping)
        except LedgerUnusable as trouble:
            await keeping.keep(str(trouble))
            if not await keeping.may_try_again():
                raise keeping.unrecorded(trouble) from trouble
        except AnsweredTooLate as late:
            if isinstance(outcome, SubmissionAccepted):  # recorded in addition to the settlement
                await keeping.keep(str(late))
            raise
        else:
            # A crash here leaves the file of a recorded answer; the next session notices that, and deletes
            # it.
            await keeping.forget()
            return recorded


async def _record_or_spool(
    session: Session, job: Job, outcome: Submission, drafts: list[Draft], keeping: Keeping
) -> Job:
    """Record the answer; if the ledger takes too long, as in a fail-over, write it to the spool."""
    recording = asyncio.ensure_future(_recorded(session, job, outcome, drafts))
    try:
        if not (await asyncio.wait({recording}, timeout=SLOW_S))[0]:
            await keeping.keep(f"the ledger takes more than {SLOW_S:g} s to record it")
        return await recording
    finally:
        recording.cancel()  # no effect if it is done


async def _recorded(session: Session, job: Job, outcome: Submission, drafts: list[Draft]) -> Job:
    try:
        if isinstance(outcome, SubmissionAccepted):
            return await _advanced(session, job, drafts, partial(_check_is_free, session, job, outcome))
        return await _advanced(session, job, drafts)
    except EventIdConflict:
        now = await session.job(job.job_id)
        if _is_settled_so(now, outcome) or not isinstance(outcome, SubmissionAccepted):
            return now
        session.log.warning("video.claimed_twice", job_id=job.job_id, video_id=outcome.video_id)
        owner = await asyncio.to_thread(_owner, session, now, outcome)
        event, event_id = reject_anothers_video(now, outcome, owner.job_id if owner else "another job")
        drafted = session.draft(event, event_id=event_id)
        if now.state is not State.UNKNOWN:
            return await _advanced(session, now, [drafted])
        with suppress(EventIdConflict):  # it is already recorded
            await session.append(job.job_id, ANY, [drafted])
        return await session.job(job.job_id)


def _owner(session: Session, job: Job, outcome: SubmissionAccepted) -> Job | None:
    name = job.profile or ""
    address = address_in_use(session.settings, profile(name, session.settings.profiles_file))
    return job_of_video(session.ledger, name, address, outcome.video_id)


def _check_is_free(session: Session, job: Job, outcome: SubmissionAccepted) -> None:
    """Raise `EventIdConflict` if a job has the video, including claims older than server names."""
    if not session.ledger.jobs(JobFilter(video_id=outcome.video_id)):  # at no server
        return
    owner = _owner(session, job, outcome)
    if owner is not None:
        raise EventIdConflict(f"{outcome.video_id} belongs to {owner.job_id}")


async def _advanced(
    session: Session, job: Job, drafts: list[Draft], check: Callable[[], None] | None = None
) -> Job:
    outcome = drafts[0].event
    assert isinstance(outcome, Submission)  # only outcomes are recorded here
    while True:
        if job.attempt_id != outcome.attempt_id:  # it would end an attempt that is still unanswered
            raise _too_late(job, outcome)
        try:
            return await session.advance(job, drafts, check=check)
        except StaleFence as lost:
            raise AnsweredTooLate(_unrecorded(job, outcome)) from lost
        except IllegalTransition as late:
            raise _too_late(job, outcome) from late
        except WrongExpectedVersion:  # the job has a new record: read it and try again
            job = await session.job(job.job_id)


def _unrecorded(job: Job, outcome: Event) -> str:
    """Return a message about an answer that must no longer be recorded, for the new owner of the job."""
    what = f"{job.job_id}: the lease was lost while its answer was on the way, so it is not recorded"
    if isinstance(outcome, SubmissionAccepted):
        taking = f"sora-ledger reconcile {job.job_id} --video-id {outcome.video_id}"
        made = f"the server has created {outcome.video_id}"
        return f"{what}; {made}: a worker will look for it, or `{taking}` claims it"
    return f"{what}; it was {outcome.type}: a worker will find out what exists"


def _is_settled_so(job: Job, outcome: Submission) -> bool:
    return isinstance(outcome, SubmissionAccepted) and job.video_id == outcome.video_id


def _too_late(job: Job, outcome: Submission) -> AnsweredTooLate:
    what = f"{job.job_id} was settled as {job.state} while its answer was still under way"
    if job.attempt_id != outcome.attempt_id:
        what = f"{job.job_id} was sent again while the answer to {outcome.attempt_id} was still under way"
    if isinstance(outcome, SubmissionAccepted):
        taking = f"sora-ledger reconcile {job.job_id} --video-id {outcome.video_id}"
        if job.video_id is not None or job.outcome is not None:
            taking = f"sora-ledger adopt --id {outcome.video_id}"
        return AnsweredTooLate(f"{what}; the server has created {outcome.video_id}: `{taking}` claims it")
    return AnsweredTooLate(f"{what}: `sora-ledger show {job.job_id}` shows how")


def _draft(session: Session, job: Job, event: Event) -> Draft:
    if isinstance(event, SubmissionAccepted):
        server = server_name_in_use(session.settings, job.profile or "")
        return session.draft(event, event_id=claim_id(server, event.video_id))
    return session.draft(event)


def _end_of(session: Session, job: Job, outcome: Submission) -> Outcome | None:
    """Return how the session ends with `outcome`; None if it continues, or its key may be used to retry."""
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
