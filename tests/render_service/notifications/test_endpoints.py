"""Endpoints are what the stream says, however many processes change them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ledger.events import EndpointUpdated, NotificationSent
from ledger.store.filters import RecordFilter
from render_service.notifications.announcements import APPROVAL_REQUESTED, COMPLETED
from render_service.notifications.dead_letters import outbox_document, send_again
from render_service.notifications.endpoints import (
    KEEP_OLD,
    MOST_OF_ONE_OWNER,
    Endpoints,
    EndpointState,
    NoSuchEndpoint,
)
from render_service.runtime.errors import BadInput
from render_service.session.session import Session
from tests.render_service.notifications.conftest import Client

pytestmark = pytest.mark.anyio
URL = "https://app.example.org/hooks"


def texts(session: Session) -> set[str]:
    """Return every private text that is still there."""
    positions = range(1, session.ledger.head().size + 1)
    return {body.text for body in session.ledger.store.bodies(positions).values()}


async def test_the_limit_holds_when_many_are_created_at_once(
    client: Callable[..., Awaitable[Client]],
) -> None:
    alice = await client()
    made = [alice.listen(URL) for _ in range(MOST_OF_ONE_OWNER + 3)]
    outcomes = await asyncio.gather(*made, return_exceptions=True)
    assert len([one for one in outcomes if isinstance(one, BadInput)]) == 3
    assert len(Endpoints(alice.session.ledger).renew().by_id) == MOST_OF_ONE_OWNER


async def test_a_change_that_changes_nothing_is_not_recorded(
    client: Callable[..., Awaitable[Client]],
) -> None:
    alice = await client()
    endpoint, _ = await alice.listen(URL, COMPLETED)
    endpoints = Endpoints(alice.session.ledger)
    await endpoints.update(alice.session, endpoint.endpoint_id, url=URL, event_types=(COMPLETED,))
    assert list(alice.session.ledger.read(RecordFilter(type=EndpointUpdated.type))) == []


async def test_the_person_who_changes_an_endpoint_answers_for_it(
    client: Callable[..., Awaitable[Client]],
) -> None:
    alice, bob = await client(team="film"), await client("bob", team="film")
    endpoint, _ = await alice.listen(URL)
    changed = await Endpoints(bob.session.ledger).update(bob.session, endpoint.endpoint_id, name="ours")
    assert (changed.owner, changed.team, changed.name.text) == ("bob", "film", "ours")


async def test_a_deleted_endpoint_cannot_be_changed(client: Callable[..., Awaitable[Client]]) -> None:
    alice = await client()
    endpoint, _ = await alice.listen(URL)
    endpoints = Endpoints(alice.session.ledger)
    await endpoints.delete(alice.session, endpoint.endpoint_id)
    with pytest.raises(NoSuchEndpoint):
        await endpoints.rotate(alice.session, endpoint.endpoint_id, keep_old=True)


async def test_an_old_secret_is_erased_when_its_day_is_over(
    client: Callable[..., Awaitable[Client]], session: Session
) -> None:
    alice = await client()
    endpoint, old = await alice.listen(URL)
    endpoints = Endpoints(session.ledger)
    rotated, new = await endpoints.rotate(alice.session, endpoint.endpoint_id, keep_old=True)
    now = session.clock()
    assert rotated.list_signing_secrets(now) == (new, old)
    assert rotated.list_signing_secrets(now + KEEP_OLD + timedelta(minutes=1)) == (new,)
    await endpoints.erase_old_secrets(session)
    assert old in texts(session)
    later = replace(session, clock=lambda: now + KEEP_OLD + timedelta(minutes=1))
    await endpoints.erase_old_secrets(later)
    assert {old, new} & texts(session) == {new}
    assert endpoints.get(endpoint.endpoint_id).state is EndpointState.ACTIVE


async def test_a_ledger_without_webhooks_has_nothing_to_show_or_send_again(session: Session) -> None:
    assert outbox_document(session.ledger) == {"waiting": 0, "dead_letters": []}
    assert send_again(session, ["all"]) == []
    with pytest.raises(BadInput, match="wh_1: not a dead letter"):
        send_again(session, ["wh_1"])
    assert list(session.ledger.read(RecordFilter(type=NotificationSent.type))) == []


async def test_the_kinds_of_events_are_kept_in_their_order(client: Callable[..., Awaitable[Client]]) -> None:
    alice = await client("alice", "approver")
    endpoint, _ = await alice.listen(URL, APPROVAL_REQUESTED, COMPLETED)
    assert endpoint.event_types == (APPROVAL_REQUESTED, COMPLETED)
