"""The end of a session: what it cost, how it ended, how long it took."""

from datetime import datetime

from ledger.events import CostSettled, Event, Outcome, RenderClosed
from ledger.job import Job
from render_service.desk import Desk


def closing(desk: Desk, job: Job, outcome: Outcome) -> list[Event]:
    """Return the events that close `job`: the cost, unless it is booked already, and ``render.closed``.

    No server of the protocol reports a cost in the video itself, so the estimate is booked and marked as
    such. What a failed or deleted video costs was never documented; the estimate stands for it too.
    """
    events: list[Event] = []
    cost = job.settled_usd_micros
    if cost is None:
        cost = job.estimate_usd_micros
        events.append(
            CostSettled(
                cost_usd_micros=cost, basis="estimated", settled_by="catalog", difference_usd_micros=0
            )
        )
    return [*events, closed(desk, job, outcome, cost_usd_micros=cost)]


def closed(desk: Desk, job: Job, outcome: Outcome, *, cost_usd_micros: int = 0) -> RenderClosed:
    """Return ``render.closed`` for a job that ends now; a clock that was set back counts as no time."""
    took = desk.clock() - datetime.fromisoformat(job.created_at)
    duration_ms = max(0, round(took.total_seconds() * 1000))
    return RenderClosed(outcome=outcome, duration_ms=duration_ms, cost_usd_micros=cost_usd_micros)
