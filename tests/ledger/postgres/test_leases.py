"""Leases where several take them at once."""

import threading

import psycopg

from ledger.store.interface import Lease
from ledger.store.postgres import PostgresStore


def test_no_job_is_claimed_twice_by_many_at_once(store: PostgresStore) -> None:
    for number in range(40):
        store.schedule(f"job_{number}")
    claimed: list[Lease] = []

    def run(holder: str) -> None:
        while leases := store.claim(holder, 60_000, limit=3):
            claimed.extend(leases)

    threads = [threading.Thread(target=run, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed += store.claim("last", 60_000, limit=40)  # what was skipped because another had it locked
    assert sorted(lease.job_id for lease in claimed) == sorted(f"job_{number}" for number in range(40))


def test_a_job_another_is_claiming_is_skipped_not_waited_for(store: PostgresStore, url: str) -> None:
    store.schedule("job_1", -10)
    store.schedule("job_2")
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM work WHERE job_id = 'job_1' FOR UPDATE")
        assert [lease.job_id for lease in store.claim("w1", 60_000, limit=2)] == ["job_2"]
