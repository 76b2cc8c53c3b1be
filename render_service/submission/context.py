"""Gather the context of a decision: the server, and the relevant facts in this ledger.

`context_in` is the only place that gathers it, both for real requests and for previews.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from decision.engine.decide import DecisionContext
from decision.request.request import RenderRequest
from decision.rules.purpose import FINAL_PURPOSES
from ledger.errors import JobNotFound
from ledger.log.ledger import Ledger
from render_service.rules.budget_names import Scope
from render_service.rules.budgets import NOTHING, ApplicableBudgets, purse
from render_service.rules.measurements import NOTHING_MEASURED, ServerMeasurements, measure
from render_service.runtime.settings import Settings
from render_service.session.session import Session
from sora_adapter.profiles import Profile

APPROVED = "approved"


def context_of(
    session: Session,
    request: RenderRequest,
    profile: Profile,
    taken: Mapping[str, int] = NOTHING,
    actor: str | None = None,
) -> DecisionContext:
    """Return the context of the decision on `request`, in a session that is open for writing.

    `taken` is the amount that unrecorded decisions take from each budget. `actor` is the requester, by
    default the actor of the settings.
    """
    now = session.clock()
    measured = session.measuring.measure(profile.name, now)
    scope = scope_of(session.settings, request.purpose, actor)
    paying = purse(session.ledger, scope, now, session.provenance, taken)
    return _context(session.settings, session.ledger, request, profile, measured, paying, now)


def context_in(
    settings: Settings,
    ledger: Ledger | None,
    request: RenderRequest,
    profile: Profile,
    now: datetime,
    taken: Mapping[str, int] = NOTHING,
) -> DecisionContext:
    """Return the same without writing; without a ledger only the server and the request are known."""
    if ledger is None:
        return _context(settings, None, request, profile, NOTHING_MEASURED, ApplicableBudgets(()), now)
    paying = purse(ledger, scope_of(settings, request.purpose), now, None, taken)
    return _context(settings, ledger, request, profile, measure(ledger, profile.name), paying, now)


def scope_of(settings: Settings, purpose: str, actor: str | None = None) -> Scope:
    """Return who pays for a render for `purpose`; `actor` may differ from the actor of the settings."""
    return Scope(settings.team, settings.project, purpose, actor or settings.actor)


def _context(  # the inputs of a decision
    settings: Settings,
    ledger: Ledger | None,
    request: RenderRequest,
    profile: Profile,
    measured: ServerMeasurements,
    paying: ApplicableBudgets,
    now: datetime,
) -> DecisionContext:
    return DecisionContext(
        operations_offered=tuple(profile.operations),
        options_offered=(*profile.fields, *profile.reference_by),
        deadline_minutes=request.deadline_minutes,
        median_seconds=measured.median_seconds or None,
        failure_ppm=measured.failure_ppm or None,
        promotes_approved=_promotes_approved(ledger, request) if ledger else None,
        draft_approved=_draft_approved(ledger, request) if ledger else None,
        budgets=paying.names,
        budget_left_usd_micros=paying.left_usd_micros,
        team=settings.team,
        project=settings.project,
        priced_on=now.astimezone(UTC).date(),
    )


def _promotes_approved(ledger: Ledger, request: RenderRequest) -> bool | None:
    """Return whether a final render is made from an approved draft; None if it has no source."""
    named = _made_from(request)
    if named is None or request.purpose not in FINAL_PURPOSES:
        return None
    return ledger.job(named).verdict == APPROVED


def _made_from(request: RenderRequest) -> str | None:
    return request.promotes or (request.source.job_id if request.source else None)


def _draft_approved(ledger: Ledger, request: RenderRequest) -> bool | None:
    """Return whether a review approved the source job of a request, or one that it was made from."""
    name = _made_from(request)
    if name is None:
        return None
    visited: set[str] = set()
    while name is not None and name not in visited:
        visited.add(name)
        try:
            job = ledger.job(name)
        except JobNotFound:  # its source video is not in this ledger
            break
        if job.verdict == APPROVED:
            return True
        name = job.source_job
    return False
