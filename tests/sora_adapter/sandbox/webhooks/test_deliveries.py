"""The outbox gives up in the end."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sora_adapter.sandbox.state.database import Database
from sora_adapter.sandbox.webhooks.deliveries import GIVE_UP_S, LEASE_S, DeliveryStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DeliveryStore]:
    with closing(Database(tmp_path / "jobs.sqlite3")) as database:
        yield DeliveryStore(database)


def test_an_event_is_put_down_for_an_endpoint_once(store: DeliveryStore) -> None:
    for _ in range(2):
        store.add("whe_1", "evt_1", "{}", 1000)
    assert len(store.list_all()) == 1


def test_what_is_taken_out_to_be_sent_is_nobody_else_s(store: DeliveryStore) -> None:
    store.add("whe_1", "evt_1", "{}", 1000)
    assert [len(store.lease(1000)) for _ in range(2)] == [1, 0]


def test_what_was_taken_out_and_never_settled_is_taken_out_again(store: DeliveryStore) -> None:
    store.add("whe_1", "evt_1", "{}", 1000)
    first, second = store.lease(1000), store.lease(1000 + LEASE_S)
    assert [each.id for each in first] == [each.id for each in second]


def test_a_delivery_is_given_up_before_72_hours_are_over_and_not_long_before(store: DeliveryStore) -> None:
    store.add("whe_1", "evt_1", "{}", 0)
    now: float | None = 0.0
    tried_at = []
    while now is not None:
        (delivery,) = store.lease(now)
        tried_at.append(now)
        store.settle(delivery, 500, now)
        now = store.list_all()[0].next_at
    assert GIVE_UP_S / 2 < tried_at[-1] <= GIVE_UP_S


def test_the_oldest_is_taken_out_first(store: DeliveryStore) -> None:
    for number in range(5):
        store.add("whe_1", f"evt_{number}", "{}", 1000)
    assert [each.event_id for each in store.lease(1000)] == [f"evt_{number}" for number in range(5)]


def test_what_was_meant_for_an_endpoint_can_be_forgotten(store: DeliveryStore) -> None:
    for endpoint in ("whe_1", "whe_2"):
        store.add(endpoint, "evt_1", "{}", 1000)
    store.forget("whe_1")
    assert [each.endpoint_id for each in store.list_all()] == ["whe_2"]
