"""A session on a new ledger, at whichever server the test names."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from decision.request.request import RenderRequest, parse_request
from decision.rules.policy import Policy
from decision.rules.toml import default_catalog
from ledger.events import Event
from ledger.job import Job
from ledger.log.opening import open_ledger
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify
from render_service.api import sessions
from render_service.rules.policies import InForce
from render_service.runtime.settings import Settings, read_settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer

TRACE = Trace("1" * 32, "2" * 16)
KEY = "sk-test-0123456789abcdef"


def decide_by(session: Session, policy: Policy) -> Session:
    """Return the same session with another policy, which is not activated in its ledger."""
    rules = replace(session.in_force.rules, policy=policy)
    return replace(session, in_force=InForce(session.ledger, rules))


AnEvent = TypeVar("AnEvent", bound=Event)


class LastEvent(Protocol):
    """Returns the last event of a kind in a job."""

    def __call__(self, job: Job, kind: type[AnEvent]) -> AnEvent: ...


@pytest.fixture(scope="module", autouse=True)
def _ledgers(copied_ledgers: None) -> None:
    """Begin the ledgers of these tests quickly."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings that name this test's ledger and no server yet."""
    return read_settings(
        ledger=str(tmp_path / "ledger.db"),
        actor="ana",
        environment={"OPENAI_API_KEY": KEY, "SORA_LEDGER_PROFILE": "openai"},
        folder=tmp_path,
    )


@pytest.fixture
async def at(
    settings: Settings,
    anyio_backend: str,  # tests that are not async may ask for a session too
) -> AsyncIterator[Callable[[str], Session]]:
    """Open a session whose requests go to a base URL; several share the ledger, as processes do."""
    async with AsyncExitStack() as stack:

        def open_session(base_url: str) -> Session:
            session = sessions.open_session(
                replace(settings, base_url=base_url), TRACE, Log(TRACE, quiet=True)
            )
            stack.push_async_callback(session.close)
            return session

        yield open_session


@pytest.fixture
def session(at: Callable[[str], Session], sandbox: Callable[..., SandboxServer]) -> Session:
    """Return a session at a sandbox that renders at once."""
    return at(sandbox().base_url)


@pytest.fixture
def request_for() -> Callable[..., RenderRequest]:
    """Parse a create request; values may be changed."""

    def parse(**changes: Any) -> RenderRequest:
        values = {"operation": "create", "prompt": "a fox runs", "profile": "openai", "augment": False}
        return parse_request(catalog=default_catalog(), **(values | changes))

    return parse


@pytest.fixture
def stored(request_for: Callable[..., RenderRequest]) -> Callable[..., Awaitable[Job]]:
    """Carry a request through to the end in a session."""

    async def carry(session: Session, **changes: Any) -> Job:
        placed = await place(session, request_for(**changes))
        return await settle(session, placed.job, interval_s=0.05, timeout_s=30)

    return carry


@pytest.fixture
def types(settings: Settings) -> Callable[[Job], list[str]]:
    """Return the types of a job's events, in order."""

    def read(job: Job) -> list[str]:
        with open_ledger(settings.ledger_url) as ledger:
            return [record.type for record in ledger.history(job.job_id)]

    return read


@pytest.fixture
def event(settings: Settings) -> LastEvent:
    """Return the last event of a kind in a job."""

    def read(job: Job, kind: type[AnEvent]) -> AnEvent:
        with open_ledger(settings.ledger_url) as ledger:
            return [r.event for r in ledger.history(job.job_id) if isinstance(r.event, kind)][-1]

    return read


@pytest.fixture
def intact(settings: Settings) -> Callable[[], bool]:
    """Say whether the ledger verifies."""

    def check() -> bool:
        with SqliteSnapshot(settings.ledger_path) as snapshot:
            return verify(snapshot).clean

    return check


@pytest.fixture
def permitting(session: Session) -> Session:
    """Return the session where destinations on this machine are permitted."""
    return replace(session, settings=replace(session.settings, private_endpoints=True))
