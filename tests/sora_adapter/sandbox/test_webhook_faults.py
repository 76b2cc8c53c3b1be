"""Webhooks that go wrong on demand, and what their sender is told."""

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2
import pytest

from sora_adapter.sandbox.faults import Faults, FaultyMail, parse_fault
from sora_adapter.sandbox.webhooks.outbox import Letter, event_body

pytestmark = pytest.mark.anyio


@dataclass
class Postbox:
    """Takes letters and answers 204."""

    letters: list[Letter] = field(default_factory=list)

    async def __call__(self, letter: Letter) -> int:
        self.letters.append(letter)
        return 204


def letter(number: int = 1) -> Letter:
    body = event_body(f"evt_{number}", "video.completed", f"video_{number}", 1_790_000_000)
    return Letter("http://here/hook", {"webhook-signature": "v1,good"}, body.encode())


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


async def test_a_delivery_nobody_planned_a_fault_for_arrives_as_it_is(postbox: Postbox) -> None:
    assert await FaultyMail(postbox, Faults())(letter()) == 204
    assert postbox.letters == [letter()]


async def test_a_lost_delivery_arrives_nowhere_and_is_not_tried_again(postbox: Postbox) -> None:
    assert await FaultyMail(postbox, Faults(["webhook=lost:1"]))(letter()) == 200
    assert postbox.letters == []


async def test_a_doubled_delivery_arrives_twice_the_same(postbox: Postbox) -> None:
    await FaultyMail(postbox, Faults(["webhook=doubled:1"]))(letter())
    assert postbox.letters == [letter(), letter()]


async def test_a_late_delivery_arrives(postbox: Postbox) -> None:
    assert await FaultyMail(postbox, Faults(["webhook=late@0.01:1"]))(letter()) == 204
    assert postbox.letters == [letter()]


async def test_a_delivery_out_of_order_arrives_after_the_next(postbox: Postbox) -> None:
    mail = FaultyMail(postbox, Faults(["webhook=out-of-order:1"]))
    await mail(letter(1))
    await mail(letter(2))
    assert postbox.letters == [letter(2), letter(1)]


async def test_a_badly_signed_delivery_differs_in_its_signature_only(postbox: Postbox) -> None:
    await FaultyMail(postbox, Faults(["webhook=badly-signed:1"]))(letter())
    [sent] = postbox.letters
    assert sent.headers["webhook-signature"] not in {"", "v1,good"}
    assert (sent.url, sent.body) == (letter().url, letter().body)


async def test_a_job_with_a_fate_is_not_announced(postbox: Postbox) -> None:
    faults = Faults()
    faults.befall("video_1", parse_fault("create=stuck@40"))
    await FaultyMail(postbox, faults)(letter())
    assert postbox.letters == []


async def test_a_running_sandbox_asks_before_each_delivery(start: Callable[..., httpx2.Client]) -> None:
    api = start(render_seconds=0, faults=("webhook=lost:1",))
    hook = {"name": "nobody", "url": "http://127.0.0.1:9/hook", "event_types": ["video.completed"]}
    assert api.post("/v1/webhook_endpoints", json=hook).is_success
    assert api.post("/v1/videos", json={"prompt": "a kite"}).is_success
    answered = None
    while answered is None:  # nobody listens at that address: only a lost delivery counts as taken
        deliveries = api.get("/_sandbox/deliveries").json()["data"]
        answered = next((delivery["last_status"] for delivery in deliveries if delivery["attempts"]), None)
    assert answered == 200
