"""The end of a session: what it cost, how it ended, how long it took."""

from datetime import datetime

from ledger.events import CostSettled, Event, Outcome, RenderClosed
from ledger.job import Job
from render_service.session.session import Session


def closing(session: Session, job: Job, outcome: Outcome) -> list[Event]:
    """Return the events that close `job`: the cost, unless it is booked already, and ``render.closed``.

    What the server reported is booked, where one does (LiteLLM); else the estimate, marked as such. What a
    failed or deleted video costs was never documented; the estimate stands for it too. For an adopted video
    nothing is booked: it was paid for elsewhere, and a cost of 0 would be a claim nobody computed.
    """
    events: list[Event] = []
    cost = job.settled_usd_micros
    if cost is None and job.operation is None:
        return [closed(session, job, outcome)]
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
    return [*events, closed(session, job, outcome, cost_usd_micros=cost)]


def closed(session: Session, job: Job, outcome: Outcome, *, cost_usd_micros: int = 0) -> RenderClosed:
    """Return ``render.closed`` for a job that ends now; a clock that was set back counts as no time."""
    took = session.clock() - datetime.fromisoformat(job.created_at)
    duration_ms = max(0, round(took.total_seconds() * 1000))
    return RenderClosed(outcome=outcome, duration_ms=duration_ms, cost_usd_micros=cost_usd_micros)
