"""What was spent and what is reserved."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from decision.request.request import RenderRequest
from ledger.job import Job
from render_service.reports.spending import Grouping, Spending, spending
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import set_limit
from render_service.session.session import Session
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio

CLIP, PRO = 400_000, 1_200_000
NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)


def sums_of(found: Spending) -> dict[str, tuple[int, int, int]]:
    return {part.name: (part.settled_usd_micros, part.reserved_usd_micros, part.jobs) for part in found.parts}


@pytest.fixture
async def spent(
    session: Session, request_for: Callable[..., RenderRequest], stored: Callable[..., Awaitable[Job]]
) -> Session:
    """One clip that is stored, a final that is queued, and one that is denied."""
    set_limit(
        session.ledger, read_name("all", Period.NONE), 2_000_000, None, session.clock(), session.provenance
    )
    await stored(session)
    await place(session, request_for(purpose="final", model="sora-2-pro"), queue=True)
    await place(session, request_for(max_cost_usd_micros=1))
    return session


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (Grouping.MODEL, {"sora-2-pro": (0, PRO, 1), "sora-2": (CLIP, 0, 1), "not decided": (0, 0, 1)}),
        (Grouping.PURPOSE, {"final": (0, PRO, 1), "draft": (CLIP, 0, 2)}),
        (Grouping.ACTOR, {"ana": (CLIP, PRO, 3)}),
        (Grouping.BUDGET, {"all": (CLIP, PRO, 2)}),
    ],
)
async def test_money_is_shown_in_parts_the_dearest_first(
    spent: Session, by: Grouping, expected: dict[str, tuple[int, int, int]]
) -> None:
    found = spending(spent.ledger, by, NOW)
    assert sums_of(found) == expected
    assert list(sums_of(found)) == list(expected)
    assert (found.total.settled_usd_micros, found.total.reserved_usd_micros) == (CLIP, PRO)


async def test_what_is_left_of_each_budget_is_shown_too(spent: Session) -> None:
    [left] = spending(spent.ledger, Grouping.MODEL, NOW).budgets
    assert (left.budget, left.usd_micros) == ("all", 2_000_000 - CLIP - PRO)


async def test_what_nobody_reported_is_marked_as_estimated(spent: Session) -> None:
    assert spending(spent.ledger, Grouping.MODEL, NOW).total.estimated_usd_micros == CLIP


async def test_days_are_in_their_order_and_since_leaves_earlier_ones_out(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    for day in (21, 20, 22):
        noon = datetime(2026, 11, day, 12, tzinfo=UTC)
        await place(replace(session, clock=lambda noon=noon: noon), request_for(), queue=True)  # type: ignore[misc]
    assert list(sums_of(spending(session.ledger, Grouping.DAY, NOW))) == [
        "2026-11-20",
        "2026-11-21",
        "2026-11-22",
    ]
    later = spending(session.ledger, Grouping.DAY, NOW, since="2026-11-21T00:00:00.000000Z")
    assert list(sums_of(later)) == ["2026-11-21", "2026-11-22"]


async def test_a_ledger_without_jobs_spent_nothing(session: Session) -> None:
    found = spending(session.ledger, Grouping.BUDGET, NOW)
    assert (found.parts, found.total.usd_micros) == ((), 0)
