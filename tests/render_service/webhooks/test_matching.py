"""A delivery is tied to its job at once, or later where it overtook the answer to the create."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from ledger.events import WebhookMatched, WebhookReceived
from ledger.job import Job
from ledger.store.interface import ANY, Batch
from ledger.terms import State
from render_service.adoption.adopt import adopt
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.submit import place
from render_service.webhooks.inbox import inbox_of, match_inbox
from tests.render_service.conftest import LastEvent
from tests.render_service.webhooks.conftest import Sender


async def submitted(session: Session, request_for: Any) -> Job:
    return (await place(session, request_for())).job


def received(video_id: str, event_id: str = "evt_1") -> WebhookReceived:
    return WebhookReceived(
        webhook_event_id=event_id, delivery_id="wh_1", webhook_type="video.completed", video_id=video_id
    )


@pytest.mark.anyio
async def test_a_delivery_is_tied_to_its_job_and_makes_it_due(
    rendering: Session,
    serving: Callable[[Session], Sender],
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
    due: Callable[[], set[str]],
    delivered: Callable[..., bytes],
) -> None:
    job = await submitted(rendering, request_for)
    sender = serving(rendering)
    sender.post(delivered(job.video_id))
    sender.stop()
    matched = event(job, WebhookMatched)
    assert (matched.video_id, matched.webhook_event_id) == (job.video_id, f"evt_{job.video_id}")
    assert due() == {job.job_id}


@pytest.mark.anyio
async def test_a_delivery_changes_nothing_in_where_the_job_stands(
    rendering: Session,
    serving: Callable[[Session], Sender],
    request_for: Callable[..., RenderRequest],
    delivered: Callable[..., bytes],
) -> None:
    job = await submitted(rendering, request_for)
    sender = serving(rendering)
    sender.post(delivered(job.video_id))
    sender.stop()
    assert (await rendering.job(job.job_id)).state is State.RUNNING


@pytest.mark.anyio
async def test_a_delivery_that_overtook_the_create_is_tied_when_the_job_is_settled(
    session: Session,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    job = await submitted(session, request_for)
    await session.append(inbox_of("openai"), ANY, [session.draft(received(job.video_id or ""))])
    settled = await settle(session, job, interval_s=0.05, timeout_s=30)
    assert types(settled)[-5:] == [
        "webhook.matched",
        "asset.stored",
        "provenance.observed",
        "cost.settled",
        "render.closed",
    ]
    assert (settled.state, intact()) == (State.STORED, True)


@pytest.mark.anyio
async def test_a_delivery_that_came_before_its_video_was_adopted_is_tied(
    session: Session, types: Callable[[Job], list[str]]
) -> None:
    url, headers = f"{session.settings.base_url}/videos", {"authorization": "Bearer other"}
    video_id = httpx2.post(url, json={"prompt": "a fox runs"}, headers=headers).json()["id"]
    await session.append(inbox_of("openai"), ANY, [session.draft(received(video_id))])
    job, _ = await adopt(session, video_id)
    assert types(await match_inbox(session, job)).count("webhook.matched") == 1


@pytest.mark.anyio
async def test_a_delivery_is_tied_once_however_often_it_is_looked_for(
    session: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    job = await submitted(session, request_for)
    await session.append(inbox_of("openai"), ANY, [session.draft(received(job.video_id or ""))])
    for _ in range(3):
        job = await match_inbox(session, job)
    assert types(job).count("webhook.matched") == 1


@pytest.mark.anyio
async def test_a_delivery_about_another_video_is_left_alone(
    session: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    job = await submitted(session, request_for)
    await session.append(inbox_of("openai"), ANY, [session.draft(received("video_of_somebody_else"))])
    assert await match_inbox(session, job) == job


@pytest.mark.anyio
async def test_a_delivery_during_the_download_keeps_nobody_from_storing_it(
    session: Session, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submitted(session, request_for)
    keep = session.assets.keep

    def keep_while_it_is_tied(*given: Any) -> str:
        matched = WebhookMatched(
            webhook_event_id="evt_9", webhook_type="video.completed", video_id=job.video_id or ""
        )
        session.ledger.append([Batch(job.job_id, ANY, [session.draft(matched)])])
        return keep(*given)

    monkeypatch.setattr(session.assets, "keep", keep_while_it_is_tied)
    settled = await settle(session, job, interval_s=0.05, timeout_s=30)
    assert settled.state is State.STORED
