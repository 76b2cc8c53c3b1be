"""Denials that somebody sets aside."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from decision.errors import BadRequest
from decision.request.request import RenderRequest
from decision.rules.policy import Policy, default_policy
from ledger.events import DecisionOverridden, RenderDecided
from ledger.job import Job
from ledger.record import ActorSource
from ledger.terms import State
from render_service.approvals.approvals import approve
from render_service.rules.overrides import Override, read_override
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.session import Session
from render_service.submission.resume import resume
from render_service.submission.submit import place
from tests.render_service.conftest import LastEvent, decide_by

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
COST = Override(("COST_ABOVE_LIMIT",), "the client pays", LATER)


@pytest.fixture
def lenient(session: Session) -> Session:
    """A policy that lets the caller's own cost limit be overridden, at noon."""
    return at_time(session, NOW, overridable=["COST_ABOVE_LIMIT"])


def at_time(session: Session, now: datetime, **more: Any) -> Session:
    policy = Policy.model_validate({**default_policy().model_dump(), **more}) if more else session.policy
    return replace(decide_by(session, policy), clock=lambda: now)


async def test_what_is_overridden_is_recorded_before_the_decision_it_leads_to(
    lenient: Session,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    placed = await place(lenient, request_for(max_cost_usd_micros=1), override=COST)
    assert placed.job.state is State.RUNNING
    assert types(placed.job)[:3] == ["render.requested", "decision.overridden", "render.decided"]
    overridden = event(placed.job, DecisionOverridden)
    assert (overridden.detail_code, overridden.why.text) == ("COST_ABOVE_LIMIT", "the client pays")
    assert overridden.expires_at == "2026-11-21T13:00:00.000000Z"
    assert "OVERRIDDEN" in event(placed.job, RenderDecided).reason_codes
    assert intact()


async def test_what_the_policy_does_not_let_be_overridden_stays_denied_and_says_so(
    session: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    placed = await place(session, request_for(max_cost_usd_micros=1), override=COST)
    assert placed.job.state is State.DENIED
    assert types(placed.job) == ["render.requested", "render.denied", "render.closed"]
    assert "cannot be overridden under the policy default (overridable: nothing)" in str(
        placed.override_refused
    )


async def test_what_is_denied_for_something_else_stays_denied(
    lenient: Session, request_for: Callable[..., RenderRequest]
) -> None:
    other = replace(COST, codes=("SEVERAL_CHANGES",))
    placed = await place(lenient, request_for(max_cost_usd_micros=1), override=other)
    assert placed.job.state is State.DENIED
    assert "SEVERAL_CHANGES" in str(placed.override_refused)


async def test_where_nothing_is_denied_nothing_is_recorded(
    lenient: Session, request_for: Callable[..., RenderRequest]
) -> None:
    with pytest.raises(BadRequest, match="the request is not denied for COST_ABOVE_LIMIT"):
        await place(lenient, request_for(), override=COST)
    assert lenient.ledger.jobs() == []


async def test_an_override_that_has_run_out_submits_nothing(
    lenient: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    job = (await place(lenient, request_for(max_cost_usd_micros=1), override=COST, queue=True)).job
    with pytest.raises(NotReady, match="an override of COST_ABOVE_LIMIT that has expired"):
        await resume(at_time(lenient, LATER), job)
    assert types(job)[-1] == "render.decided"
    assert (await resume(at_time(lenient, LATER - timedelta(minutes=1)), job)).job.state is State.RUNNING


async def test_what_is_overridden_may_still_need_a_person_and_lapses_while_it_waits(
    lenient: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    held = {"overridable": ["COST_ABOVE_LIMIT"], "approvals": [{"code": "ALL"}]}
    session = at_time(lenient, NOW, **held)
    login = ActorSource.OPERATING_SYSTEM
    ana, bob = (
        replace(session, settings=replace(session.settings, actor=who, actor_source=login))
        for who in ("ana", "bob")
    )
    jobs = [(await place(ana, request_for(max_cost_usd_micros=1), override=COST)).job for _ in range(2)]
    assert [job.state for job in jobs] == [State.HELD, State.HELD]
    in_time = await approve(bob, jobs[0])
    too_late = await approve(replace(bob, clock=lambda: LATER), jobs[1])
    assert in_time.job.state is State.DECIDED
    assert (too_late.job.state, too_late.job.detail_code) == (State.DENIED, "COST_ABOVE_LIMIT")
    assert intact()


def test_a_denial_there_is_none_of_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadRequest, match="COST_ABOVE_LIMIT"):
        read_override(["COST_ABOVE"], "because", LATER, NOW)


def test_a_time_that_is_over_is_refused() -> None:
    with pytest.raises(BadInput, match="is in the past"):
        read_override(["COST_ABOVE_LIMIT"], "because", NOW, NOW)
