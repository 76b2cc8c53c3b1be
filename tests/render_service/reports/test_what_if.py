"""What another policy would have made of the past."""

from collections.abc import Callable

import pytest

from decision.request.request import RenderRequest
from decision.rules.approvals import ApprovalRule
from decision.rules.policy import Fit, default_policy
from render_service.reports.redecide import what_if
from render_service.session.session import Session
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio
DEAR = default_policy().model_copy(
    update={"purposes": {**default_policy().purposes, "draft": (Fit(model="sora-2-pro", fit=100),)}}
)
HOLDING = default_policy().model_copy(update={"approvals": (ApprovalRule(code="ALL_DRAFTS"),)})


async def test_the_policy_that_decided_changes_nothing(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    await place(session, request_for())
    assert what_if(session.ledger, default_policy(), None).different == 0


async def test_a_dearer_choice_is_shown_with_its_difference(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    await place(session, request_for())
    (one,) = what_if(session.ledger, DEAR, None).shown
    assert (one.before.model, one.after.model, one.difference_usd_micros) == (
        "sora-2",
        "sora-2-pro",
        800_000,
    )


async def test_what_would_be_held_is_counted_apart(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    await place(session, request_for())
    tally = what_if(session.ledger, HOLDING, None)
    assert (tally.kinds, tally.after_usd_micros, tally.held_after_usd_micros) == (
        {"ALLOW to HOLD": 1},
        0,
        400_000,
    )


async def test_what_was_decided_before_the_time_is_left_out(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(session, request_for())
    after = session.ledger.history(placed.job.job_id)[-1].recorded_at.replace("Z", "~")
    assert what_if(session.ledger, DEAR, None, since=after).decisions == 0


async def test_what_was_denied_costs_nothing_then(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    await place(session, request_for(max_cost_usd_micros=1))
    tally = what_if(session.ledger, DEAR, None)
    assert (tally.before_usd_micros, tally.after_usd_micros, tally.different) == (0, 0, 0)
