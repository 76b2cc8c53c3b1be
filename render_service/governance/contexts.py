"""What a decision has to know besides the request: the server, and what this ledger says.

`context_in` is the one place where it is gathered, for what is placed and for what is only shown.
"""

from typing import TYPE_CHECKING

from decision.decide import DecisionContext
from decision.request import RenderRequest
from ledger.ledger import Ledger
from render_service.governance.measuring import NOTHING_MEASURED, Measured, measure
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from render_service.desk import Desk

APPROVED = "approved"
FINAL_PURPOSES = frozenset({"final", "marketing", "cinematic", "client"})
"""What a draft is promoted to."""


def context_of(desk: "Desk", request: RenderRequest, profile: Profile) -> DecisionContext:
    """Return what the decision on `request` has to know, at a desk that is open for writing."""
    measured = desk.measuring.of(profile.name, desk.clock())
    return context_in(desk.ledger, request, profile, measured)


def context_in(
    ledger: Ledger | None, request: RenderRequest, profile: Profile, measured: Measured | None = None
) -> DecisionContext:
    """Return the same from a ledger alone; without one only the server and the request are known."""
    if measured is None:
        measured = measure(ledger, profile.name) if ledger else NOTHING_MEASURED
    return DecisionContext(
        operations_offered=tuple(profile.operations),
        options_offered=(*profile.fields, *profile.reference_by),
        deadline_minutes=request.deadline_minutes,
        median_seconds=measured.median_seconds or None,
        failure_ppm=measured.failure_ppm or None,
        promotes_approved=_promotes_approved(ledger, request) if ledger else None,
    )


def _promotes_approved(ledger: Ledger, request: RenderRequest) -> bool | None:
    """Tell whether a final is made of a draft that somebody approved; None where it is made of nothing."""
    named = request.promotes or (request.source.job_id if request.source else None)
    if named is None or request.purpose not in FINAL_PURPOSES:
        return None
    return ledger.job(named).verdict == APPROVED
