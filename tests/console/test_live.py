"""The stream of new records, inside one process: what ends it, and what a slow browser costs."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from decision.rules.roles import Permission
from ledger.record import ActorSource
from ledger.store.filters import RecordFilter
from render_service.access.callers import Caller
from render_service.server.console.pages import Visit
from render_service.server.console.rendering import Templates
from render_service.server.console.views import log
from render_service.server.console.views.log import MOST_WAITING, Browser, Entry
from tests.ledger.scribe import Scribe

AUDITOR = Caller("aud", ActorSource.ACCESS_KEY, ("auditor",), frozenset({Permission.READ, Permission.AUDIT}))


@pytest.mark.anyio
async def test_a_stream_ends_with_the_session_of_its_person(
    scribe: Scribe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SIGNED_IN_S", 0)
    monkeypatch.setattr(log, "WAKE_S", 0.01)

    async def no() -> bool:
        return False

    with scribe.ledger(tmp_path / "ledger.db") as ledger:
        session: Any = SimpleNamespace(ledger=ledger, log=None)
        request = Request({"type": "http", "query_string": b"", "headers": []})
        visit = Visit(request, AUDITOR, session, datetime.now(UTC), still_signed_in=no)
        stream: Any = await log.Live(session, Templates(str), asyncio.Event()).answer(visit)
        async with asyncio.timeout(30):
            assert [part async for part in stream.body_iterator] == [": connected\n\n"]


def entry(scribe: Scribe, number: int) -> Entry:
    [draft] = scribe.note().drafts
    return Entry(draft.placed("ledger", number, number), None, "<tr></tr>")


def test_a_browser_that_takes_nothing_is_dropped_and_holds_no_memory(scribe: Scribe) -> None:
    browser = Browser(AUDITOR, RecordFilter())
    one = entry(scribe, 1)
    browser.offer([one] * MOST_WAITING)
    assert (browser.is_dropped, len(browser.waiting)) == (False, MOST_WAITING)
    browser.offer([one])
    assert (browser.is_dropped, len(browser.waiting), browser.has_some.is_set()) == (True, 0, True)
