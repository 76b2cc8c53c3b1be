"""What one agent may spend in one session, by the policy in force.

A budget limits a person or a team for a month. A ceiling stops a single agent that loops, before it has spent
that budget: ``[agents] session_usd_micros`` in the policy. A session is what one agent requests for one
person, under one access key if it has one, in ``session_hours``. It is counted from the ledger, so it
outlives the server, and every server on the ledger counts the same.

1. The agent takes its turn, which one request of it has at a time, in all processes on the ledger.
2. Its jobs of the session are added up: what is under way or held counts with its estimate.
3. The request is recorded, and counts from then on. The turn ends; sending it takes longer.

A crash between 1 and 3 leaves a turn that nobody ends. It is named after the time in which it began, so it
counts for two times `TURN_S` at most.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from decision.engine.approval import choice_of
from decision.money import format_usd
from decision.request.request import RenderRequest
from decision.rules.policy import Policy
from ledger.events import RenderDenied, RenderHeld
from ledger.job import Job
from ledger.record import timestamp
from ledger.store.filters import JobFilter
from ledger.store.queue import Limit
from ledger.terms import State
from render_service.runtime.errors import SessionCeiling
from render_service.session.session import Session
from render_service.submission.preview import ruling_on
from render_service.submission.result import placed_under

FREE = (State.DENIED, State.REJECTED, State.ABSENT, State.CANCELLED, State.REFUSED)
"""States of a job for which nothing was billed."""
DEFAULT_HOURS = 24
TURN_S = 120.0
"""Longer than it takes to record a request; a turn that a crash left ends after twice that."""
LOOK_S = 0.05


@asynccontextmanager
async def room(session: Session, request: RenderRequest) -> AsyncIterator[Callable[[], None]]:
    """Have the agent's turn, or raise `SessionCeiling`; yields what ends the turn once it is recorded."""
    limit = session.policy.agents.session_usd_micros if session.policy.agents else None
    if limit is None:
        yield lambda: None
        return
    turn = _Turn(session)
    await turn.begin()
    try:
        await asyncio.to_thread(_check, session, request, limit)
        yield turn.end
    finally:
        await turn.close()


class _Turn:
    """The turn of an agent to request something, in all processes on the ledger."""

    def __init__(self, session: Session) -> None:
        self._session, self._queue = session, session.ledger.store.queue
        self._token = uuid.uuid4().hex
        self._ending: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Wait for the turn: that of this period, and of the one before, in which another may have begun."""
        now = int(time.time() // TURN_S)
        for period in (now - 1, now):
            limit = Limit(f"{self._session.settings.actor} {period}", running=1)
            while await asyncio.to_thread(self._queue.acquire_slot, f"{self._token}{period}", limit):
                await self._session.sleep(LOOK_S)
        self._held = [f"{self._token}{period}" for period in (now - 1, now)]

    def end(self) -> None:
        """End the turn; it may be called twice."""
        if self._ending is None:
            self._ending = asyncio.create_task(asyncio.to_thread(self._queue.release_slots, self._held))

    async def close(self) -> None:
        """End the turn, and wait until it has ended, also if this is cancelled."""
        self.end()
        if self._ending is not None:
            await asyncio.shield(self._ending)


def _check(session: Session, request: RenderRequest, limit: int) -> None:
    """Raise `SessionCeiling` if a new request costs more than is left of the session."""
    if request.request_key and placed_under(session.ledger, request.request_key) is not None:
        return  # it is recorded, and counts already
    ruling = ruling_on(session.settings, request)
    if isinstance(ruling, RenderDenied):  # it will be recorded as denied, and cost nothing
        return
    chosen = choice_of(ruling) if isinstance(ruling, RenderHeld) else ruling
    estimate, taken = chosen.cost_usd_micros or 0, spent(session)
    if taken + estimate <= limit:
        return
    raise SessionCeiling(
        f"this session may spend {format_usd(limit)} in {hours_of(session.policy)} hours by the policy "
        f"{session.policy.name}: {format_usd(taken)} are taken, and this request would cost "
        f"{format_usd(estimate)}; nothing was recorded. `sora-ledger jobs` shows what was requested; "
        "a person may raise session_usd_micros in the policy",
        param="max_cost_usd",
        expected=f"at most {format_usd(max(0, limit - taken))}",
        found=format_usd(estimate),
    )


def hours_of(policy: Policy) -> int:
    """Return how long a session of an agent lasts."""
    hours = policy.agents.session_hours if policy.agents else None
    return DEFAULT_HOURS if hours is None else hours


def spent(session: Session) -> int:
    """Return what the agent's jobs of this session cost so far, those under way by their estimates."""
    since = timestamp(session.clock() - timedelta(hours=hours_of(session.policy)))
    where = JobFilter(of_actor=session.settings.actor, since=since)
    key = session.settings.access_key_id
    jobs = (job for job in session.ledger.each_job(where) if key is None or job.access_key_id == key)
    return sum(_cost_of(job) for job in jobs if job.state not in FREE)


def _cost_of(job: Job) -> int:
    settled = job.settled_usd_micros
    return (job.estimate_usd_micros or 0) if settled is None else settled
