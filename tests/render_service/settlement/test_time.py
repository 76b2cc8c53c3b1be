"""Clocks jump: what is recorded may look odd, nothing else does."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time

from decision.request.request import RenderRequest
from ledger.log.opening import open_ledger, open_or_create
from ledger.terms import State
from render_service.api.sessions import open_session
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, begin_trace
from render_service.session.session import Session, utc_now
from render_service.settlement.settle import settle
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio
LONG_AGO, FAR_AHEAD = datetime(2001, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


def jumping(session: Session) -> Session:
    """Return the same session with a clock that jumps by decades, to and fro, at every look."""
    times = [LONG_AGO, FAR_AHEAD]

    def clock() -> datetime:
        times.reverse()
        return times[0]

    return replace(session, clock=clock)


async def test_a_render_is_stored_under_a_clock_that_jumps(
    session: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    odd = jumping(session)
    job = await settle(odd, (await place(odd, request_for())).job, interval_s=0.05, timeout_s=30)
    assert (job.state, intact()) == (State.STORED, True)


async def test_order_is_that_of_the_positions_whatever_the_times_say(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    odd = jumping(session)
    job = await settle(odd, (await place(odd, request_for())).job, interval_s=0.05, timeout_s=30)
    history = session.ledger.history(job.job_id)
    times = [record.recorded_at for record in history]
    assert times != sorted(times)
    assert [record.version for record in history] == list(range(1, len(history) + 1))


async def test_a_session_that_ends_before_it_began_took_no_time(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(replace(session, clock=lambda: FAR_AHEAD), request_for())
    job = await settle(replace(session, clock=lambda: LONG_AGO), placed.job, interval_s=0.05, timeout_s=30)
    [closed] = [r.event for r in session.ledger.history(job.job_id) if r.type == "render.closed"]
    assert closed.duration_ms == 0


async def test_a_deadline_does_not_see_the_wall_clock(
    session: Session, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (await place(session, request_for())).job
    real, ahead = time.time, iter(range(1_000_000))
    monkeypatch.setattr(time, "time", lambda: real() + 86_400 * next(ahead))
    assert (await settle(session, job, interval_s=0.05, timeout_s=5)).state is State.STORED


@pytest.mark.parametrize("wrong", [LONG_AGO, FAR_AHEAD])
def test_a_machine_whose_clock_is_wrong_goes_by_that_of_the_database(
    settings: Settings, wrong: datetime
) -> None:
    with freeze_time(wrong):
        session = open_session(settings, begin_trace(), Log(begin_trace(), quiet=True))
        shown = session.clock()
        session.ledger.close()
    assert abs(shown - utc_now()) < timedelta(minutes=5)


def test_a_ledger_may_be_begun_and_read_at_any_time(settings: Settings, intact: Callable[[], bool]) -> None:
    with freeze_time(FAR_AHEAD):
        open_or_create(settings.ledger_url, settings.provenance(begin_trace()), utc_now()).close()
    with freeze_time(LONG_AGO), open_ledger(settings.ledger_url) as ledger:
        [created] = ledger.read()
    assert (created.recorded_at[:4], intact()) == ("2099", True)
