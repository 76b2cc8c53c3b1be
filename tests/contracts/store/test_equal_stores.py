"""The same appends come to the same bytes and the same answers on every store."""

import uuid
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger.errors import (
    AppendRefused,
)
from ledger.events import BudgetSet, RenderCancelled
from ledger.private import Private
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import ANY, NEW, EventStore
from tests.contracts.store.conftest import Kit
from tests.ledger.scribe import Scribe

ALL = RecordFilter()
KINDS = ("sqlite", "postgres")


@pytest.fixture
def pair(kits: Callable[[str], Kit]) -> Iterator[list[EventStore]]:
    """Yield a store of each kind."""
    opened = [kits(kind).open("one") for kind in KINDS]
    yield opened
    for each in opened:
        each.close()


def told(store: EventStore) -> list[Any]:
    """Return all that a store says of what was recorded, and the bytes it rests on."""
    rows = store.rows(0, 10_000, ALL)
    jobs = [job.canonical() for job in store.jobs(JobFilter())]
    head = store.head()
    bodies = store.bodies(range(1, len(rows) + 1))
    return [head.root(), head.to_bytes(), rows, jobs, store.holds("studio"), bodies, store.nodes(8, 0, 9)]


def test_the_same_events_give_the_same_bytes_on_every_store(
    pair: list[EventStore], scribe: Scribe, vocabulary: ModuleType
) -> None:
    appends = [
        [scribe.batch("ledger", vocabulary.sample("ledger.created"), at=NEW)],
        *([scribe.batch(vocabulary.JOB, event)] for event in vocabulary.life()),
        [scribe.note(f"s{number % 7}") for number in range(600)],
        [scribe.reserve("job_1", 5)],
        [scribe.batch(name, sample) for name, sample in odd_samples(vocabulary)],
    ]
    for store in pair:
        for batches in appends:
            store.append(batches)
    left, right = map(told, pair)
    assert left == right


def odd_samples(vocabulary: ModuleType) -> list[tuple[str, Any]]:
    """Return what databases differ on: U+0000, other planes, and text that sorts otherwise by locale."""
    nul = structs.replace(vocabulary.sample("render.adopted"), video_id="video\0_\U0001f3ac")
    why = RenderCancelled(why=Private.seal("why", "\0 \U0001f3ac \u00e9 e\u0301 \\x00"))
    return [("inbox", vocabulary.sample("webhook.received")), ("job_B", nul), ("a", why)]


def test_a_video_id_may_be_any_text(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    [_, (name, adopted), _] = odd_samples(vocabulary)
    store.append([scribe.batch(name, adopted)])
    assert [job.job_id for job in store.jobs(JobFilter(video_id=adopted.video_id))] == [name]


STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([ANY, 0, 1, 2])), min_size=1, max_size=3),
        st.lists(st.tuples(st.sampled_from(["job_1", "job_2"]), st.integers(0, 9)), max_size=2),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],  # each example has ledgers of its own
)
def test_the_same_appends_come_to_the_same_on_every_store(
    kits: Callable[[str], Kit], vocabulary: ModuleType, steps: list[Any]
) -> None:
    name = f"steps_{uuid.uuid4().hex}"
    scribe = vocabulary.Scribe()
    appends = [append_of(scribe, *step) for step in steps]
    outcomes = []
    for kind in KINDS:
        store = kits(kind).open(name)
        came_to = [outcome(store, append) for append in appends for _ in range(2)]
        outcomes.append([came_to, told(store)])
        store.close()
    assert outcomes[0] == outcomes[1]


def append_of(scribe: Scribe, streams: Any, held: Any, limit: int, sets_limit: bool) -> Any:  # noqa: FBT001
    batches = [scribe.note(stream, at) for stream, at in streams]
    batches += [scribe.reserve(job_id, amount) for job_id, amount in held]
    if sets_limit:
        batches.append(scribe.batch("budget_studio", BudgetSet(budget="studio", limit_usd_micros=limit)))
    return batches


def outcome(store: EventStore, batches: Any) -> Any:
    try:
        return [record.record for record in store.append(batches)]
    except (AppendRefused, ValueError) as error:
        return repr(error)
