"""What a receiver of webhooks sees, checked as the SDK's users check it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.sora_adapter.sandbox.conftest import Clock
from tests.sora_adapter.sandbox.webhooks.conftest import Receiver

Start = Callable[..., httpx2.Client]
KEY = {"authorization": "Bearer any"}
LONG_S = 10**10  # the sandbox's clock is not this machine's


@pytest.fixture
def api(start: Start) -> httpx2.Client:
    return start(render_seconds=10)


@pytest.fixture
def subscribe(api: httpx2.Client, receiver: Receiver) -> Callable[..., dict[str, Any]]:
    def ask(*event_types: str, url: str | None = None) -> dict[str, Any]:
        wanted = {
            "name": "mine",
            "url": url or receiver.url,
            "event_types": event_types or ["video.completed", "video.failed"],
        }
        endpoint: dict[str, Any] = api.post("/v1/webhook_endpoints", json=wanted).json()
        return endpoint

    return ask


def create(api: httpx2.Client, prompt: str = "a kite") -> dict[str, Any]:
    video: dict[str, Any] = api.post("/v1/videos", json={"prompt": prompt}).json()
    return video


def deliveries(api: httpx2.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/_sandbox/deliveries").json()["data"]
    return found


def settled(api: httpx2.Client, attempts: int = 1) -> dict[str, Any]:
    """Wait until the one delivery was answered so many times, and return it."""
    while True:
        for delivery in deliveries(api):
            is_leased = delivery["next_at"] is not None and delivery["last_status"] is None
            if delivery["attempts"] == attempts and not is_leased:
                return delivery


def verify(endpoint: dict[str, Any], received: Any) -> None:
    """Check a signature as a user of the SDK does; raises if it is not right."""
    with openai.OpenAI(api_key="any") as client:
        client.webhooks.verify_signature(
            received.body, received.headers, secret=endpoint["signing_secret"], tolerance=LONG_S
        )


@pytest.mark.parametrize(("prompt", "kind"), [("a kite", "video.completed"), ("[fail]", "video.failed")])
def test_the_end_of_a_job_is_announced_in_the_form_of_the_api(
    api: httpx2.Client,
    subscribe: Callable[..., dict[str, Any]],
    receiver: Receiver,
    clock: Clock,
    prompt: str,
    kind: str,
) -> None:
    subscribe()
    video = create(api, prompt)
    clock.advance(10)
    event = json.loads(receiver.next().body)
    assert (event["id"][:4], event) == (
        "evt_",
        {
            "id": event["id"],
            "object": "event",
            "created_at": video["created_at"] + 10,
            "type": kind,
            "data": {"id": video["id"]},
        },
    )


def test_a_delivery_is_signed_so_that_the_sdk_believes_it(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    endpoint = subscribe()
    create(api)
    clock.advance(10)
    verify(endpoint, receiver.next())


def test_a_delivery_signed_for_another_endpoint_is_not_believed(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    subscribe()
    other = subscribe("batch.completed")
    create(api)
    clock.advance(10)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        verify(other, receiver.next())


def test_a_delivery_says_who_sends_it_and_when(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    subscribe()
    create(api)
    clock.advance(10)
    headers = receiver.next().headers
    observations = [headers[name] for name in ("content-type", "user-agent", "webhook-timestamp")]
    assert observations == ["application/json", "OpenAI/1.0", str(int(clock()))]


def test_a_2xx_ends_a_delivery(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    receiver.answers.append(204)
    subscribe()
    create(api)
    clock.advance(10)
    delivery = settled(api)
    assert (delivery["last_status"], delivery["next_at"]) == (204, None)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_anything_else_is_tried_again_under_the_same_id(
    api: httpx2.Client,
    subscribe: Callable[..., dict[str, Any]],
    receiver: Receiver,
    clock: Clock,
    status: int,
) -> None:
    receiver.answers.append(status)
    endpoint = subscribe()
    create(api)
    clock.advance(10)
    first = receiver.next()
    settled(api)
    clock.advance(1)
    second = receiver.next()
    verify(endpoint, second)
    same = [first.headers["webhook-id"], first.body]
    assert [second.headers["webhook-id"], second.body] == same


def test_every_wait_is_twice_the_one_before(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    receiver.answers.extend([500] * 5)
    subscribe()
    create(api)
    clock.advance(10)
    waits = []
    for attempts in range(1, 6):
        receiver.next()
        while (delivery := settled(api, attempts))["next_at"] - clock() > 20:
            pass
        waits.append(delivery["next_at"] - clock())
        clock.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 16]


def test_a_receiver_that_is_not_there_is_tried_again(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], clock: Clock
) -> None:
    subscribe(url="http://127.0.0.1:9/nobody")
    create(api)
    clock.advance(10)
    while deliveries(api) == [] or deliveries(api)[0]["next_at"] != clock() + 1:
        pass
    assert deliveries(api)[0]["last_status"] is None


def test_a_delivery_outlives_a_restart(
    start: Start, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    receiver.answers.append(500)
    settings = SandboxSettings(tmp_path / "data", render_seconds=0, clock=clock, media="cached")
    with SandboxServer(settings) as server, httpx2.Client(base_url=server.origin, headers=KEY) as first:
        wanted = {"name": "mine", "url": receiver.url, "event_types": ["video.completed"]}
        first.post("/v1/webhook_endpoints", json=wanted)
        create(first)
        before = receiver.next()
        settled(first)
    clock.advance(1)
    start()
    assert receiver.next().headers["webhook-id"] == before.headers["webhook-id"]


def test_a_job_that_ends_while_the_sandbox_is_down_is_announced_when_it_is_back(
    start: Start, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    settings = SandboxSettings(tmp_path / "data", render_seconds=10, clock=clock, media="cached")
    with SandboxServer(settings) as server, httpx2.Client(base_url=server.origin, headers=KEY) as first:
        wanted = {"name": "mine", "url": receiver.url, "event_types": ["video.completed"]}
        first.post("/v1/webhook_endpoints", json=wanted)
        video = create(first)
    clock.advance(10)
    start()
    assert json.loads(receiver.next().body)["data"]["id"] == video["id"]


def test_two_sandboxes_on_one_folder_send_an_event_once(
    start: Start, receiver: Receiver, clock: Clock
) -> None:
    one, other = start(render_seconds=10), start(render_seconds=10)
    wanted = {"name": "mine", "url": receiver.url, "event_types": ["video.completed"]}
    one.post("/v1/webhook_endpoints", json=wanted)
    made = {create(api)["id"] for api in (one, other) for _ in range(5)}
    clock.advance(10)
    shown = [json.loads(receiver.next().body)["data"]["id"] for _ in made]
    assert (sorted(shown), len(deliveries(one))) == (sorted(made), 10)


def test_an_endpoint_is_told_only_what_it_asked_for(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    subscribe("video.failed")
    wants = subscribe("video.completed")
    create(api)
    clock.advance(10)
    receiver.next()
    assert [delivery["webhook_endpoint_id"] for delivery in deliveries(api)] == [wants["id"]]


def test_an_endpoint_is_not_told_what_was_over_before_it_was_there(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    create(api)
    clock.advance(11)
    subscribe()
    later = create(api)
    clock.advance(10)
    assert json.loads(receiver.next().body)["data"]["id"] == later["id"]


def test_the_event_of_a_job_that_is_deleted_at_once_is_announced_nevertheless(
    start: Start, receiver: Receiver
) -> None:
    api = start(render_seconds=0)
    wanted = {"name": "mine", "url": receiver.url, "event_types": ["video.completed"]}
    api.post("/v1/webhook_endpoints", json=wanted)
    video = create(api)
    api.delete(f"/v1/videos/{video['id']}")
    assert json.loads(receiver.next().body)["data"]["id"] == video["id"]


def test_an_event_has_the_same_id_for_all_endpoints(
    api: httpx2.Client, subscribe: Callable[..., dict[str, Any]], receiver: Receiver, clock: Clock
) -> None:
    subscribe()
    subscribe()
    create(api)
    clock.advance(10)
    both = [receiver.next() for _ in range(2)]
    events, ids = ({json.loads(one.body)["id"] for one in both}, {one.headers["webhook-id"] for one in both})
    assert (len(events), len(ids)) == (1, 2)
