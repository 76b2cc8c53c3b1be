"""A worker in a session, in this process, that can be told when to stop by what it logs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.job import Job
from render_service.api.sessions import open_session
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session
from render_service.submission.submit import place
from render_service.worker.leases import WorkerOptions
from render_service.worker.worker import Worked, Worker

TRACE = Trace("1" * 32, "2" * 16)
QUICK = {"idle_s": 0.02, "interval_s": 0.1, "grace_s": 0.0}


@dataclass
class Heard(Log):
    """A log that remembers its lines, and does what it was asked to do when it hears one."""

    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    then: dict[str, Callable[[], Any]] = field(default_factory=dict)

    def info(self, event: str, **keys: Any) -> None:
        self.lines.append((event, keys))
        self.then.get(event, lambda: None)()

    warning = info

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the keys of every line of an event."""
        return [keys for name, keys in self.lines if name == event]


@dataclass
class Bench:
    """A session, and workers at it."""

    session: Session
    request_for: Callable[..., Any]
    profile: str = "openai"

    @property
    def log(self) -> Heard:
        assert isinstance(self.session.log, Heard)
        return self.session.log

    async def queued(self, count: int = 1, **changes: Any) -> list[Job]:
        """Leave some jobs to workers."""
        values = {"profile": self.profile} | changes
        requests = [self.request_for(prompt=f"fox {number}", **values) for number in range(count)]
        return [(await place(self.session, one, queue=True)).job for one in requests]

    async def work(self, until: str | None = None, **terms: Any) -> Worked:
        """Work until nothing is left, or until a log event was heard."""
        stop = asyncio.Event()
        if until:
            self.log.then[until] = stop.set
        values: dict[str, Any] = QUICK | {"drain": until is None} | terms
        worker = Worker(self.session, WorkerOptions(**values))
        async with asyncio.timeout(120):
            return await worker.run(stop)

    async def job(self, job: Job) -> Job:
        """Return a job as it is now."""
        return await self.session.job(job.job_id)

    def types(self, *jobs: Job) -> Counter[str]:
        """Return how many events of each type some jobs have."""
        history = self.session.ledger.history
        return Counter(record.type for job in jobs for record in history(job.job_id))


@pytest.fixture
async def bench(
    settings: Settings, request_for: Callable[..., RenderRequest], anyio_backend: str
) -> AsyncIterator[Callable[..., Bench]]:
    """Open a session whose jobs go to a base URL; several share the ledger, as processes do."""
    async with AsyncExitStack() as stack:

        def begin(base_url: str, profile: str = "openai", **changes: Any) -> Bench:
            given = replace(settings, base_url=base_url, profile_name=profile)
            session = open_session(given, TRACE, Heard(TRACE))
            stack.push_async_callback(session.close)
            return Bench(replace(session, **changes), request_for, profile)

        yield begin
