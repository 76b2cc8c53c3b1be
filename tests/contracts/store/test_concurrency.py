"""Threads and processes that append at the same time lose nothing."""

import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import StaleFence, WrongExpectedVersion
from ledger.log.opening import open_store
from ledger.store.interface import AppendCall, EventStore, Fence
from tests.contracts.store.conftest import Kit
from tests.forks import CODE, Forks
from tests.ledger.scribe import Scribe


def in_threads(count: int, run: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_sixteen_threads_lose_nothing(
    store: EventStore, vocabulary: ModuleType, clean: Callable[[], bool]
) -> None:
    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        for _ in range(20):
            store.append([scribe.note(f"s{number % 4}")])

    in_threads(16, run)
    assert (store.head().size, clean()) == (321, True)


def test_one_refusal_in_a_group_leaves_the_others_alone(
    store: EventStore, vocabulary: ModuleType, clean: Callable[[], bool]
) -> None:
    refused: list[int] = []

    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        for turn in range(10):
            try:
                store.append([scribe.note(f"s{number}", at=7 if number % 2 else turn)])
            except WrongExpectedVersion:
                refused.append(number)

    in_threads(8, run)
    assert (store.head().size, sorted(refused), clean()) == (41, sorted([1, 3, 5, 7] * 10), True)


def test_a_callers_own_mistake_in_a_group_leaves_the_others_alone(
    store: EventStore, vocabulary: ModuleType
) -> None:
    mistakes: list[str] = []

    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        for _ in range(10):
            try:
                store.append(["no batch"] if number % 2 else [scribe.note()])  # type: ignore[list-item]
            except AttributeError:
                mistakes.append("raised where it was made")

    in_threads(8, run)
    assert (store.head().size, len(mistakes)) == (41, 40)


def test_several_appends_in_one_call_are_refused_one_by_one(
    store: EventStore, scribe: Scribe, clean: Callable[[], bool]
) -> None:
    store.queue.schedule("job_1")
    [lease] = store.queue.claim("w1", 60_000)
    outcomes = store.append_each(
        [
            AppendCall([scribe.note("a", at=0)], Fence("job_1", lease.token)),
            AppendCall([scribe.note("a", at=0)]),
            AppendCall([scribe.note("b")], Fence("job_1", lease.token + 1)),
            AppendCall(["no batch"]),  # type: ignore[list-item]
            AppendCall([scribe.note("a", at=1)]),
        ]
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [list, WrongExpectedVersion, StaleFence, AttributeError, list]
    assert (scribe.places(store)[1:], clean()) == ([(2, "a", 1), (3, "a", 2)], True)


def test_readers_among_writers_see_dense_positions(store: EventStore, vocabulary: ModuleType) -> None:
    torn: list[list[int]] = []

    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        for _ in range(15):
            if number % 2:
                observations = [position for position, _, _ in scribe.places(store)]
                torn.extend([] if observations == list(range(1, len(observations) + 1)) else [observations])
            else:
                store.append([scribe.note(), scribe.note()])

    in_threads(8, run)
    assert torn == []


APPENDS = """
import random, sys
from datetime import UTC, datetime
from ledger.errors import WrongExpectedVersion
from ledger.events import OutputAttached
from ledger.log.ledger import Ledger
from ledger.log.opening import open_or_create
from ledger.record import ActorSource, Authority, Provenance, draft
from ledger.store.interface import ANY, Batch, RecordFilter

url, seed = sys.argv[1], int(sys.argv[2])
who = Provenance("ana", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)
chance = random.Random(seed)
ledger = open_or_create(url, who, datetime.now(UTC))
for _ in range(25):
    batches = []
    for stream in chance.sample(["a", "b", "c"], chance.randint(1, 3)):
        seen = len(list(ledger.read(RecordFilter(stream=stream))))
        events = [OutputAttached(workflow="w", uri="u")] * chance.randint(1, 3)
        drafts = [draft(event, who, datetime.now(UTC)) for event in events]
        batches.append(Batch(stream, chance.choice([ANY, seen]), drafts))
    try:
        for record in ledger.append(batches):
            print(record.event_id)
    except WrongExpectedVersion:
        pass
ledger.close()
"""


@given(seed=st.integers(0, 10_000))
@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],  # each example has a ledger of its own
)
def test_concurrent_processes_lose_nothing(kit: Kit, seed: int, scribe: Scribe, forks: Forks) -> None:
    name = f"processes_{uuid.uuid4().hex}"
    processes = [
        forks.popen([APPENDS, kit.url(name), str(seed + number)], Path.cwd(), os.environ, program=CODE)
        for number in range(4)
    ]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    reported = sorted(event_id for output in outputs for event_id in output)
    store = open_store(kit.url(name), read_only=True)
    recorded = scribe.contents(store)
    store.close()
    assert sorted(record["event_id"] for record in recorded[1:]) == reported
    assert [record["position"] for record in recorded] == list(range(1, len(recorded) + 1))
    assert kit.findings(name) == []
