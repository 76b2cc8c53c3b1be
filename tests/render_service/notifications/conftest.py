"""Clients with access keys and endpoints, and notifiers that deliver to real receivers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from decision.request.request import RenderRequest
from decision.rules.policy import Policy, default_policy
from ledger.events import AccessGranted
from ledger.job import Job
from ledger.store.interface import ANY
from render_service.access.callers import Caller
from render_service.access.gatekeeper import Gatekeeper
from render_service.access.register import STREAM, make_key
from render_service.notifications.addresses import Addresses
from render_service.notifications.announcements import COMPLETED, FAILED
from render_service.notifications.endpoints import Endpoint, Endpoints
from render_service.notifications.outbox import Notifier
from render_service.notifications.post import Post
from render_service.rules.opening import activate
from render_service.rules.policies import InForce, Rules
from render_service.session.session import Session
from render_service.submission.submit import place


@dataclass
class Client:
    """A caller of the gateway with a session, who may have endpoints."""

    caller: Caller
    session: Session
    key_id: str

    async def listen(self, url: str, *event_types: str) -> tuple[Endpoint, str]:
        """Register an endpoint; return it with its secret."""
        types = event_types or (COMPLETED, FAILED)
        return await Endpoints(self.session.ledger).create(self.session, "a client", url, types)


@pytest.fixture
def client(session: Session) -> Callable[..., Awaitable[Client]]:
    """Grant a key and return the client who has it."""

    async def granted(name: str = "alice", *roles: str, **more: Any) -> Client:
        key = make_key()
        values = {"roles": roles or ("requester",)} | more
        event = AccessGranted(key_id=key.key_id, key_sha256=key.sha256, name=name, **values)
        await session.append(STREAM, ANY, [session.draft(event)])
        caller = await Gatekeeper(session).identify(f"Bearer {key.text}")
        return Client(caller, caller.session(session), key.key_id)

    return granted


@asynccontextmanager
async def delivering(session: Session, *, permits_private: bool = True) -> AsyncIterator[Notifier]:
    """Run a notifier."""
    stop = asyncio.Event()
    async with Post(Addresses(permits_private=permits_private)) as post:
        notifier = Notifier(session, post, idle_s=0.05)
        running = asyncio.create_task(notifier.run(stop))
        try:
            yield notifier
        finally:
            stop.set()
            await running


@pytest.fixture
async def notifier(session: Session, anyio_backend: str) -> AsyncIterator[Callable[..., Awaitable[Notifier]]]:
    """Run notifiers on the session until the end of the test."""
    async with AsyncExitStack() as stack:

        async def start(at: Session | None = None, **options: Any) -> Notifier:
            return await stack.enter_async_context(delivering(at or session, **options))

        yield start


@pytest.fixture
def holding(request_for: Callable[..., RenderRequest]) -> Callable[[Session], Awaitable[Job]]:
    """Place a request under a policy that holds every final, and return its job."""

    async def place_held(session: Session) -> Job:
        held = [{"code": "FINALS", "purposes": ["final"]}]
        policy = Policy.model_validate({**default_policy().model_dump(), "approvals": held})
        rules = Rules(policy, session.catalog)
        activate(session.settings, session.trace, session.clock(), rules, "for a test")
        at = replace(session, in_force=InForce(session.ledger))
        return (await place(at, request_for(purpose="final"))).job

    return place_held
