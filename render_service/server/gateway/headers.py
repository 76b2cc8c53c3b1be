"""The headers of answers about a job: its id, the decision, the estimated cost, and when to poll again."""

import asyncio
from datetime import datetime
from typing import Literal

from decision.money import usd_digits
from ledger.errors import LedgerError
from ledger.events import Considered, RenderDecided, RenderHeld
from ledger.job import OVER, Job
from ledger.terms import State
from render_service.rules.measurements import Duration
from render_service.server.gateway.projection import PATIENCE_S
from render_service.session.session import Session

SOONEST_POLL_MS = 1_000
LATEST_POLL_MS = 10_000
SHARE_OF_AGE = 0.1
"""With polls at this share of a render's age, a client learns of its end a tenth of its duration late."""

Decision = Literal["allow", "deny", "hold"]
_BY_STATE: dict[State, Decision] = {
    State.HELD: "hold",
    State.APPROVED: "hold",
    State.REFUSED: "hold",
    State.DENIED: "deny",
}


def job_headers(job: Job, ruling: Considered | None = None, *, now: datetime | None = None) -> dict[str, str]:
    """Return the headers of an answer about `job`; `ruling` is its decision where it is at hand.

    `now` may be omitted for a new job.
    """
    cost = _cost_of(ruling) if ruling is not None else job.estimate_usd_micros or None
    headers = {
        "x-sora-ledger-job": job.job_id,
        "x-sora-ledger-decision": _decision_of(ruling) if ruling else _BY_STATE.get(job.state, "allow"),
    }
    if cost is not None:
        headers["x-sora-ledger-estimated-cost"] = usd_digits(cost)
    if job.outcome is None and job.state not in OVER:
        headers["openai-poll-after-ms"] = str(poll_after_ms(job, now))
    return headers


async def expected_headers(session: Session, job: Job) -> dict[str, str]:
    """Return the headers with the duration of renders; a failed measurement never fails an answer."""
    now = session.clock()
    if session.measuring.is_fresh(job, now):  # nearly always, and a thread takes longer than the look-up
        return duration_headers(session.measuring.expected_of(job, now))
    try:
        async with asyncio.timeout(PATIENCE_S):
            expected = await asyncio.to_thread(session.measuring.expected_of, job, now)
    except (LedgerError, TimeoutError):
        expected = None
    return duration_headers(expected)


def duration_headers(expected: Duration | None) -> dict[str, str]:
    """Return the median and 90th percentile duration of such renders in seconds; ``unknown`` without data."""
    half, most = (expected.p50_seconds, expected.p90_seconds) if expected else ("unknown", "unknown")
    return {"x-sora-ledger-expected-seconds": str(half), "x-sora-ledger-expected-seconds-p90": str(most)}


def poll_after_ms(job: Job, now: datetime | None) -> int:
    """Return when a client should poll `job` again: soon for a young one, seldom for an old one."""
    age_s = (now - datetime.fromisoformat(job.created_at)).total_seconds() if now else 0.0
    return round(min(max(age_s * 1000 * SHARE_OF_AGE, SOONEST_POLL_MS), LATEST_POLL_MS))


def _decision_of(ruling: Considered) -> Decision:
    if isinstance(ruling, RenderDecided):
        return "allow"
    return "hold" if isinstance(ruling, RenderHeld) else "deny"


def _cost_of(ruling: Considered) -> int | None:
    if isinstance(ruling, RenderDecided):
        return ruling.cost_usd_micros
    return ruling.choice.cost_usd_micros if isinstance(ruling, RenderHeld) else None
