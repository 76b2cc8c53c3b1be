"""Findings of an audit about the jobs of a ledger; each has a stable code and names the next step. Pure.

======================  =================================================================================
code                    meaning
======================  =================================================================================
ATTEMPTS_DO_NOT_ADD_UP  an outcome without its intent, or a duplicate intent
INTENT_OPEN             an attempt was begun, and has had no news for the grace period
OUTCOME_UNKNOWN         an answer was lost: a video may exist
VIDEO_UNCLAIMED         the server has a video that the ledger does not know
VIDEO_CLAIMED_TWICE     two jobs have the same video
VIDEO_MISSING           a job waits for a video that its server no longer lists
SPEND_WITHOUT_ASSET     money was spent, and there is no video for it
ASSET_EXPIRED           a video expired before it was downloaded
RENDER_OVERDUE          a render has been running, or waiting to be stored, for too long
ANSWER_NOT_RECORDED     an answer the ledger could not record waits in a file
SPLIT_STOPPED           remixes of a queued split are not requested, and will not be without action
======================  =================================================================================

`docs/operations.md` explains what to do for each; `deal_with` ends findings whose cause cannot be removed.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from decision.money import format_usd
from ledger.errors import EventIdConflict
from ledger.events import NoteRecorded
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.store.interface import ANY
from ledger.terms import State, Status, Variant
from render_service.recovery.assignment import doubts_about, may_be_of
from render_service.recovery.attempt_counts import Attempts
from render_service.recovery.attempts import Attempt
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput
from render_service.session.event_ids import note_id
from render_service.session.splits import OpenSplits, Progress
from render_service.submission.spool import Waiting
from sora_adapter.models import Observation

if TYPE_CHECKING:
    from render_service.session.session import Session


Code = Literal[
    "ATTEMPTS_DO_NOT_ADD_UP",
    "INTENT_OPEN",
    "OUTCOME_UNKNOWN",
    "VIDEO_UNCLAIMED",
    "VIDEO_CLAIMED_TWICE",
    "VIDEO_MISSING",
    "SPEND_WITHOUT_ASSET",
    "ASSET_EXPIRED",
    "RENDER_OVERDUE",
    "ANSWER_NOT_RECORDED",
    "SPLIT_STOPPED",
]


@dataclass(frozen=True)
class Finding:
    """A problem for a person to look at: `subject` is a job, a video or an event, `do` is the next step.

    `job_id` is the job concerned, if any.
    """

    code: Code
    subject: str
    found: str
    do: str
    job_id: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return asdict(self)


def check_attempts(attempts: Attempts) -> Iterator[Finding]:
    """Yield a finding for each record that does not add up."""
    for record in attempts.strays:
        found = f"{record.type} at position {record.position} has no intent, or repeats one"
        yield Finding("ATTEMPTS_DO_NOT_ADD_UP", record.event_id, found, "sora-ledger verify")


def check_open_attempts(attempts: Iterable[Attempt], now: datetime, grace_s: float) -> Iterator[Finding]:
    """Yield findings for attempts without news, and for those whose answer was lost."""
    for attempt in attempts:
        name, age_s = attempt.job.job_id, attempt.measure_silence_s(now)
        if attempt.lost is not None:
            found = f"the answer was lost ({attempt.lost.lost}) {age_s:.0f} s ago: a video may exist"
            yield Finding("OUTCOME_UNKNOWN", name, found, f"sora-ledger reconcile {name}", name)
        elif age_s >= grace_s:
            begun = f"{attempt.intended_at:%Y-%m-%d %H:%M:%S} UTC"
            found = f"begun at {begun}, and no news since: a video may exist"
            yield Finding("INTENT_OPEN", name, found, f"sora-ledger reconcile {name}", name)


def check_unclaimed(
    profile: str, videos: Iterable[Observation], lost: Sequence[Attempt], absent: Sequence[Attempt]
) -> Iterator[Finding]:
    """Yield findings for videos without a job: of a lost attempt, a mistaken absence, or another client."""
    for video in videos:
        made = datetime.fromtimestamp(video.created_at or 0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        found = f"{profile} created it at {made}, and no job has it"
        do = f"sora-ledger {_command_to_claim(video, lost, absent)}"
        yield Finding("VIDEO_UNCLAIMED", video.video_id, found, do)


def _command_to_claim(video: Observation, lost: Sequence[Attempt], absent: Sequence[Attempt]) -> str:
    for attempt in lost:
        if may_be_of(attempt, video):
            return f"reconcile {attempt.job.job_id}"
    for attempt in absent:
        if doubts_about(attempt, video) == ():
            return f"reconcile {attempt.job.job_id} --video-id {video.video_id}"
    return f"adopt --id {video.video_id}"


def check_jobs(jobs: Iterable[Job], now: datetime) -> Iterator[Finding]:
    """Yield findings for videos that belong to two jobs, expired videos, and money without a video."""
    owners: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for job in jobs:
        if job.video_id is not None:
            owners[job.profile, job.video_id].append(job.job_id)
        yield from _check_job(job, now)
    for (_, video_id), names in owners.items():
        if len(names) > 1:
            found = f"it belongs to {' and '.join(sorted(names))}"
            later = max(names)
            do = (
                f"sora-ledger show {later}: find out which of them the server made it for; "
                f"{_name_next_command(later)}"
            )
            yield Finding("VIDEO_CLAIMED_TWICE", video_id, found, do, later)


def check_overdue(jobs: Iterable[Job], longest_s: float) -> Iterator[Finding]:
    """Yield findings for renders that run, or wait to be stored, for longer than `longest_s`."""
    for job in jobs:
        name, hours = job.job_id, longest_s / 3600
        waits = "and its file was never stored" if job.state is State.COMPLETED else "and it has not ended"
        found = f"it is {job.state} more than {hours:g} hours after it was submitted, {waits}"
        do = f"sora-ledger poll {name}; if it never ends: sora-ledger give-up {name} --reason TEXT"
        yield Finding("RENDER_OVERDUE", name, found, do, name)


def check_missing(jobs: Iterable[Job], now: datetime) -> Iterator[Finding]:
    """Yield findings for jobs whose video is not listed by their server although it has not expired."""
    for job in jobs:
        if _has_expired(job, now):
            continue
        name = job.job_id
        found = f"it is {job.state}, and {job.profile} no longer lists {job.video_id}"
        do = f"sora-ledger poll {name}; if it never comes back: sora-ledger give-up {name} --reason TEXT"
        yield Finding("VIDEO_MISSING", name, found, do, name)


def _has_expired(job: Job, now: datetime) -> bool:
    """Return whether the server's promised retention of the bytes of `job` is over."""
    return job.expires_at is not None and job.expires_at <= now.timestamp()


def _check_job(job: Job, now: datetime) -> Iterator[Finding]:
    if Variant.VIDEO in job.assets:
        return
    is_waiting = job.state in {State.RUNNING, State.COMPLETED}
    if job.state is State.LOST or (is_waiting and _has_expired(job, now)):
        unseen = "is gone, and was never seen completed"
        unfetched = "was completed, and expired before it was downloaded"
        found = f"{job.video_id} {unfetched if job.status is Status.COMPLETED else unseen}"
        ended = _name_next_command(job.job_id) if job.outcome else f"sora-ledger poll {job.job_id} records it"
        do = f"render it again, and poll it at once or run a worker; {ended}"
        yield Finding("ASSET_EXPIRED", job.job_id, found, do, job.job_id)
    elif job.settled_usd_micros:
        spent = f"{format_usd(job.settled_usd_micros)} ({job.cost_basis})"
        found = f"{spent} for a render that is {job.state}, and there is no video"
        do = f"ask the operator of {job.profile} whether it was billed; {_name_next_command(job.job_id)}"
        yield Finding("SPEND_WITHOUT_ASSET", job.job_id, found, do, job.job_id)


def _name_next_command(name: str) -> str:
    return f"then sora-ledger audit --dealt-with {name} --reason TEXT"


def check_spool(files: Iterable[Waiting]) -> Iterator[Finding]:
    """Yield a finding for each answer that waits in a file, usable or not."""
    for file in files:
        if file.spooled is None:
            found = f"this file of an unrecorded answer is unusable: {file.problem}"
            do = "keep it; fix the problem, or move it to the ledger it belongs to"
            yield Finding("ANSWER_NOT_RECORDED", str(file.path), found, do)
            continue
        made = f" ({file.spooled.video_id})" if file.spooled.video_id else ""
        found = f"the answer to {file.spooled.attempt_id}{made} is in a file, waiting to be recorded"
        do = f"`sora-ledger poll --id {file.spooled.job_id}` records it"
        yield Finding("ANSWER_NOT_RECORDED", str(file.path), found, do, file.spooled.job_id)


SPLIT_STALLED_S = 600
"""An overdue remix is reported after this time: no worker runs, or none can request it."""

_BY_A_PERSON = (State.CANCELLED, State.REFUSED)


def check_splits(ledger: Ledger, now: datetime, since: str | None = None) -> Iterator[Finding]:
    """Yield a finding for each split that stopped, or that nobody continues, unless a person ended it."""
    for standing in OpenSplits(ledger).renew():
        name, job = standing.job_id, ledger.job(standing.job_id)
        is_ready = standing.progress is Progress.READY
        silent_s = (now - datetime.fromisoformat(job.updated_at)).total_seconds()
        stopped = standing.progress is Progress.STOPPED and job.state not in _BY_A_PERSON
        if not (stopped or (is_ready and silent_s >= SPLIT_STALLED_S)) or (since and job.created_at < since):
            continue
        number, total = standing.number, standing.total
        rest = format_count(standing.remaining, "remix after it was", "remixes after it were")
        found = f"remix {number} of {total} is {job.state}, and {rest} not requested"
        cancel = f"sora-ledger cancel {name} withdraws what is left"
        do = f"{standing.next}; or {cancel}" if standing.next else cancel
        yield Finding("SPLIT_STOPPED", name, found, do, name)


LASTING = ("SPEND_WITHOUT_ASSET", "ASSET_EXPIRED", "VIDEO_CLAIMED_TWICE")
"""Findings that do not disappear by themselves; every other finding ends with its cause."""


def _note_id(finding: Finding) -> str:
    return note_id(finding.code, finding.job_id, finding.subject)


def is_dealt_with(ledger: Ledger, finding: Finding) -> bool:
    """Return whether a person has recorded that `finding` was dealt with."""
    return finding.code in LASTING and ledger.event(_note_id(finding)) is not None


async def deal_with(session: "Session", name: str, why: str) -> list[Finding]:
    """Record how the audit findings of the job `name` were dealt with, and return those findings.

    `BadInput` if there are none, or if the job is not over and can still be ended.
    """
    job = await session.job(name)
    jobs = await asyncio.to_thread(session.ledger.jobs)
    findings = [finding for finding in check_jobs(jobs, session.clock()) if finding.job_id == job.job_id]
    left = [
        finding for finding in findings if not await asyncio.to_thread(is_dealt_with, session.ledger, finding)
    ]
    if not left:
        done = "was already dealt with" if findings else "has no finding to deal with"
        raise BadInput(
            f"{job.job_id} {done}: `sora-ledger show {job.job_id}` shows what is recorded",
            param="job",
            expected="a job that is not settled",
            found=f"one that {done}",
        )
    if job.outcome is None:
        raise BadInput(
            f"{job.job_id} is {job.state}, not over: `sora-ledger poll {job.job_id}` comes first",
            param="job",
            expected="a job that is over",
            found=f"a {job.state} one",
        )
    for finding in left:
        note = session.draft(NoteRecorded(text=Private.seal("text", why)), event_id=_note_id(finding))
        with suppress(EventIdConflict):  # another process recorded it in between
            await session.append(job.job_id, ANY, [note])
    return left
