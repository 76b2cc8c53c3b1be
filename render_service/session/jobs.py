"""Fold a job, close it, and handle an answer that names another job's video."""

from collections.abc import Iterable
from datetime import datetime

from ledger.events import (
    CostSettled,
    ErrorDetail,
    Event,
    NoteRecorded,
    RenderClosed,
    SubmissionAccepted,
    SubmissionUnknown,
)
from ledger.fold import fold
from ledger.job import Job
from ledger.private import Private
from ledger.record import Record
from ledger.store.interface import NEW
from ledger.terms import Outcome, State
from render_service.session.event_ids import CLAIMED, late_claim_id

RETRYABLE = frozenset(
    {
        State.DENIED,
        State.REFUSED,
        State.CANCELLED,
        State.REJECTED,
        State.ABSENT,
        State.FAILED,
        State.LOST,
    }
)
"""States in which nothing more can be billed and no video is stored."""


def fold_records(job: Job | None, records: Iterable[Record]) -> Job:
    """Return `job` after `records`, which follow in its stream: the same fold that makes its row."""
    folded = None if job is None or job.version == NEW else job
    for record in records:
        folded = fold(folded, record)
    if folded is None:
        raise ValueError("a job begins with a record; there was none")
    return folded


def list_closing_events(now: datetime, job: Job, outcome: Outcome) -> list[Event]:
    """Return the events that close `job` at `now`: the cost, unless it is booked, and ``render.closed``.

    The cost is what the server reported, if it does (LiteLLM), else the estimate, marked as such. The cost of
    a failed or deleted video is undocumented, so the estimate is used for it too. An adopted video has no
    cost event: it was paid for elsewhere, and a cost of 0 would be an invented figure.
    """
    events: list[Event] = []
    cost = job.settled_usd_micros
    if cost is None and job.operation is None:
        return [make_closed(now, job, outcome)]
    if cost is None:
        reported = job.reported_cost_usd_micros
        cost = job.estimate_usd_micros if reported is None else reported
        events.append(
            CostSettled(
                cost_usd_micros=cost,
                basis="estimated" if reported is None else "reported",
                settled_by="catalog" if reported is None else job.profile or "server",
                difference_usd_micros=cost - job.estimate_usd_micros,
            )
        )
    return [*events, make_closed(now, job, outcome, cost_usd_micros=cost)]


def make_closed(now: datetime, job: Job, outcome: Outcome, *, cost_usd_micros: int = 0) -> RenderClosed:
    """Return ``render.closed`` for a job that ends at `now`; the duration is 0 if a clock was set back."""
    took = now - datetime.fromisoformat(job.created_at)
    duration_ms = max(0, round(took.total_seconds() * 1000))
    return RenderClosed(outcome=outcome, duration_ms=duration_ms, cost_usd_micros=cost_usd_micros)


def reject_anothers_video(job: Job, outcome: SubmissionAccepted, owner: str) -> tuple[Event, str | None]:
    """Return the event for an attempt that was answered with a video of `owner`, and its event id.

    If the attempt was recorded as unknown in the meantime, the event is a note, which is recorded once.
    """
    message = f"{outcome.video_id} belongs to {owner}, so it may have made another video, or none"
    if job.state is State.UNKNOWN:
        note = NoteRecorded(text=Private.seal("text", f"The answer came late: {message}."))
        return note, late_claim_id(outcome.attempt_id)
    unknown = SubmissionUnknown(
        attempt_id=outcome.attempt_id,
        lost="unreadable",
        error=ErrorDetail(http_status=200, code=CLAIMED, message=Private.seal("error.message", message)),
        provider_request_id=outcome.provider_request_id,
    )
    return unknown, None
