"""Records to forward, and what forwards them to real receivers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat

from ledger.events import ExternalRecorded
from ledger.record import Record
from ledger.store.interface import ANY
from render_service.forwarding.destinations import Destinations
from render_service.forwarding.forwarder import Forwarded, Forwarding
from render_service.session.session import Session
from tests.receiver import Received, Receiver


def parsed(received: Received) -> BaseCloudEvent:
    """Read a delivery as the official library does."""
    return from_http_event(HTTPMessage(received.headers, received.body), JSONFormat())


def positions(receiver: Receiver, *, taken: bool = True) -> list[int]:
    """Return the positions of what arrived, in that order."""
    return [
        int(str(parsed(one).get_extension("sequence")))
        for one in receiver.received
        if one.status == 200 or not taken
    ]


@pytest.fixture
def add(session: Session) -> Callable[..., Awaitable[list[Record]]]:
    """Record facts in some streams, one after the other."""

    async def record(*streams: str) -> list[Record]:
        made = []
        for number, stream in enumerate(streams):
            event = ExternalRecorded(status=f"step {number}")
            made += await session.append(stream, ANY, [session.draft(event)])
        return made

    return record


async def until(holds: Callable[[], Any], timeout_s: float = 60) -> None:
    """Return once `holds` returns, or leads to, something true; others make it so."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = holds()
            if await found if isawaitable(found) else found:
                return
            await asyncio.sleep(0.02)


def destination(url: str, **more: Any) -> Destinations:
    """Return one HTTP destination."""
    return Destinations.model_validate({"version": 1, "http": [{"name": "there", "url": url} | more]})


@asynccontextmanager
async def forwarding(session: Session, destinations: Destinations) -> AsyncIterator[None]:
    """Forward until the end of the block."""
    stop = asyncio.Event()
    async with Forwarding(session, destinations) as ways:
        running = asyncio.create_task(ways.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running


async def drained(session: Session, destinations: Destinations) -> list[Forwarded]:
    """Forward everything recorded so far."""
    async with asyncio.timeout(60), Forwarding(session, destinations) as ways:
        return await ways.run(asyncio.Event(), drains=True)


def data_of(received: Received) -> Any:
    """Return the data of a delivery."""
    data = parsed(received).get_data()
    return data if isinstance(data, dict) else json.loads(str(data))
