"""Leases where several take them at once."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ledger.store.postgres import PostgresStore
from ledger.store.postgres.queue import LIVE_TOKENS
from ledger.store.queue import Lease
from ledger.terms import State


def test_no_job_is_claimed_twice_by_many_at_once(store: PostgresStore) -> None:
    for number in range(40):
        store.queue.schedule(f"job_{number}")
    claimed: list[Lease] = []

    def run(holder: str) -> None:
        while leases := store.queue.claim(holder, 60_000, limit=3):
            claimed.extend(leases)

    threads = [threading.Thread(target=run, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed += store.queue.claim("last", 60_000, limit=40)  # what was skipped because another had it locked
    assert sorted(lease.job_id for lease in claimed) == sorted(f"job_{number}" for number in range(40))


def test_a_job_another_is_claiming_is_skipped_not_waited_for(store: PostgresStore, url: str) -> None:
    store.queue.schedule("job_1", -10)
    store.queue.schedule("job_2")
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM work WHERE job_id = 'job_1' FOR UPDATE")
        assert [lease.job_id for lease in store.queue.claim("w1", 60_000, limit=2)] == ["job_2"]


def read_tokens(store: PostgresStore) -> None:
    """Look at the fences of two jobs, as an append does that was made of several."""
    with psycopg.connect(store.place.url) as db:
        db.execute(LIVE_TOKENS, (["job_2", "job_1"],))


def enqueue_stale(store: PostgresStore) -> int:
    """Take up two jobs, the rows of which lie in the other order."""
    with psycopg.connect(store.place.url) as db:
        for name in ("job_2", "job_1"):
            db.execute("INSERT INTO jobs VALUES (%s, 1, 1, 'running', NULL, NULL, '')", (name,))
    return store.queue.enqueue_stale([State.RUNNING], "job_3")


@pytest.mark.parametrize(
    "works",
    [
        pytest.param(read_tokens, id="append"),
        pytest.param(lambda store: store.queue.keep("w1", 60_000), id="keep"),
        pytest.param(lambda store: store.queue.wake({"job_2", "job_1"}), id="wake"),
        pytest.param(lambda store: store.queue.hasten({"job_2", "job_1"}), id="hasten"),
        pytest.param(enqueue_stale, id="enqueue_stale"),
    ],
)
def test_a_caller_who_waits_for_a_job_holds_none_that_comes_after_it(
    store: PostgresStore,
    url: str,
    execute: Callable[..., list[Any]],
    works: Callable[[PostgresStore], object],
) -> None:
    """Else two that want both would each wait for the other, and the database would end one of them."""
    for name in ("job_2", "job_1"):
        store.queue.schedule(name)
    store.queue.claim("w1", 60_000, limit=2)
    for name in ("job_2", "job_1"):
        store.queue.schedule(name, 60_000)
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM work WHERE job_id = 'job_1' FOR UPDATE")
        waiting = threading.Thread(target=works, args=(store,))
        waiting.start()
        blocked = (
            f"SELECT 1 FROM pg_stat_activity WHERE {other.info.backend_pid} = ANY(pg_blocking_pids(pid))"
        )
        while not execute(blocked):
            assert waiting.is_alive()
        other.execute("SELECT FROM work WHERE job_id = 'job_2' FOR UPDATE NOWAIT")
    waiting.join()
