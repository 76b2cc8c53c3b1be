"""What is announced reaches the endpoints that may know of it, at least once and under one id."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from decision.request.request import RenderRequest
from decision.rules.policy import default_policy
from decision.rules.roles import Permission
from ledger.events import AccessRevoked, NotificationFailed, NotificationSent, PrivateErased
from ledger.job import Job
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY
from render_service.access.register import STREAM
from render_service.notifications.endpoints import Endpoints
from render_service.notifications.outbox import AT_ONCE_OF_ONE, GIVE_UP_MS, Notifier, wait_ms
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.session.event_ids import public_id
from render_service.session.session import Session
from sora_adapter.sandbox.server import SandboxServer
from tests.receiver import Receiver
from tests.render_service.notifications.conftest import Client

pytestmark = pytest.mark.anyio


async def arrived(receiver: Any, number: int, type_: str | None = None) -> Any:
    return await asyncio.to_thread(receiver.wait_for, number, type_)


async def recorded(session: Session, type_: str, number: int = 1) -> list[Record]:
    """Wait for records of a type."""
    async with asyncio.timeout(60):
        while len(found := list(session.ledger.read(RecordFilter(type=type_)))) < number:
            await asyncio.to_thread(session.ledger.store.wait_for_append, 0.05)
    return found


async def emptied(session: Session) -> None:
    """Return once nothing waits in the outbox and nothing is dead: a row goes after its record."""
    async with asyncio.timeout(60):
        while session.ledger.store.outbox.tally() != (0, 0):  # noqa: ASYNC110  # by another task
            await asyncio.sleep(0.01)


async def test_a_stored_video_is_announced_to_its_team(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
) -> None:
    alice, there = await client(team="film"), receiver()
    _, secret = await alice.listen(there.url)
    await notifier()
    job = await stored(alice.session)
    [delivery] = await arrived(there, 1)
    assert delivery.event["type"] == "video.completed"
    assert delivery.event["data"] == {"id": public_id(job.job_id)}
    assert delivery.is_signed_with(secret)


async def test_the_acceptance_of_a_delivery_is_recorded_once(
    session: Session,
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    intact: Callable[[], bool],
) -> None:
    alice, there = await client(), receiver()
    endpoint, _ = await alice.listen(there.url)
    await notifier()
    job = await stored(alice.session)
    [delivery] = await arrived(there, 1)
    [record] = await recorded(session, NotificationSent.type)
    assert record.event.as_json() == {
        "endpoint_id": endpoint.endpoint_id,
        "delivery_id": delivery.delivery_id,
        "webhook_event_id": delivery.event["id"],
        "webhook_type": "video.completed",
        "job_id": job.job_id,
        "attempts": 1,
        "http_status": 200,
    }
    assert record.stream == endpoint.endpoint_id
    closed = [one for one in session.ledger.history(job.job_id) if one.type == "render.closed"]
    assert record.envelope.causation_id == closed[0].event_id
    assert intact()


async def test_another_team_hears_nothing(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, bob = await client(team="film"), await client("bob", team="games")
    hers, his = receiver(), receiver()
    await alice.listen(hers.url)
    await bob.listen(his.url)
    await notifier()
    await stored(alice.session)
    await arrived(hers, 1)
    await recorded(session, NotificationSent.type)
    assert his.received == []
    await emptied(session)


async def test_a_delivery_that_is_refused_is_repeated_under_the_same_id(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, there = await client(), receiver(answer=lambda number: 503 if number == 1 else 204)
    await alice.listen(there.url)
    await notifier()
    await stored(alice.session)
    first, second = await arrived(there, 2)
    assert (first.delivery_id, first.body) == (second.delivery_id, second.body)
    [record] = await recorded(session, NotificationSent.type)
    assert isinstance(record.event, NotificationSent)
    assert (record.event.attempts, record.event.http_status) == (2, 204)


@pytest.mark.parametrize("status", [0, 307, 410], ids=["no answer", "a redirect", "gone"])
async def test_anything_but_a_2xx_is_repeated_and_no_redirect_is_followed(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    status: int,
) -> None:
    alice, there = await client(), receiver(answer=lambda number: status if number == 1 else 200)
    await alice.listen(there.url)
    await notifier()
    await stored(alice.session)
    deliveries = await arrived(there, 2)
    assert [one.path for one in deliveries] == ["/hooks", "/hooks"]


async def test_two_notifiers_on_one_ledger_deliver_once(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
) -> None:
    alice, there = await client(), receiver()
    await alice.listen(there.url)
    await notifier()
    await notifier(at(session.settings.base_url))
    for _ in range(3):
        await stored(alice.session)
    await arrived(there, 3)
    await recorded(session, NotificationSent.type, 3)
    assert len(there.received) == 3
    await emptied(session)


async def test_a_slow_receiver_delays_no_other_and_gets_few_at_once(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
) -> None:
    alice, released, waiting = await client(), threading.Event(), threading.Semaphore(0)

    def hang(_: int) -> int:
        waiting.release()
        released.wait(60)
        return 200

    slow, fast = receiver(answer=hang, one_at_a_time=False), receiver()
    await alice.listen(slow.url)
    await alice.listen(fast.url)
    await notifier()
    for _ in range(AT_ONCE_OF_ONE + 2):
        await stored(alice.session)
    assert len(await arrived(fast, AT_ONCE_OF_ONE + 2)) == AT_ONCE_OF_ONE + 2
    for _ in range(AT_ONCE_OF_ONE):
        assert await asyncio.to_thread(waiting.acquire, timeout=60)
    assert not await asyncio.to_thread(waiting.acquire, timeout=0.5)
    released.set()
    await arrived(slow, AT_ONCE_OF_ONE + 2)


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, there = await client(), receiver()
    endpoint, old = await alice.listen(there.url)
    _, new = await Endpoints(session.ledger).rotate(alice.session, endpoint.endpoint_id, keep_old=True)
    await notifier()
    await stored(alice.session)
    [delivery] = await arrived(there, 1)
    assert delivery.is_signed_with(old)
    assert delivery.is_signed_with(new)


async def test_an_old_secret_is_void_and_erased_if_it_is_not_kept(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, there = await client(), receiver()
    endpoint, old = await alice.listen(there.url)
    _, new = await Endpoints(session.ledger).rotate(alice.session, endpoint.endpoint_id, keep_old=False)
    await notifier()
    await stored(alice.session)
    [delivery] = await arrived(there, 1)
    assert not delivery.is_signed_with(old)
    assert delivery.is_signed_with(new)
    texts = {body.text for body in session.ledger.store.bodies(range(1, session.ledger.head().size)).values()}
    assert old not in texts


async def test_a_deleted_endpoint_receives_nothing_and_its_secret_is_erased(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, gone, there = await client(), receiver(), receiver()
    endpoint, secret = await alice.listen(gone.url)
    await alice.listen(there.url)
    await Endpoints(session.ledger).delete(alice.session, endpoint.endpoint_id)
    await notifier()
    await stored(alice.session)
    await arrived(there, 1)
    assert gone.received == []
    bodies = session.ledger.store.bodies(range(1, session.ledger.head().size)).values()
    assert secret not in {body.text for body in bodies}


async def test_without_its_secret_an_endpoint_receives_nothing_more(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, erased, there = await client(), receiver(answer=lambda _: 503), receiver()
    endpoint, _ = await alice.listen(erased.url)
    await alice.listen(there.url)
    await notifier()
    await stored(alice.session)
    await arrived(erased, 1)
    erasure = PrivateErased(commitments=(endpoint.secret.commitment,), reason_code="subject_request")
    await session.append("endpoints", ANY, [session.draft(erasure)])
    [record] = await recorded(session, NotificationFailed.type)
    assert isinstance(record.event, NotificationFailed)
    assert record.event.cause == "erased"
    attempts = len(erased.received)
    await stored(alice.session)
    await arrived(there, 2)
    assert len(erased.received) == attempts
    assert Endpoints(session.ledger).renew().get(endpoint.endpoint_id).state == "erased"
    assert [one.delivery_id for one in session.ledger.store.outbox.dead_letters()] == [
        record.event.delivery_id
    ]


async def test_the_endpoint_of_a_revoked_key_hears_nothing_more(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, bob = await client(team="film"), await client("bob", team="film")
    hers, his = receiver(), receiver()
    await alice.listen(hers.url)
    await bob.listen(his.url)
    await session.append(STREAM, ANY, [session.draft(AccessRevoked(key_id=alice.key_id))])
    await notifier()
    await stored(bob.session)
    await arrived(his, 1)
    assert hers.received == []


async def test_the_roles_of_a_policy_that_another_process_activated_count(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, bob = await client(), await client("bob", "operator")
    hers, his = receiver(), receiver()
    await alice.listen(hers.url)
    await bob.listen(his.url)
    await notifier()
    roles = {**default_policy().roles_in_force, "requester": (Permission.REQUEST,)}
    policy = default_policy().model_copy(update={"roles": roles})
    activate(session.settings, session.trace, session.clock(), Rules(policy, session.catalog), "for a test")
    await stored(alice.session)
    await arrived(his, 1)
    await recorded(session, NotificationSent.type)
    assert hers.received == []


async def test_only_those_who_may_approve_are_asked_to(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    request_for: Callable[..., RenderRequest],
    holding: Callable[[Session], Awaitable[Job]],
    session: Session,
) -> None:
    alice, carol = await client(team="film"), await client("carol", "approver", team="film")
    dave = await client("dave", "approver", team="games")
    receivers = [receiver() for _ in range(3)]
    for one, there in zip((alice, carol, dave), receivers, strict=True):
        await one.listen(there.url, "approval.requested")
    await notifier()
    job = await holding(alice.session)
    [delivery] = await arrived(receivers[1], 1)
    assert delivery.event["type"] == "approval.requested"
    assert delivery.event["data"] == {"id": public_id(job.job_id)}
    assert receivers[0].received == receivers[2].received == []


async def test_a_copy_of_the_ledger_repeats_nothing_that_was_accepted(
    client: Callable[..., Awaitable[Client]],
    receiver: Callable[..., Receiver],
    notifier: Callable[..., Awaitable[Notifier]],
    stored: Callable[..., Awaitable[Job]],
    session: Session,
) -> None:
    alice, there = await client(), receiver()
    await alice.listen(there.url)
    first = await notifier()
    await stored(alice.session)
    await arrived(there, 1)
    await recorded(session, NotificationSent.type)
    new = first._new_deliveries(0, session.ledger.head().size, list(first.endpoints.by_id.values()))
    assert len(new) == 1
    assert first._not_settled(new) == []


def test_waits_double_up_to_four_hours_and_end_after_three_days() -> None:
    age, waits = 0, []
    while (wait := wait_ms(age)) is not None:
        waits.append(wait)
        age += wait
    assert 900 <= waits[0] <= 1100
    assert max(waits) <= 4.4 * 3600 * 1000
    assert GIVE_UP_MS - 4.4 * 3600 * 1000 <= age <= GIVE_UP_MS
    assert 25 <= len(waits) <= 40
