"""What people think of a video that came: a verdict, scores, notes; recorded with who said it."""

from collections.abc import Mapping
from typing import Literal

from ledger.errors import WrongExpectedVersion
from ledger.events import ReviewRecorded
from ledger.job import Job, State
from ledger.private import Private
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.session import Session

Verdict = Literal["approved", "changes_requested", "rejected"]
REVIEWABLE = (State.COMPLETED, State.STORED, State.DELETED)
SCORES = ("clarity", "continuity", "brand_fit")
HIGHEST = 100


async def review(
    session: Session,
    job: Job,
    verdict: Verdict,
    scores: Mapping[str, int] | None = None,
    notes: str | None = None,
) -> Job:
    """Record a review of `job`; the last verdict counts. `NotReady` where there is no video to look at."""
    given = dict(scores or {})
    wrong = [name for name, score in given.items() if name not in SCORES or not 0 <= score <= HIGHEST]
    if wrong:
        raise BadInput(
            f"score {wrong[0]} {given[wrong[0]]}: expected 0 to {HIGHEST} for one of {', '.join(SCORES)}"
        )
    if job.state not in REVIEWABLE:
        raise NotReady(f"{job.job_id} is {job.state}, so there is no video to review; {_instead(job)}")
    sealed = Private.seal("notes", notes) if notes else None
    event = session.draft(ReviewRecorded(verdict=verdict, scores=given, notes=sealed))
    try:
        return await session.advance(job, [event])
    except WrongExpectedVersion:  # something else was said about it in between: both stand
        return await session.advance(await session.job(job.job_id), [event])


def _instead(job: Job) -> str:
    if job.state is State.RUNNING:
        return f"wait for it with `sora-ledger poll --id {job.job_id}`"
    return f"`sora-ledger show {job.job_id}` says why"
