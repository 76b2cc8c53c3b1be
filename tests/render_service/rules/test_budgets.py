"""Limits of what may be spent: inputs of the decision, enforced where it is recorded."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from ledger.errors import WrongExpectedVersion
from ledger.events import BudgetSet, CostSettled, RenderDecided, RenderDenied
from ledger.job import Job
from ledger.store.interface import ANY, Batch
from ledger.terms import State
from render_service.adoption.server_library import delete
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import (
    PolicyReplaced,
    limits,
    list_remaining,
    set_limit,
    translate_refusal,
)
from render_service.runtime.errors import BudgetGone
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.resume import cancel, resume
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Faults
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

NOVEMBER = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
CLIP = 400_000
"""What four seconds of sora-2 cost."""


def allow(session: Session, usd_micros: int | None, name: str = "all", period: str = "none") -> None:
    set_limit(
        session.ledger, read_name(name, Period(period)), usd_micros, None, session.clock(), session.provenance
    )


def at_time(session: Session, now: datetime) -> Session:
    return replace(session, clock=lambda: now)


async def test_a_decision_reserves_its_estimate_and_says_where(
    session: Session,
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    allow(session, 1_000_000)
    placed = await place(session, request_for())
    decided = event(placed.job, RenderDecided)
    assert [(hold.budget, hold.usd_micros) for hold in decided.holds] == [("all", CLIP)]
    assert decided.basis.inputs["budget_left_usd_micros"] == 1_000_000
    assert session.ledger.store.held("all") == CLIP
    assert intact()


async def test_what_the_budget_has_not_left_is_denied_with_the_reason(
    session: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    allow(session, 1_000_000)
    jobs = [(await place(session, request_for())).job for _ in range(3)]
    assert [job.detail_code for job in jobs] == [None, None, "BUDGET_EXHAUSTED"]
    assert session.ledger.store.held("all") == 2 * CLIP
    assert intact()


async def test_the_least_that_is_left_decides(
    session: Session, request_for: Callable[..., RenderRequest], event: LastEvent
) -> None:
    allow(session, 9_000_000)
    allow(session, 100_000, "purpose_draft")
    allow(session, 1, "purpose_final")
    placed = await place(session, request_for())
    assert event(placed.job, RenderDenied).basis.inputs["budgets"] == "all,purpose_draft"
    assert placed.job.detail_code == "BUDGET_EXHAUSTED"


async def test_a_team_and_a_project_pay_from_budgets_of_their_own(
    session: Session, request_for: Callable[..., RenderRequest], event: LastEvent
) -> None:
    film = replace(session, settings=replace(session.settings, team="film", project="spring"))
    for name in ("team_film", "project_spring", "team_other", "team_film__purpose_draft"):
        allow(session, 9_000_000, name)
    decided = event((await place(film, request_for())).job, RenderDecided)
    names = ["project_spring", "team_film", "team_film__purpose_draft"]
    assert [hold.budget for hold in decided.holds] == names
    assert (decided.basis.inputs["team"], decided.basis.inputs["project"]) == ("film", "spring")
    assert session.ledger.store.held("team_other") == 0


async def test_settling_books_what_was_spent_and_deleting_gives_nothing_back(
    session: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    allow(session, 1_000_000)
    placed = await place(session, request_for())
    stored = await settle(session, placed.job, interval_s=0.05, timeout_s=30)
    [hold] = session.ledger.store.holds("all")
    assert (hold.reserved_usd_micros, hold.settled_usd_micros) == (0, CLIP)
    await delete(session, stored)
    assert session.ledger.store.held("all") == CLIP
    assert intact()


async def test_a_reported_cost_above_the_estimate_is_booked_although_it_passes_the_limit(
    session: Session,
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    allow(session, 500_000)
    placed = await place(session, request_for())
    dearer = structs.replace(placed.job, reported_cost_usd_micros=900_000)
    settled = await settle(session, dearer, interval_s=0.05, timeout_s=30)
    assert event(settled, CostSettled).cost_usd_micros == 900_000
    [left] = list_remaining(session.ledger, session.clock())
    assert (left.held_usd_micros, left.usd_micros) == (900_000, 0)
    assert (await place(session, request_for())).job.detail_code == "BUDGET_EXHAUSTED"


async def test_what_was_refused_or_never_arrived_gives_its_money_back(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    intact: Callable[[], bool],
) -> None:
    session, nowhere = at(faults.then(400).base_url), at("http://127.0.0.1:9/v1")
    allow(session, 1_000_000)
    rejected, absent = [(await place(one, request_for())).job for one in (session, nowhere)]
    assert (rejected.state, absent.state) == (State.REJECTED, State.ABSENT)
    assert session.ledger.store.held("all") == 0
    assert intact()


async def test_an_unknown_outcome_keeps_its_money(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    intact: Callable[[], bool],
) -> None:
    session = at(faults.then(500).base_url)
    allow(session, 1_000_000)
    assert (await place(session, request_for())).job.state is State.UNKNOWN
    assert session.ledger.store.held("all") == CLIP
    assert intact()


async def test_what_is_withdrawn_gives_its_money_back(
    session: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    allow(session, 1_000_000)
    placed = await place(session, request_for(), queue=True)
    assert session.ledger.store.held("all") == CLIP
    await cancel(session, placed.job)
    assert session.ledger.store.held("all") == 0
    assert intact()


async def test_another_attempt_needs_the_money_to_be_there_still(
    session: Session,
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    allow(session, 500_000)
    absent = (await place(at("http://127.0.0.1:9/v1"), request_for(request_key="k"))).job
    await place(session, request_for())
    with pytest.raises(BudgetGone, match="was not sent again: budget all"):
        await resume(session, absent)
    assert types(absent)[-1] == "submission.absent"
    assert intact()


async def test_who_loses_the_race_for_the_money_decides_again_and_is_denied(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
    intact: Callable[[], bool],
) -> None:
    base_url = sandbox().base_url
    sessions = [at(base_url) for _ in range(6)]
    allow(sessions[0], 1_000_000)
    placed = await asyncio.gather(*(place(one, request_for(), queue=True) for one in sessions))
    assert sorted(one.job.state for one in placed) == [State.DECIDED] * 2 + [State.DENIED] * 4
    assert {one.job.detail_code for one in placed if one.job.state is State.DENIED} == {"BUDGET_EXHAUSTED"}
    assert intact()


# --- months and days ---


async def test_every_month_has_a_budget_of_its_own(
    session: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    november, december = at_time(session, NOVEMBER), at_time(session, DECEMBER)
    allow(november, 500_000, period="month")
    states = [
        (await place(one, request_for(), queue=True)).job.state for one in (november, november, december)
    ]
    assert states == [State.DECIDED, State.DENIED, State.DECIDED]
    held = [session.ledger.store.held(name) for name in ("all__2026_11", "all__2026_12", "all__month")]
    assert held == [CLIP, CLIP, 0]
    assert intact()


async def test_a_new_month_is_begun_once_and_by_itself(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    allow(at_time(session, NOVEMBER), 5_000_000, period="month")
    december = at_time(session, DECEMBER)
    for _ in range(2):
        await place(december, request_for(), queue=True)
    begun = limits(session.ledger)["all__2026_12"].record
    every = limits(session.ledger)["all__month"].record
    assert (begun.version, begun.envelope.authority, begun.envelope.causation_id) == (
        1,
        "SYSTEM",
        every.event_id,
    )


async def test_a_limit_that_is_raised_holds_in_the_month_that_runs(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    december = at_time(session, DECEMBER)
    allow(december, 100_000, period="month")
    assert (await place(december, request_for(), queue=True)).job.state is State.DENIED
    allow(december, 500_000, period="month")
    assert (await place(december, request_for(), queue=True)).job.state is State.DECIDED


async def test_a_limit_that_is_lifted_holds_no_longer(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    allow(session, 1)
    allow(session, None)
    placed = await place(session, request_for(), queue=True)
    assert placed.job.state is State.DECIDED
    [left] = list_remaining(session.ledger, session.clock())
    assert (left.limit_usd_micros, left.usd_micros, left.held_usd_micros) == (None, None, CLIP)


async def test_a_month_that_nothing_was_decided_in_stands_with_the_limit_it_will_get(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    november = at_time(session, NOVEMBER)
    allow(november, 500_000, period="month")
    await place(november, request_for(), queue=True)
    [left] = list_remaining(session.ledger, DECEMBER)
    assert (left.budget, left.limit_usd_micros, left.held_usd_micros) == ("all__2026_12", 500_000, 0)
    names = [left.budget for left in list_remaining(session.ledger, DECEMBER, past=True)]
    assert names == ["all__2026_11", "all__2026_12"]


async def test_a_budget_by_a_name_nobody_can_give_it_now_is_shown_among_the_others(session: Session) -> None:
    allow(session, 500_000)
    foreign = session.draft(BudgetSet(budget="old", limit_usd_micros=7))
    session.ledger.append([Batch("budget_old", ANY, [foreign])])
    lefts = list_remaining(session.ledger, session.clock())
    assert [(left.budget, left.limit_usd_micros) for left in lefts] == [("all", 500_000), ("old", 7)]


async def test_a_limit_that_is_refused_under_the_same_policy_stays_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([WrongExpectedVersion("another stream")])

    def refused(*_: Any, **__: Any) -> Any:
        for refusal in refusals:
            raise refusal
        return []

    monkeypatch.setattr(session.ledger, "append", refused)
    with pytest.raises(WrongExpectedVersion, match="another stream"):
        allow(session, 500_000)


@pytest.mark.parametrize(("replaced", "raised"), [(True, PolicyReplaced), (False, WrongExpectedVersion)])
async def test_a_refusal_is_the_policys_only_if_another_one_is_in_force(
    *, replaced: bool, raised: type[Exception]
) -> None:
    in_force, under = cast("Any", SimpleNamespace(renew=lambda _: replaced)), cast("Any", None)
    with pytest.raises(raised), translate_refusal(in_force, under):
        raise WrongExpectedVersion("another stream")
