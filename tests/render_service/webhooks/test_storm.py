"""Doubled, shuffled, forged and lost: each real event is recorded once, and every job ends as without it."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from ledger.job import Job
from ledger.record import Record
from ledger.terms import Variant
from render_service.api.sessions import open_session
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer
from tests.render_service.webhooks.conftest import Sender

HANDS = 16
STORMS = [
    pytest.param((12, 300), id="300"),
    pytest.param((100, 10_000), id="10000", marks=pytest.mark.soak),
]


@dataclass(frozen=True)
class Storm:
    """Requests to send, and which events have at least one that is genuine."""

    requests: list[tuple[dict[str, Any], bool]]
    genuine: set[str]


@dataclass(frozen=True)
class Scene:
    """Two ledgers at one server: to one of them webhooks are delivered."""

    session: Session
    calm: Session
    sender: Any
    delivered: Callable[..., bytes]


def storm(chance: random.Random, scene: Scene, jobs: list[Job], deliveries: int) -> Storm:
    """Make up deliveries about `jobs` and about videos of others, in no order."""
    videos = [str(job.video_id) for job in jobs]
    requests: list[tuple[dict[str, Any], bool]] = []
    genuine = set()
    number = 0
    while len(requests) < deliveries:
        video = videos[number] if number < len(videos) else f"video_of_others_{number}"
        number += 1
        body = scene.delivered(video)
        copies = chance.choice([0, 1, 1, 1, 2, 3])  # 0: lost on the way
        if copies:
            genuine.add(f"evt_{video}")
        requests += [(scene.sender.request(body), True) for _ in range(copies)]
        if chance.random() < 0.3:
            requests.append((forged(chance, scene.sender, body), False))
    chance.shuffle(requests)
    return Storm(requests, genuine)


def forged(chance: random.Random, sender: Any, body: bytes) -> dict[str, Any]:
    """Return a delivery that looks like one of `body` and proves nothing."""
    request: dict[str, Any] = sender.request(body)
    headers = dict(request["headers"])
    match chance.randrange(4):
        case 0:
            return dict(sender.request(body, secret="whsec_" + "AAAA" * 8))
        case 1:
            return request | {"content": body.replace(b"completed", b"failed")}
        case 2:
            return dict(sender.request(body, age_s=chance.choice([-900, 900])))
        case _:
            del headers[chance.choice(sorted(headers))]
            return request | {"headers": headers}


def send(storm: Storm) -> list[tuple[int, bool]]:
    """Send everything, many at once; returns each status, and whether the delivery was genuine."""
    with httpx2.Client(timeout=60) as client, ThreadPoolExecutor(HANDS) as pool:

        def post(one: tuple[dict[str, Any], bool]) -> tuple[int, bool]:
            return client.post(**one[0]).status_code, one[1]

        return list(pool.map(post, storm.requests))


async def placed(session: Session, request_for: Any, count: int) -> list[Job]:
    keys = (f"key-{number}" for number in range(count))
    return [(await place(session, request_for(request_key=key))).job for key in keys]


async def settled(session: Session, jobs: list[Job]) -> list[Job]:
    return await asyncio.gather(*(settle(session, job, interval_s=0.05, timeout_s=300) for job in jobs))


def ends(jobs: list[Job]) -> dict[str | None, tuple[object, ...]]:
    """Return how each job ended, by request key: all that does not differ from run to run."""
    return {
        job.request_key: (
            job.state,
            job.outcome,
            job.status,
            job.assets[Variant.VIDEO].sha256,
            job.settled_usd_micros,
            job.attempts,
        )
        for job in jobs
    }


@pytest.fixture
def scene(
    settings: Settings,
    sandbox: Callable[..., SandboxServer],
    at: Callable[[str], Session],
    serving: Callable[[Session], Sender],
    delivered: Callable[..., bytes],
) -> Iterator[Scene]:
    """Set the scene."""
    base_url, trace = sandbox().base_url, Trace("3" * 32, "4" * 16)
    folder = settings.data_folder / "calm"
    path = folder / "ledger.db"
    apart = replace(settings, ledger_url=str(path), ledger_path=path, assets_folder=folder, base_url=base_url)
    calm, session = open_session(apart, trace, Log(trace, quiet=True)), at(base_url)
    yield Scene(session, calm, serving(session), delivered)
    calm.ledger.close()


@pytest.mark.parametrize("size", STORMS)
@pytest.mark.anyio
async def test_a_storm_of_deliveries_is_recorded_once_and_changes_no_end(
    scene: Scene,
    request_for: Callable[..., RenderRequest],
    inbox: Callable[[], list[Record]],
    intact: Callable[[], bool],
    size: tuple[int, int],
) -> None:
    jobs, deliveries = size
    begun = await placed(scene.session, request_for, jobs)
    made = storm(random.Random(deliveries), scene, begun, deliveries)
    answers, ended = await asyncio.gather(asyncio.to_thread(send, made), settled(scene.session, begun))

    assert {status // 100 for status, genuine in answers if genuine} == {2}
    assert {status // 100 for status, genuine in answers if not genuine} == {4}
    recorded = Counter(record.event.as_json()["webhook_event_id"] for record in inbox())
    assert (set(recorded), set(recorded.values())) == (made.genuine, {1})
    assert scene.sender.count("recorded") == len(made.genuine)
    assert ends(ended) == ends(await settled(scene.calm, await placed(scene.calm, request_for, jobs)))
    expected = {job.job_id: int(f"evt_{job.video_id}" in made.genuine) for job in ended}
    await asyncio.to_thread(scene.sender.stop)
    assert {job_id: matches(scene.session, job_id) for job_id in expected} == expected
    assert intact()


def matches(session: Session, job_id: str) -> int:
    return sum(record.type == "webhook.matched" for record in session.ledger.history(job_id))
