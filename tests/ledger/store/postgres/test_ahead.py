"""Appends decided on what their process remembers leave what appends leave that read every row first."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import AppendRefused, BudgetExceeded, EventIdConflict, StaleFence, WrongExpectedVersion
from ledger.events import BudgetSet, RenderCancelled
from ledger.job import Job
from ledger.log.replay import replay, swap
from ledger.private import Private
from ledger.store import ahead
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import ANY, NEW, Batch, Document, Fence
from ledger.store.postgres import PostgresStore
from ledger.store.postgres import store as store_module
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.server import Databases

ALL = RecordFilter()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows whenever an append of any store reads rows under the lock."""
    begun: list[object] = []
    begin = store_module.begin  # type: ignore[attr-defined]

    def counted(*arguments: Any) -> Any:
        begun.append(arguments)
        return begin(*arguments)

    monkeypatch.setattr(store_module, "begin", counted)
    return begun


@pytest.fixture
def other(store: PostgresStore, url: str) -> Iterator[PostgresStore]:
    """Yield the same ledger as another process has it open."""
    with closing(PostgresStore(url)) as opened:
        yield opened


def test_an_append_that_continues_what_its_process_left_reads_nothing(
    store: PostgresStore,
    scribe: Scribe,
    reads: list[object],
    vocabulary: ModuleType,
    clean: Callable[[], bool],
) -> None:
    store.append([scribe.reserve("job_1", 1)])
    reads.clear()
    for version, event in enumerate(vocabulary.life()):
        store.append([scribe.batch(vocabulary.JOB, event, at=version)])
    assert (reads, store.head().size, clean()) == ([], 3 + len(vocabulary.life()), True)


def test_holds_and_fences_are_decided_ahead_too(
    store: PostgresStore, scribe: Scribe, reads: list[object], clean: Callable[[], bool]
) -> None:
    scribe.set_limit(store, 100)
    store.append([scribe.reserve("job_1", 10)])
    store.queue.schedule("job_2")
    [lease] = store.queue.claim("w1", 60_000)
    fence = Fence("job_2", lease.token)
    reads.clear()
    store.append([scribe.reserve("job_2", 20)._replace(expected_version=NEW)], fence=fence)
    store.append([scribe.settle("job_2", 30)], fence=fence)
    assert (reads, store.held("studio"), clean()) == ([], 40, True)


def refused(store: PostgresStore, error: type[Exception], batches: Sequence[Batch], **more: Any) -> bool:
    """Return whether `store` refuses an append like this, and records nothing of it."""
    size = store.head().size
    with pytest.raises(error):
        store.append(batches, **more)
    return store.head().size == size


def test_what_would_be_refused_is_refused_after_reading(
    store: PostgresStore, scribe: Scribe, reads: list[object]
) -> None:
    scribe.set_limit(store, 100)
    store.append([scribe.reserve("job_1", 10)])
    assert refused(store, BudgetExceeded, [scribe.reserve("job_2", 95)])
    assert refused(store, WrongExpectedVersion, [scribe.note("budget_studio", at=2)])
    assert refused(store, StaleFence, [scribe.note()], fence=Fence("job_1", 1))
    assert len(reads) == 5


def test_a_lease_that_went_to_another_worker_no_longer_writes(store: PostgresStore, scribe: Scribe) -> None:
    store.queue.schedule("job_1")
    [lease] = store.queue.claim("w1", 60_000)
    fence = Fence("job_1", lease.token)
    store.append([scribe.note()], fence=fence)
    store.queue.release(lease, 0)
    assert refused(store, StaleFence, [scribe.note()], fence=fence)
    store.queue.claim("w2", 60_000)
    assert refused(store, StaleFence, [scribe.note()], fence=fence)


def test_an_event_that_another_process_recorded_is_not_recorded_twice(
    store: PostgresStore, other: PostgresStore, scribe: Scribe
) -> None:
    note = scribe.note("one", at=NEW)
    [recorded] = other.append([note])
    store.append([scribe.note("two")])
    assert store.append([note])[0].position == recorded.position
    assert refused(store, EventIdConflict, [note, scribe.note("three")])
    assert refused(store, WrongExpectedVersion, [scribe.note("one", at=NEW)])


def test_a_text_sealed_for_another_event_is_refused(store: PostgresStore, scribe: Scribe) -> None:
    spoken = RenderCancelled(why=Private.seal("why", "because"))
    store.append([scribe.batch("notes", spoken)])
    store.append([scribe.note()])
    assert refused(store, ValueError, [scribe.batch("notes", spoken)])


def test_an_erased_text_is_gone_although_its_process_remembers_the_ledger(
    store: PostgresStore, scribe: Scribe, execute: Callable[..., list[Any]]
) -> None:
    record = scribe.spoken(store)
    store.append([scribe.note()])
    scribe.erase(store, record)
    assert execute("SELECT COUNT(*) FROM private_bodies") == [(0,)]


def test_after_a_miss_a_process_reads_until_it_was_undisturbed(
    store: PostgresStore, other: PostgresStore, scribe: Scribe, reads: list[object], clean: Callable[[], bool]
) -> None:
    store.append([scribe.note()])
    other.append([scribe.note()])
    reads.clear()
    for _ in range(ahead.UNDISTURBED + 5):
        store.append([scribe.note()])
    assert (len(reads), clean()) == (ahead.UNDISTURBED + 1, True)  # one found out, the others looked


def test_only_the_latest_streams_are_remembered(
    store: PostgresStore, scribe: Scribe, reads: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "MOST_STREAMS", 2)
    for stream in ("a", "b", "c"):
        store.append([scribe.note(stream, at=NEW)])
    reads.clear()
    store.append([scribe.note("c"), scribe.note("b")])
    assert len(reads) == 0
    store.append([scribe.note("a")])
    assert len(reads) == 1


# --- any sequence of appends ---


class Step(NamedTuple):
    """One append, by one of two processes; which drafts of their kind: the same ones twice are the same."""

    process: int
    stream: str
    expected: Any
    kind: str
    number: int
    fence: int | None
    condition: tuple[str, Any] | None


STREAMS = ("notes", "other", "job_1", "job_2")
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from(STREAMS),
        st.sampled_from([ANY, ANY, NEW, 1, 2]),
        st.sampled_from(["note", "begin", "settle", "limit", "spoken", "document"]),
        st.integers(0, 5),
        st.sampled_from([None, None, 1, 2]),
        st.none() | st.tuples(st.sampled_from(STREAMS), st.sampled_from([ANY, NEW, 1])),
    ),
    min_size=3,
    max_size=20,
)


def drafts_of(scribe: Scribe, kind: str, number: int) -> Any:
    match kind:
        case "begin":
            return scribe.reserve("job", number).drafts
        case "settle":
            return scribe.settle("job", number).drafts
        case "limit":
            return scribe.batch("b", BudgetSet(budget="studio", limit_usd_micros=3 * number)).drafts
        case "spoken":
            return scribe.batch("b", RenderCancelled(why=Private.seal("why", "because"))).drafts
        case _:
            return scribe.note().drafts


def outcome(store: PostgresStore, step: Step, drafts: Any) -> Any:
    stream = "budget_studio" if step.kind == "limit" else step.stream
    batches = [Batch(stream, step.expected, drafts)]
    if step.condition:
        batches.append(Batch(*step.condition, []))
    fence = Fence("job_9", step.fence) if step.fence else None
    documents = [Document(b"%d" % step.number)] if step.kind == "document" else []
    try:
        return [record.record for record in store.append(batches, fence=fence, documents=documents)]
    except (AppendRefused, ValueError) as error:
        return repr(error)


def contents(store: PostgresStore) -> list[Any]:
    """Return all that a ledger holds."""
    rows, head = store.rows(0, 1_000, ALL), store.head()
    jobs = [job.canonical() for job in store.jobs(JobFilter())]
    remaining = [store.document(Document(b"%d" % number).sha256) for number in range(6)]
    tables = [store.counts("state"), store.spent("team"), store.holds("studio"), remaining]
    return [head.to_bytes(), rows, jobs, store.bodies(range(1, len(rows) + 1)), *tables]


@given(steps=STEPS)
@settings(
    max_examples=settings.default.max_examples * 40 // 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_two_processes_leave_what_one_leaves_that_reads_every_row(
    databases: Databases, postgres: ModuleType, vocabulary: ModuleType, steps: list[Step]
) -> None:
    scribe, name = vocabulary.Scribe(), uuid.uuid4().hex
    drafts = {(step.kind, step.number): drafts_of(scribe, step.kind, step.number) for step in steps}
    begun = [scribe.batch("ledger", vocabulary.sample("ledger.created"), at=NEW)]
    processes = [PostgresStore(databases.url(f"ahead_{name}")) for _ in range(2)]
    reading = PostgresStore(databases.url(f"reading_{name}"))
    reading._ahead.decide = lambda _: None  # type: ignore[method-assign, assignment]
    for ledger in (processes[0], reading):
        ledger.append(begun)
        ledger.queue.schedule("job_9")
        ledger.queue.claim("w1", 60_000)
    for step in steps:
        content = drafts[step.kind, step.number]
        assert outcome(processes[step.process], step, content) == outcome(reading, step, content)
    assert contents(processes[0]) == contents(reading)
    assert postgres.findings(databases.url(f"ahead_{name}")) == []
    for store in (*processes, reading):
        store.close()


def test_many_processes_at_once_lose_nothing(
    url: str, store: PostgresStore, vocabulary: ModuleType, clean: Callable[[], bool]
) -> None:
    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        with closing(PostgresStore(url)) as process:
            for turn in range(40):
                process.append([scribe.note(f"s{number}", at=turn), scribe.note("shared")])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.head().size, clean()) == (321, True)


# --- while another process makes the job rows again ---


WAITING = """
SELECT COUNT(*) FROM pg_stat_activity AS waiting WHERE wait_event_type = 'Lock' AND EXISTS (
    SELECT FROM pg_locks AS lock WHERE lock.pid = ANY(pg_blocking_pids(waiting.pid))
    AND lock.relation = 'head'::regclass
)
"""


def until_waiting(execute: Callable[..., list[Any]]) -> None:
    """Return once a session waits for one that uses the head."""
    while execute(WAITING) == [(0,)]:
        pass


def test_an_append_that_waits_for_a_swap_of_the_job_rows_is_listed(
    store: PostgresStore,
    other: PostgresStore,
    vocabulary: ModuleType,
    scribe: Scribe,
    execute: Callable[..., list[Any]],
    clean: Callable[[], bool],
) -> None:
    requested, decided, intended, *_ = vocabulary.life()
    store.append([scribe.batch(vocabulary.JOB, requested, decided, at=NEW)])
    appending = threading.Thread(target=store.append, args=([scribe.batch(vocabulary.JOB, intended)],))

    def jobs() -> Iterator[Job]:
        appending.start()
        until_waiting(execute)
        yield from other.all_jobs()

    other.replace_jobs(jobs(), store.head().size)
    appending.join()
    [job] = store.jobs(JobFilter())
    assert clean()
    assert job.version == 3
    assert execute("SELECT state FROM listing") == execute("SELECT state FROM counts WHERE jobs > 0")
    assert store.counts("state") == {job.state.value: 1}


def test_a_process_that_remembers_a_damaged_job_row_reads_the_one_of_a_swap(
    url: str,
    store: PostgresStore,
    vocabulary: ModuleType,
    scribe: Scribe,
    execute: Callable[..., list[Any]],
    clean: Callable[[], bool],
) -> None:
    requested, decided, intended, *_ = vocabulary.life()
    with closing(PostgresStore(url)) as other:
        other.append([scribe.batch(vocabulary.JOB, requested, at=NEW)])
    [sound] = store.jobs(JobFilter())
    execute("UPDATE jobs SET body = replace(encode(body, 'escape'), 'draft', 'final')::bytea")
    store.append([scribe.batch(vocabulary.JOB, decided)])
    for _ in range(ahead.UNDISTURBED + 1):
        store.append([scribe.note()])
    with scribe.ledger(url) as ledger:
        swap(ledger, replay(ledger))
    store.append([scribe.batch(vocabulary.JOB, intended)])
    [job] = store.jobs(JobFilter())
    assert (job.purpose, job.version, clean()) == (sound.purpose, 3, True)
