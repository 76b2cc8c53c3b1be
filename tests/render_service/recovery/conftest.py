"""A server whose answers get lost, and jobs whose submission was cut off."""

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from ledger.events import RenderDecided
from ledger.job import Job
from ledger.terms import State
from render_service.runtime.settings import Settings
from render_service.session.session import Session, utc_now
from render_service.submission.intent import intended
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer


@pytest.fixture(autouse=True)
def verified(settings: Settings, intact: Callable[[], bool]) -> Iterator[None]:
    """End every one of these tests that has a ledger with the oracle."""
    yield
    assert not settings.may_have_ledger or intact()


@pytest.fixture
def server(sandbox: Callable[..., SandboxServer]) -> SandboxServer:
    """Start a sandbox in real time, to the odd second: a list of round times alone proves nothing."""
    return sandbox(clock=lambda: int(time.time()) | 1)


@pytest.fixture
def session(at: Callable[[str], Session], server: SandboxServer) -> Session:
    return at(server.base_url)


@pytest.fixture
def plan(server: SandboxServer) -> Callable[..., httpx2.Response]:
    """Let things go wrong at the server."""
    return lambda *faults: httpx2.post(f"{server.origin}/_sandbox/faults", json={"faults": faults})


@pytest.fixture
def created(server: SandboxServer) -> Callable[[], list[dict[str, Any]]]:
    """Return what the server was made to create."""

    def read() -> list[dict[str, Any]]:
        data: list[Any] = httpx2.get(f"{server.origin}/_sandbox/jobs").json()["data"]
        return data

    return read


@pytest.fixture
def someone_else(server: SandboxServer) -> Callable[..., str]:
    """Have another program create a video of the same account."""

    def create(**changes: Any) -> str:
        values = {"prompt": "a fox runs", "model": "sora-2", "size": "1280x720", "seconds": "4"} | changes
        made = httpx2.post(
            f"{server.base_url}/videos", json=values, headers={"authorization": "Bearer other"}
        )
        return str(made.raise_for_status().json()["id"])

    return create


@pytest.fixture
def forget(server: SandboxServer) -> Callable[[str], None]:
    """Have somebody else delete a video of the same account."""

    def delete(video_id: str) -> None:
        url, headers = f"{server.base_url}/videos/{video_id}", {"authorization": "Bearer other"}
        httpx2.delete(url, headers=headers).raise_for_status()

    return delete


@pytest.fixture
def later() -> Callable[..., Session]:
    """Return the same session at a later time by its clock."""

    def at(session: Session, **ahead: float) -> Session:
        return replace(session, clock=lambda: utc_now() + timedelta(**ahead))

    return at


@pytest.fixture
def lost(
    plan: Callable[..., httpx2.Response], request_for: Callable[..., RenderRequest]
) -> Callable[..., Awaitable[Job]]:
    """Submit a request whose answer gets lost; `kept` says whether the server carried it out."""

    async def submit(session: Session, *, kept: bool = True, **changes: Any) -> Job:
        plan("create=kept-but-answer-lost:1" if kept else "create=lost:1")
        job = (await place(session, request_for(**changes))).job
        assert job.state is State.UNKNOWN
        return job

    return submit


@pytest.fixture
def cut_off(request_for: Callable[..., RenderRequest]) -> Callable[..., Awaitable[Job]]:
    """Record what a process has recorded that dies before its call, `without` what older versions lack."""

    async def begin(session: Session, *, without: tuple[str, ...] = (), **changes: Any) -> Job:
        placed = await place(session, request_for(**changes), queue=True)
        assert isinstance(placed.ruling, RenderDecided)
        profile = session.profile(placed.job.profile)
        async with session.connect(profile) as client:
            intent = intended(client, profile, placed.requested, placed.ruling)
        intent = structs.replace(intent, **dict.fromkeys(without))
        return await session.advance(placed.job, [session.draft(intent)])

    return begin
