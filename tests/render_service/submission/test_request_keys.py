"""A request key names a request: repeated, it gives the same job, and never a second render."""

import asyncio
from collections.abc import AsyncIterator, Callable
from threading import Event
from typing import Any

import httpx2
import pytest

import decision.request.request
import render_service.submission.result
from decision.request.request import RenderRequest
from ledger.job import Job
from ledger.terms import State
from render_service.runtime.errors import RequestKeyTaken
from render_service.session.session import Session
from render_service.submission.result import Placed
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Faults

pytestmark = pytest.mark.anyio

REFUSED = b'{"error": {"code": "invalid_api_key", "message": "no"}}'


def creates(session: Session) -> int:
    origin = str(session.settings.base_url).removesuffix("/v1")
    return int(httpx2.get(f"{origin}/_sandbox/requests").json()["creates"])


@pytest.fixture
async def being_sent(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
    held_back: Event,
) -> AsyncIterator[asyncio.Task[Placed]]:
    """Yield a request whose intent is recorded and whose answer is held back."""
    session = at(sandbox(faults=("create=slow@1",)).base_url)
    sending = asyncio.create_task(place(session, request_for(request_key="teaser")))
    while not any(job.state is State.SUBMITTING for job in session.ledger.jobs()):  # noqa: ASYNC110  # it may be another process
        await asyncio.sleep(0.01)
    yield sending
    held_back.set()
    await sending


async def test_who_repeats_a_request_that_is_being_sent_waits_for_its_answer(
    session: Session,
    being_sent: asyncio.Task[Placed],
    request_for: Callable[..., RenderRequest],
    held_back: Event,
) -> None:
    asyncio.get_running_loop().call_later(0.1, held_back.set)
    repeated = await place(session, request_for(request_key="teaser"))
    assert (repeated.job.state, repeated.job) == (State.RUNNING, (await being_sent).job)


@pytest.mark.usefixtures("being_sent")
async def test_nobody_waits_for_a_caller_who_is_gone(
    session: Session, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_service.submission.result, "LONGEST_CALL_S", 0.0)
    assert (await place(session, request_for(request_key="teaser"))).job.state is State.SUBMITTING


async def test_a_repeated_key_gives_the_same_job(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    first = await place(session, request_for(request_key="teaser"))
    again = await place(session, request_for(request_key="teaser"))
    assert (again.job, again.repeated, first.repeated) == (first.job, True, False)


async def test_a_repeated_key_is_not_sent_again(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    for _ in range(3):
        await place(session, request_for(request_key="teaser"))
    assert creates(session) == 1


async def test_a_repeated_denial_is_the_same_denial(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    denied = [await place(session, request_for(request_key="k", max_cost_usd_micros=1)) for _ in range(2)]
    assert denied[0].job.job_id == denied[1].job.job_id
    assert denied[1].job.state is State.DENIED


async def test_a_key_used_by_several_at_once_makes_one_video(
    session: Session,
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
    intact: Callable[[], bool],
) -> None:
    sessions = [session, *(at(str(session.settings.base_url)) for _ in range(3))]
    placed = await asyncio.gather(*(place(one, request_for(request_key="teaser")) for one in sessions))
    assert len({one.job.job_id for one in placed}) == 1
    assert creates(session) == 1
    assert intact()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": "an owl flies"}, "prompt"),
        ({"seconds": 8}, "seconds"),
        ({"model": "sora-2-pro"}, "model"),
        ({"purpose": "final"}, "purpose"),
        ({"size": "720x1280"}, "size"),
        ({"max_cost_usd_micros": 9_000_000}, "cost limit"),
        ({"augment": True, "fields": {"style": "film"}}, "fields"),
    ],
)
async def test_a_key_refuses_another_request_and_names_the_difference(
    session: Session, request_for: Callable[..., RenderRequest], change: dict[str, Any], named: str
) -> None:
    await place(session, request_for(request_key="teaser"))
    with pytest.raises(RequestKeyTaken, match=f"requested with other {named}: use another --request-key"):
        await place(session, request_for(request_key="teaser", **change))


async def test_a_key_refuses_the_same_words_without_the_lines_around_them(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    await place(session, request_for(request_key="teaser", augment=True), queue=True)
    with pytest.raises(RequestKeyTaken, match="requested with other augmentation: use"):
        await place(session, request_for(request_key="teaser", augment=False))
    assert creates(session) == 0


async def test_a_repeated_key_sends_the_recorded_text_although_a_newer_version_words_it_otherwise(
    session: Session, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(request_key="teaser", augment=True)
    words = request.sent_prompt
    await place(session, request, queue=True)
    monkeypatch.setattr(decision.request.request, "augment", lambda prompt, _: f"NEWER {prompt}")
    again = await place(session, request_for(request_key="teaser", augment=True))
    async with session.connect(session.profile(again.job.profile)) as client:
        assert (await client.observe(str(again.job.video_id))).prompt == words


async def test_a_free_rejection_may_be_tried_again_under_its_key(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    video: Callable[..., bytes],
) -> None:
    session = at(faults.then(401, REFUSED).then(200, video(status="queued", progress=0)).base_url)
    await place(session, request_for(request_key="teaser"))
    again = await place(session, request_for(request_key="teaser"))
    assert types(again.job)[2:] == [
        "submission.intended",
        "submission.rejected",
        "submission.intended",
        "submission.accepted",
    ]


async def test_an_absent_attempt_may_be_tried_again_under_its_key(
    session: Session, at: Callable[[str], Session], request_for: Callable[..., RenderRequest]
) -> None:
    await place(at("http://127.0.0.1:9/v1"), request_for(request_key="teaser"))
    again = await place(session, request_for(request_key="teaser"))
    assert (again.job.state, again.job.attempts) == (State.RUNNING, 2)


@pytest.mark.parametrize("status", [400, 503])
async def test_what_may_have_cost_something_is_never_tried_again(
    at: Callable[[str], Session], faults: Faults, request_for: Callable[..., RenderRequest], status: int
) -> None:
    session = at(faults.then(status, REFUSED).base_url)
    for _ in range(2):
        placed = await place(session, request_for(request_key="teaser"))
    assert (placed.job.attempts, len(faults.asked)) == (1, 1)
