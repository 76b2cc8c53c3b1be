"""What one agent may spend in one session, by the policy in force.

A budget limits a person or a team for a month. A ceiling stops a single agent that loops, before it has spent
that budget: ``[agents] session_usd_micros`` in the policy. What is under way counts, so calls made at the
same time cannot pass it together. A repeated request key costs nothing more.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from decision.engine.approval import choice_of
from decision.money import format_usd
from decision.request.request import RenderRequest
from ledger.events import RenderDenied, RenderHeld
from ledger.job import Job, State
from render_service.runtime.errors import SessionCeiling
from render_service.session.session import Session
from render_service.submission.preview import ruling_on

FREE = (State.DENIED, State.REJECTED, State.ABSENT, State.CANCELLED, State.REFUSED)
"""States of a job for which nothing was billed."""


@dataclass
class Ceiling:
    """The requests of one session with their estimates, by request key."""

    _taken: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @asynccontextmanager
    async def room(self, session: Session, request: RenderRequest) -> AsyncIterator[Callable[[Job], None]]:
        """Take room for a request, or raise `SessionCeiling`; yields what notes the job that came of it.

        What may have been billed keeps its room. What was denied, or failed before anything was recorded,
        gives it back.
        """
        limit = session.policy.agents.session_usd_micros if session.policy.agents else None
        key = request.request_key or ""
        is_new = False
        if limit is not None:
            is_new = await asyncio.to_thread(self._take, session, request, key, limit)
        placed: list[Job] = []
        try:
            yield placed.append
        finally:
            if is_new and (not placed or placed[0].state in FREE):
                with self._lock:
                    self._taken.pop(key, None)

    def _take(self, session: Session, request: RenderRequest, key: str, limit: int) -> bool:
        """Take room; return whether the key had none before."""
        ruling = ruling_on(session.settings, request)
        if isinstance(ruling, RenderDenied):  # it will be recorded as denied, and cost nothing
            return False
        chosen = choice_of(ruling) if isinstance(ruling, RenderHeld) else ruling
        estimate = chosen.cost_usd_micros or 0
        with self._lock:
            if key in self._taken:
                return False
            taken = sum(self._taken.values())
            if taken + estimate > limit:
                raise SessionCeiling(
                    f"this session may spend {format_usd(limit)} by the policy {session.policy.name}: "
                    f"{format_usd(taken)} are taken, and this request would cost {format_usd(estimate)}; "
                    "nothing was recorded. `sora-ledger jobs` shows what was requested; a person may raise "
                    "session_usd_micros in the policy",
                    param="max_cost_usd",
                    expected=f"at most {format_usd(limit - taken)} left of {format_usd(limit)}",
                    found=format_usd(estimate),
                )
            self._taken[key] = estimate
            return True
