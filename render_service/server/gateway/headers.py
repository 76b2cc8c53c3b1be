"""The headers of answers about a job: its id, the decision, the estimated cost, and when to ask again."""

from typing import Literal

from decision.engine.approval import Considered, choice_of
from decision.money import usd_digits
from ledger.events import RenderDecided, RenderHeld
from ledger.job import OVER, Job, State

POLL_AFTER_MS = 2_000
"""Clients need not ask more often: nothing changes faster."""

Decision = Literal["allow", "deny", "hold"]
_BY_STATE: dict[State, Decision] = {
    State.HELD: "hold",
    State.APPROVED: "hold",
    State.REFUSED: "hold",
    State.DENIED: "deny",
}


def job_headers(job: Job, ruling: Considered | None = None) -> dict[str, str]:
    """Return the headers of an answer about `job`; `ruling` is its decision where it is at hand."""
    cost = _cost_of(ruling) if ruling is not None else job.estimate_usd_micros or None
    headers = {
        "x-sora-ledger-job": job.job_id,
        "x-sora-ledger-decision": _decision_of(ruling) if ruling else _BY_STATE.get(job.state, "allow"),
    }
    if cost is not None:
        headers["x-sora-ledger-estimated-cost"] = usd_digits(cost)
    if job.outcome is None and job.state not in OVER:
        headers["openai-poll-after-ms"] = str(POLL_AFTER_MS)
    return headers


def _decision_of(ruling: Considered) -> Decision:
    if isinstance(ruling, RenderDecided):
        return "allow"
    return "hold" if isinstance(ruling, RenderHeld) else "deny"


def _cost_of(ruling: Considered) -> int | None:
    if isinstance(ruling, RenderDecided):
        return ruling.cost_usd_micros
    return choice_of(ruling).cost_usd_micros if isinstance(ruling, RenderHeld) else None
