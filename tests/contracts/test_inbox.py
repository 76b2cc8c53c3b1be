"""The inbox holds each event once and wakes its job, on every store, whoever receives."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ledger.events import RenderAdopted, WebhookReceived
from ledger.log.opening import open_snapshot
from ledger.store.filters import RecordFilter
from ledger.store.interface import NEW
from ledger.terms import Status
from ledger.verify import verify
from render_service.session.session import Session
from render_service.webhooks.inbox import Inbox, Reception

JOB = "job_" + "0" * 31 + "1"


def event(number: int, delivery: int = 0) -> WebhookReceived:
    return WebhookReceived(
        webhook_event_id=f"evt_{number}",
        delivery_id=f"wh_{number}_{delivery}",
        webhook_type="video.completed",
        video_id=f"video_{number}",
    )


@pytest.mark.anyio
async def test_processes_that_receive_the_same_events_record_each_once(
    process: Callable[[], Session], url: str
) -> None:
    inboxes = [Inbox(process()) for _ in range(3)]
    receptions = await asyncio.gather(
        *(
            inbox.receive("sandbox", event(number, way))
            for number in range(40)
            for way, inbox in enumerate(inboxes)
        )
    )
    for inbox in inboxes:
        await inbox.close()
    recorded = list(process().ledger.read(RecordFilter(type=WebhookReceived.type)))
    assert (len(recorded), receptions.count(Reception.RECORDED)) == (40, 40)
    assert receptions.count(Reception.REPEATED) == 80
    with open_snapshot(url) as snapshot:
        assert verify(snapshot).clean


@pytest.mark.anyio
async def test_what_was_received_before_a_restart_is_known_after_it(process: Callable[[], Session]) -> None:
    assert await Inbox(process()).receive("sandbox", event(1)) is Reception.RECORDED
    assert await Inbox(process()).receive("sandbox", event(1, 2)) is Reception.REPEATED


@pytest.mark.anyio
async def test_the_same_id_of_another_profile_is_another_event(process: Callable[[], Session]) -> None:
    inbox = Inbox(process())
    assert await inbox.receive("sandbox", event(1)) is Reception.RECORDED
    assert await inbox.receive("openai", event(1)) is Reception.RECORDED


@pytest.mark.anyio
async def test_a_delivery_wakes_its_job_and_no_other(process: Callable[[], Session]) -> None:
    session = process()
    for number in (1, 2):
        adopted = RenderAdopted(profile="sandbox", video_id=f"video_{number}", status=Status.QUEUED)
        await session.append(f"{JOB[:-1]}{number}", NEW, [session.draft(adopted)])
    inbox = Inbox(session)
    await inbox.receive("sandbox", event(1))
    await inbox.receive("sandbox", event(3))
    await inbox.close()
    assert [lease.job_id for lease in session.ledger.store.queue.claim("w1", 60_000, 9)] == [JOB]


@pytest.mark.anyio
async def test_a_delivery_that_came_again_because_of_a_crash_still_wakes_its_job(
    process: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = process()
    adopted = RenderAdopted(profile="sandbox", video_id="video_1", status=Status.QUEUED)
    await session.append(JOB, NEW, [session.draft(adopted)])
    crashing: Any = Inbox(session)
    monkeypatch.setattr(crashing, "_tie", lambda group: [None] * len(group))  # it died before that
    await crashing.receive("sandbox", event(1))
    await crashing.close()
    after = Inbox(process())
    await after.receive("sandbox", event(1, 2))
    await after.close()
    assert [lease.job_id for lease in session.ledger.store.queue.claim("w1", 60_000, 9)] == [JOB]
    assert [record.type for record in session.ledger.history(JOB)] == ["render.adopted", "webhook.matched"]
