"""The contract of `ledger.store.interface`, sentence by sentence, for every store there is."""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from freezegun import freeze_time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.canonical import leaf_hash
from ledger.errors import (
    AppendRefused,
    BudgetExceeded,
    EventIdConflict,
    IllegalTransition,
    StaleFence,
    WrongExpectedVersion,
)
from ledger.events import BudgetSet, OutputAttached, PrivateErased, RenderAdopted, RenderCancelled, Status
from ledger.job import State, fold
from ledger.log.ledger import open_store, open_tail
from ledger.private import Private
from ledger.record import Record
from ledger.store.interface import (
    ANY,
    NEW,
    Batch,
    Document,
    Fence,
    Hold,
    JobFilter,
    Lease,
    Limit,
    RecordFilter,
    Store,
)
from ledger.store.postgres import PostgresStore
from ledger.store.sqlite import SqliteStore
from ledger.tree.merkle import Frontier, root_at
from ledger.verify.incremental import verify_since

ALL = RecordFilter()
KINDS = ("sqlite", "postgres")


class Kit(NamedTuple):
    """A kind of store: the same name stands for the same database in `open`, `url` and `findings`."""

    open: Callable[[str], Store]
    url: Callable[[str], str]
    findings: Callable[[str], list[tuple[str, int | None]]]


@pytest.fixture
def kits(tmp_path: Path, vocabulary: ModuleType, request: pytest.FixtureRequest) -> Callable[[str], Kit]:
    """Return the kits by the name of their database."""

    def kit(kind: str) -> Kit:
        if kind == "sqlite":
            return Kit(
                open=lambda name: SqliteStore(tmp_path / f"{name}.db"),
                url=lambda name: f"sqlite:///{tmp_path}/{name}.db",
                findings=lambda name: vocabulary.findings(tmp_path / f"{name}.db"),
            )
        postgres, databases = (request.getfixturevalue(name) for name in ("postgres", "databases"))
        return Kit(
            open=lambda name: PostgresStore(databases.url(name)),
            url=databases.url,
            findings=lambda name: postgres.findings(databases.url(name)),
        )

    return kit


@pytest.fixture(params=KINDS)
def kit(kits: Callable[[str], Kit], request: pytest.FixtureRequest) -> Kit:
    """Return one kind of store after the other."""
    return kits(request.param)


@pytest.fixture
def store(kit: Kit, scribe: Any) -> Iterator[Store]:
    """Yield a store that holds ``ledger.created`` at position 1."""
    opened = kit.open("one")
    scribe.begin(opened)
    yield opened
    opened.close()


@pytest.fixture
def clean(kit: Kit) -> Callable[[], bool]:
    """Return the oracle: whether verification finds nothing in the store."""
    return lambda: kit.findings("one") == []


def contents(store: Store) -> list[Any]:
    return [json.loads(row.record) for row in store.rows(0, 10_000, ALL)]


def places(store: Store) -> list[tuple[int, str, int]]:
    return [(record["position"], record["stream"], record["version"]) for record in contents(store)]


def set_limit(store: Store, scribe: Any, usd_micros: int) -> None:
    store.append([scribe.batch("budget_studio", BudgetSet(budget="studio", limit_usd_micros=usd_micros))])


# --- one append, one transaction ---


def test_several_streams_are_recorded_in_one_append(store: Store, scribe: Any) -> None:
    store.append([scribe.note("a", NEW), scribe.note("b", NEW), scribe.note("a")])
    assert places(store)[1:] == [(2, "a", 1), (3, "b", 1), (4, "a", 2)]


def test_an_append_returns_its_records(store: Store, scribe: Any) -> None:
    records = store.append([scribe.note("a"), scribe.note("b")])
    assert [record.record for record in records] == [row.record for row in store.rows(1, 10, ALL)]


def test_what_is_refused_in_one_stream_is_recorded_in_none(store: Store, scribe: Any) -> None:
    with pytest.raises(WrongExpectedVersion):
        store.append([scribe.note("a"), scribe.note("b", 7)])
    assert len(contents(store)) == 1


def test_what_was_appended_is_there_after_opening_again(store: Store, kit: Kit, scribe: Any) -> None:
    store.append([scribe.note()])
    again = kit.open("one")
    assert places(again) == places(store)
    again.close()


def test_an_append_of_nothing_records_nothing(store: Store) -> None:
    assert (store.append([]), store.head().size) == ([], 1)


# --- event ids, compared first ---


def test_the_same_append_again_returns_the_old_records(store: Store, scribe: Any) -> None:
    batches = [scribe.note("a"), scribe.note("b")]
    first = store.append(batches)
    assert [r.record for r in store.append(batches)] == [r.record for r in first]


def test_the_same_append_again_records_nothing(store: Store, scribe: Any) -> None:
    batches = [scribe.note("a"), scribe.note("b")]
    store.append(batches)
    store.append(batches)
    assert store.head().size == 3


def test_the_same_append_again_still_has_its_private_text(
    store: Store, scribe: Any, vocabulary: ModuleType
) -> None:
    batches = [scribe.batch(vocabulary.JOB, vocabulary.requested("a kite"))]
    store.append(batches)
    [record] = store.append(batches)
    assert record.event.prompt.text == "a kite"  # type: ignore[union-attr]


def test_event_ids_come_before_the_fence(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    batches = [scribe.note()]
    store.append(batches)
    assert store.append(batches, fence=Fence(vocabulary.JOB, 99))


def test_event_ids_come_before_the_versions(store: Store, scribe: Any) -> None:
    batches = [scribe.note("a", NEW)]
    store.append(batches)
    assert [record.version for record in store.append(batches)] == [1]


def test_event_ids_come_before_the_budgets(store: Store, scribe: Any) -> None:
    batches = [scribe.note()]
    store.append(batches)
    set_limit(store, scribe, 0)
    assert store.append(batches, holds=[Hold("studio", "job_1", 1, 0)])


def test_the_same_append_again_leaves_the_holds_alone(store: Store, scribe: Any) -> None:
    batches = [scribe.note()]
    store.append(batches, holds=[Hold("studio", "job_1", 5, 0)])
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 0, 4)])
    store.append(batches, holds=[Hold("studio", "job_1", 5, 0)])
    assert store.holds("studio") == [Hold("studio", "job_1", 0, 4)]


def test_an_append_of_which_only_some_is_there_is_a_conflict(store: Store, scribe: Any) -> None:
    there, new = scribe.note(), scribe.note()
    store.append([there])
    with pytest.raises(EventIdConflict, match=r"is recorded, but .* of the same append is not"):
        store.append([there, new])


def test_an_event_id_with_other_content_is_a_conflict(store: Store, scribe: Any, vocabulary: Any) -> None:
    store.append([scribe.note()])
    same_id = vocabulary.Scribe(first=2).batch("notes", OutputAttached(workflow="other", uri="u"))
    with pytest.raises(
        EventIdConflict, match=r"stands for output\.attached at position 2 with other content"
    ):
        store.append([same_id])


def test_an_event_id_in_another_stream_is_a_conflict(store: Store, scribe: Any) -> None:
    batch = scribe.note("a")
    store.append([batch])
    with pytest.raises(EventIdConflict):
        store.append([batch._replace(stream="b")])


def test_an_event_id_twice_in_one_append_is_a_conflict(store: Store, scribe: Any) -> None:
    batch = scribe.note()
    with pytest.raises(EventIdConflict, match="uses an event id twice"):
        store.append([batch, batch])


def test_an_event_is_found_by_its_id(store: Store, scribe: Any) -> None:
    [record] = store.append([scribe.note()])
    row = store.event(record.event_id)
    assert row
    assert row.record == record.record


def test_an_unknown_event_id_is_none(store: Store) -> None:
    assert store.event("nobody") is None


# --- fence, versions, in this order ---


def test_the_fence_comes_before_the_versions(store: Store, scribe: Any) -> None:
    with pytest.raises(StaleFence):
        store.append([scribe.note("a", 7)], fence=Fence("job_1", 1))


def test_the_versions_come_before_the_budgets(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 0)
    with pytest.raises(WrongExpectedVersion):
        store.append([scribe.note("a", 7)], holds=[Hold("studio", "job_1", 1, 0)])


def test_a_stream_at_another_version_is_refused(store: Store, scribe: Any) -> None:
    store.append([scribe.note("a")])
    with pytest.raises(WrongExpectedVersion, match="stream a is at version 1, expected 2"):
        store.append([scribe.note("a", 2)])


def test_a_stream_at_the_expected_version_is_extended(store: Store, scribe: Any) -> None:
    store.append([scribe.note("a")])
    assert [record.version for record in store.append([scribe.note("a", 1)])] == [2]


def test_new_is_refused_where_the_stream_exists(store: Store, scribe: Any) -> None:
    store.append([scribe.note("a")])
    with pytest.raises(WrongExpectedVersion):
        store.append([scribe.note("a", NEW)])


def test_any_extends_whatever_is_there(store: Store, scribe: Any) -> None:
    store.append([scribe.note("a"), scribe.note("a")])
    assert [record.version for record in store.append([scribe.note("a", ANY)])] == [3]


def test_a_version_is_expected_of_the_stream_before_the_append(store: Store, scribe: Any) -> None:
    records = store.append([scribe.note("a", NEW), scribe.note("a", NEW)])
    assert [record.version for record in records] == [1, 2]


# --- budgets and holds ---


def test_a_hold_is_kept_per_budget_and_job(store: Store, scribe: Any) -> None:
    holds = [Hold("studio", "job_1", 5, 0), Hold("studio", "job_2", 7, 0), Hold("other", "job_1", 1, 0)]
    store.append([scribe.note()], holds=holds)
    assert store.holds("studio") == holds[:2]


def test_a_hold_replaces_the_one_before(store: Store, scribe: Any) -> None:
    for reserved, settled in ((5, 0), (0, 4)):
        store.append([scribe.note()], holds=[Hold("studio", "job_1", reserved, settled)])
    assert store.holds("studio") == [Hold("studio", "job_1", 0, 4)]


def test_a_hold_may_fill_its_budget(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 10)
    assert store.append([scribe.note()], holds=[Hold("studio", "job_1", 10, 0)])


def test_a_hold_over_the_limit_refuses_the_whole_append(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 10)
    with pytest.raises(
        BudgetExceeded, match="budget studio: 11 micro-dollars would be held, the limit is 10"
    ):
        store.append([scribe.note()], holds=[Hold("other", "job_1", 1, 0), Hold("studio", "job_1", 11, 0)])
    assert (store.head().size, store.holds("other")) == (2, [])


def test_the_holds_of_all_jobs_count(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 10)
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 4, 3)])
    with pytest.raises(BudgetExceeded):
        store.append([scribe.note()], holds=[Hold("studio", "job_2", 4, 0)])


def test_the_holds_of_one_append_count_together(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 10)
    with pytest.raises(BudgetExceeded):
        store.append([scribe.note()], holds=[Hold("studio", "job_1", 6, 0), Hold("studio", "job_2", 6, 0)])


def test_released_money_can_be_held_again(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 10)
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 10, 0)])
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 0, 0)])
    assert store.append([scribe.note()], holds=[Hold("studio", "job_2", 10, 0)])


def test_settling_for_less_goes_through_over_the_limit(store: Store, scribe: Any) -> None:
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 10, 0)])
    set_limit(store, scribe, 1)
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 0, 9)])
    assert store.holds("studio") == [Hold("studio", "job_1", 0, 9)]


def test_the_last_limit_counts(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 10)
    set_limit(store, scribe, 20)
    assert store.append([scribe.note()], holds=[Hold("studio", "job_1", 15, 0)])


def test_money_that_was_spent_is_recorded_whatever_the_limit(store: Store, scribe: Any) -> None:
    set_limit(store, scribe, 10)
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 8, 0)])
    store.append([scribe.note()], holds=[Hold("studio", "job_1", 0, 15)])
    assert store.held("studio") == 15
    with pytest.raises(BudgetExceeded):
        store.append([scribe.note()], holds=[Hold("studio", "job_2", 1, 0)])


def test_what_is_held_of_a_budget_is_the_sum_over_all_jobs(store: Store, scribe: Any) -> None:
    holds = [Hold("studio", "job_1", 5, 0), Hold("studio", "job_2", 0, 7), Hold("other", "job_1", 1, 0)]
    store.append([scribe.note()], holds=holds)
    assert (store.held("studio"), store.held("other"), store.held("nobodys")) == (12, 1, 0)


def test_a_batch_without_events_is_a_condition_and_nothing_else(store: Store, scribe: Any) -> None:
    store.append([scribe.note("a")])
    store.append([Batch("a", 1, []), scribe.note("b")])
    with pytest.raises(WrongExpectedVersion):
        store.append([Batch("a", 0, []), scribe.note("c")])
    assert [len(store.rows(0, 9, RecordFilter(stream=name))) for name in "abc"] == [1, 1, 0]


def test_a_budget_without_a_limit_has_none(store: Store, scribe: Any) -> None:
    assert store.append([scribe.note()], holds=[Hold("studio", "job_1", 2**53 - 1, 0)])


@pytest.mark.parametrize("amounts", [(-1, 0), (0, -1), (2**53, 0), (0, 2**63)])
def test_an_impossible_amount_is_refused(store: Store, scribe: Any, amounts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a hold is 0 to"):
        store.append([scribe.note()], holds=[Hold("studio", "job_1", *amounts)])


# --- positions, tree, tiles ---


def test_positions_are_dense_after_a_refusal(store: Store, scribe: Any) -> None:
    with pytest.raises(AppendRefused):
        store.append([scribe.note("a", 7)])
    store.append([scribe.note()])
    assert [position for position, _, _ in places(store)] == [1, 2]


def test_the_head_is_the_tree_over_all_records(store: Store, scribe: Any) -> None:
    store.append([scribe.note() for _ in range(12)])
    tree = Frontier()
    for row in store.rows(0, 100, ALL):
        tree.append(leaf_hash(row.record))
    head = store.head()
    assert (head.size, head.to_bytes(), head.root()) == (13, tree.to_bytes(), tree.root())


def test_a_new_store_has_the_empty_tree(kit: Kit) -> None:
    store = kit.open("new")
    assert (store.head().size, store.head().root()) == (0, Frontier().root())
    store.close()


def test_the_same_drafts_give_the_same_root(kit: Kit, vocabulary: ModuleType) -> None:
    batches = [vocabulary.Scribe().note() for _ in range(1)]
    roots = []
    for name in ("left", "right"):
        store = kit.open(name)
        store.append(batches)
        roots.append(store.head().root())
        store.close()
    assert roots[0] == roots[1]


def test_tiles_are_the_nodes_over_256_leaves(store: Store, scribe: Any) -> None:
    store.append([scribe.note() for _ in range(300)])
    store.append([scribe.note() for _ in range(300)])
    tree, nodes = Frontier(), []
    for row in store.rows(0, 1_000, ALL):
        nodes += tree.append(row.leaf)
    assert store.nodes(8, 0, len(nodes)) == [node.hash for node in nodes]


def test_rows_come_in_order_after_a_position_up_to_a_limit(store: Store, scribe: Any) -> None:
    store.append([scribe.note() for _ in range(9)])
    found = [json.loads(row.record)["position"] for row in store.rows(3, 4, ALL)]
    assert found == [4, 5, 6, 7]


# --- private bodies ---


def erase(store: Store, scribe: Any, record: Record) -> None:
    event = PrivateErased(commitments=tuple(record_bodies(record)), reason_code="subject_request")
    store.append([scribe.batch("ledger", event)])


def record_bodies(record: Record) -> list[str]:
    why: Any = record.event
    return [why.why.commitment]


def spoken(store: Store, scribe: Any) -> Record:
    event = RenderCancelled(why=Private.seal("why", "because"))
    return store.append([scribe.batch("notes", event)])[0]


def test_bodies_are_read_by_position(store: Store, scribe: Any) -> None:
    record = spoken(store, scribe)
    assert [body.text for body in store.bodies([record.position]).values()] == ["because"]


def test_bodies_of_many_positions_are_read_at_once(store: Store, scribe: Any) -> None:
    event = RenderCancelled(why=Private.seal("why", "because"))
    store.append([scribe.batch("notes", event), *(scribe.note() for _ in range(1_200))])
    assert len(store.bodies(range(1, 1_203))) == 1


def test_an_erasure_deletes_the_bodies_it_names(store: Store, scribe: Any) -> None:
    record = spoken(store, scribe)
    erase(store, scribe, record)
    assert store.bodies([record.position]) == {}


def test_an_erasure_leaves_other_bodies(store: Store, scribe: Any) -> None:
    record, other = spoken(store, scribe), spoken(store, scribe)
    erase(store, scribe, record)
    assert len(store.bodies([record.position, other.position])) == 1


def test_an_erasure_leaves_every_row_before_it(store: Store, scribe: Any) -> None:
    record = spoken(store, scribe)
    before = store.rows(0, 10, ALL)
    erase(store, scribe, record)
    assert store.rows(0, len(before), ALL) == before


def test_an_erasure_leaves_the_root_of_what_was(store: Store, scribe: Any) -> None:
    record = spoken(store, scribe)
    root = store.head().root()
    erase(store, scribe, record)
    tree = Frontier()
    for row in store.rows(0, 2, ALL):
        tree.append(row.leaf)
    assert tree.root() == root


def test_an_erasure_that_is_refused_deletes_nothing(store: Store, scribe: Any) -> None:
    record = spoken(store, scribe)
    event = PrivateErased(commitments=tuple(record_bodies(record)), reason_code="subject_request")
    with pytest.raises(AppendRefused):
        store.append([scribe.batch("ledger", event), scribe.note("a", 7)])
    assert len(store.bodies([record.position])) == 1


def test_an_erased_ledger_verifies(store: Store, scribe: Any, clean: Callable[[], bool]) -> None:
    erase(store, scribe, spoken(store, scribe))
    assert clean()


def test_text_sealed_once_is_recorded_once(store: Store, scribe: Any) -> None:
    why = Private.seal("why", "because")
    store.append([scribe.batch("notes", RenderCancelled(why=why))])
    with pytest.raises(ValueError, match="the text at why was sealed for another event: seal it again"):
        store.append([scribe.batch("notes", RenderCancelled(why=why))])


# --- documents ---


def test_a_document_is_kept_under_its_digest(store: Store, scribe: Any) -> None:
    document = Document(b"policy")
    store.append([scribe.note()], documents=[document])
    assert store.document(document.sha256) == b"policy"


def test_a_document_may_come_again(store: Store, scribe: Any) -> None:
    for _ in range(2):
        store.append([scribe.note()], documents=[Document(b"policy")])
    assert store.document(Document(b"policy").sha256) == b"policy"


def test_a_document_of_a_refused_append_is_not_kept(store: Store, scribe: Any) -> None:
    with pytest.raises(AppendRefused):
        store.append([scribe.note("a", 7)], documents=[Document(b"policy")])
    assert store.document(Document(b"policy").sha256) is None


# --- jobs ---


def test_a_job_row_is_the_fold_of_its_events(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    job = None
    for record in scribe.live(store, vocabulary.JOB):
        job = fold(job, record)
    assert store.job(vocabulary.JOB) == job


def test_events_of_one_append_fold_one_after_the_other(store: Store, scribe: Any, vocabulary: Any) -> None:
    life = vocabulary.life()
    store.append([scribe.batch(vocabulary.JOB, *life[:4]), scribe.batch(vocabulary.JOB, *life[4:])])
    job = store.job(vocabulary.JOB)
    assert job
    assert (job.state, job.version) == (State.STORED, 9)


def test_an_illegal_step_refuses_the_whole_append(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    with pytest.raises(IllegalTransition):
        store.append([scribe.note(), scribe.batch(vocabulary.JOB, vocabulary.asset())])
    assert (store.head().size, store.job(vocabulary.JOB)) == (1, None)


def test_jobs_are_listed_newest_first_up_to_a_limit(store: Store, scribe: Any, vocabulary: Any) -> None:
    for number in range(3):
        store.append([scribe.batch(f"job_{number}", vocabulary.requested())])
    assert [job.job_id for job in store.jobs(JobFilter(), limit=2)] == ["job_2", "job_1"]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (JobFilter(states=(State.REQUESTED,)), 1),
        (JobFilter(states=()), 0),
        (JobFilter(profile="sandbox"), 2),
        (JobFilter(profile="other"), 0),
        (JobFilter(video_id="video_1"), 1),
        (JobFilter(id_prefix="job_a"), 1),
        (JobFilter(id_prefix="job_"), 2),
        (JobFilter(id_prefix="job_a", states=(State.STORED,)), 0),
    ],
)
def test_a_filter_restricts_the_jobs(
    store: Store, scribe: Any, vocabulary: ModuleType, where: JobFilter, count: int
) -> None:
    store.append([scribe.batch("job_a", vocabulary.requested())])
    scribe.live(store, "job_b")
    assert len(store.jobs(where)) == count


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (JobFilter(model="sora-2"), ["job_b"]),
        (JobFilter(model="auto"), ["job_b", "job_a"]),
        (JobFilter(model="sora"), []),
        (JobFilter(purpose='a "draft" \0 \\ \u00e9'), ["job_a"]),
        (JobFilter(purpose="a"), []),
        (JobFilter(actor="ana"), ["job_b", "job_a"]),
        (JobFilter(actor="an"), []),
        (JobFilter(actor="'; DROP TABLE jobs; --"), []),
        (JobFilter(statuses=(Status.COMPLETED, Status.QUEUED)), ["job_b"]),
        (JobFilter(statuses=()), []),
        (JobFilter(derived=True), ["job_a"]),
        (JobFilter(purpose='a "draft" \0 \\ \u00e9', statuses=(Status.COMPLETED,)), []),
    ],
)
def test_jobs_are_found_by_what_their_rows_hold(
    store: Store, scribe: Any, vocabulary: ModuleType, where: JobFilter, found: list[str]
) -> None:
    told = vocabulary.requested().model_copy(
        update={"purpose": 'a "draft" \0 \\ \u00e9', "source_job": "job_b"}
    )
    store.append([scribe.batch("job_a", told)])
    scribe.live(store, "job_b")
    assert [job.job_id for job in store.jobs(where)] == found


def test_jobs_are_found_by_when_they_were_begun(store: Store, scribe: Any) -> None:
    for number in range(3):
        scribe.live(store, f"job_{number}")
    [_, second, first] = [job.created_at for job in store.jobs(JobFilter())]
    since, until = JobFilter(since=second), JobFilter(until=second)
    assert [job.job_id for job in store.jobs(since)] == ["job_2", "job_1"]
    assert [job.job_id for job in store.jobs(until)] == ["job_0"]
    assert [job.job_id for job in store.jobs(JobFilter(since=first, until=second))] == ["job_0"]


def test_jobs_are_read_in_parts_by_what_is_before_the_last(store: Store, scribe: Any) -> None:
    for number in range(3):
        scribe.live(store, f"job_{number}")
    assert [job.job_id for job in store.jobs(JobFilter(before="job_2"), limit=1)] == ["job_1"]
    assert [job.job_id for job in store.jobs(JobFilter(before="job_1"))] == ["job_0"]
    assert store.jobs(JobFilter(before="job_0")) == []


def test_an_unknown_job_is_none(store: Store) -> None:
    assert store.job("job_x") is None


def test_all_job_rows_can_be_replaced(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    for number in range(3):
        store.append([scribe.batch(f"job_{number}", vocabulary.requested())])
    kept = store.jobs(JobFilter(), limit=1)
    store.replace_jobs(kept, at_position=4)
    assert store.jobs(JobFilter()) == kept


def test_job_rows_are_not_replaced_when_the_head_has_moved(store: Store, scribe: Any) -> None:
    store.append([scribe.note()])
    with pytest.raises(WrongExpectedVersion):
        store.replace_jobs([], at_position=1)


# --- import ---


def export(store: Store) -> list[Any]:
    rows = store.rows(0, 10_000, ALL)
    return [(row, list(store.bodies([position]).values())) for position, row in enumerate(rows, 1)]


@pytest.fixture
def source(kit: Kit, vocabulary: ModuleType) -> Iterator[Store]:
    """Yield another store with a job, its holds and an erasure."""
    opened = kit.open("source")
    scribe = vocabulary.Scribe(first=5_000)
    scribe.begin(opened)
    scribe.live(opened, vocabulary.JOB)
    erase(opened, scribe, spoken(opened, scribe))
    yield opened
    opened.close()


@pytest.fixture
def target(kit: Kit) -> Iterator[Store]:
    """Yield an empty store, the one that `clean` looks at."""
    opened = kit.open("one")
    yield opened
    opened.close()


def test_an_import_gives_the_same_root(source: Store, target: Store) -> None:
    target.import_rows(export(source))
    assert target.head().root() == source.head().root()


def test_an_import_gives_the_same_rows_jobs_and_holds(source: Store, target: Store) -> None:
    target.import_rows(export(source))
    told = [
        (store.rows(0, 99, ALL), store.jobs(JobFilter()), store.holds("studio")) for store in (source, target)
    ]
    assert told[0] == told[1]


def test_an_import_verifies(source: Store, target: Store, clean: Callable[[], bool]) -> None:
    target.import_rows(export(source))
    assert clean()


def test_an_import_counts_what_was_new(source: Store, target: Store) -> None:
    rows = export(source)
    assert [target.import_rows(rows[:4]), target.import_rows(rows)] == [4, len(rows) - 4]


def test_an_import_over_a_gap_is_refused(source: Store, target: Store) -> None:
    with pytest.raises(WrongExpectedVersion, match="expected position 1, got 2"):
        target.import_rows(export(source)[1:])


def test_an_import_of_another_ledger_is_refused(source: Store, store: Store) -> None:
    with pytest.raises(WrongExpectedVersion, match="position 1 is here already with other content"):
        store.import_rows(export(source))


@pytest.mark.parametrize("column", ["record", "payload", "leaf"])
def test_an_import_of_damaged_rows_is_refused(source: Store, target: Store, column: str) -> None:
    [(row, bodies), *_] = export(source)
    damaged = row._replace(**{column: getattr(row, column) + b" "})
    with pytest.raises(AppendRefused, match="position 1 is not what its hashes say"):
        target.import_rows([(damaged, bodies)])


# --- leases ---


@pytest.fixture
def lease(store: Store) -> Lease:
    """Return a live lease on ``job_1``."""
    store.schedule("job_1")
    [claimed] = store.claim("w1", 60_000)
    return claimed


def writes(store: Store, scribe: Any, lease: Lease) -> bool:
    with suppress(StaleFence):
        return bool(store.append([scribe.note()], fence=Fence(lease.job_id, lease.token)))
    return False


def test_a_due_job_is_claimed(lease: Lease) -> None:
    assert (lease.job_id, lease.holder, lease.token) == ("job_1", "w1", 1)


def test_a_job_that_is_not_due_is_not_claimed(store: Store) -> None:
    store.schedule("job_1", 60_000)
    assert store.claim("w1", 60_000) == []


def test_jobs_that_are_woken_are_due_at_once_whenever_they_were_to_be(store: Store) -> None:
    store.schedule("job_1", 60_000)
    store.wake(["job_2", "job_1"])
    assert {claimed.job_id for claimed in store.claim("w1", 60_000, limit=9)} == {"job_1", "job_2"}


def test_a_job_that_is_woken_keeps_its_place_before_younger_ones(store: Store) -> None:
    store.schedule("job_1", -5_000)
    store.schedule("job_2", -1_000)
    store.wake(["job_1"])
    assert [claimed.job_id for claimed in store.claim("w1", 60_000, limit=9)] == ["job_1", "job_2"]


def test_a_job_that_is_woken_while_it_is_held_is_due_after_its_release(store: Store, lease: Lease) -> None:
    store.wake(["job_1"])
    store.release(lease, None)
    assert [claimed.job_id for claimed in store.claim("w2", 60_000)] == ["job_1"]


def test_a_claimed_job_is_not_claimed_again(store: Store, lease: Lease) -> None:
    assert store.claim("w2", 60_000) == []


@pytest.mark.parametrize("year", [2001, 2099])
def test_a_lease_ends_by_the_time_of_the_database(store: Store, year: int) -> None:
    store.schedule("job_1")
    with freeze_time(datetime(year, 1, 1, tzinfo=UTC)):
        [lease] = store.claim("w1", 60_000)
        assert store.claim("w2", 60_000) == []
    assert abs(lease.until_ms / 1000 - 60 - datetime.now(UTC).timestamp()) < 30


@pytest.mark.parametrize("year", [2001, 2099])
def test_the_time_is_that_of_the_database(store: Store, year: int) -> None:
    with freeze_time(datetime(year, 1, 1, tzinfo=UTC)):
        shown = store.now()
    assert abs(shown - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_lease_that_ran_out_is_claimed_with_a_higher_token(store: Store, lease: Lease) -> None:
    store.renew(lease, -1_000)
    [taken] = store.claim("w2", 60_000)
    assert (taken.holder, taken.token) == ("w2", 2)


def test_a_released_job_is_claimed_with_a_higher_token(store: Store, lease: Lease) -> None:
    store.release(lease, 0)
    assert [taken.token for taken in store.claim("w2", 60_000)] == [2]


def test_a_job_released_for_later_waits(store: Store, lease: Lease) -> None:
    store.release(lease, 60_000)
    assert store.claim("w2", 60_000) == []


def test_a_job_released_for_good_is_not_due(store: Store, lease: Lease) -> None:
    store.release(lease, None)
    assert store.claim("w2", 60_000) == []


def test_a_job_done_for_good_can_be_scheduled_again(store: Store, lease: Lease) -> None:
    store.release(lease, None)
    store.schedule("job_1")
    assert [taken.token for taken in store.claim("w2", 60_000)] == [2]


@pytest.mark.parametrize("delay_ms", [60_000, None])
def test_a_job_made_due_while_it_is_held_is_due_once_it_is_released(
    store: Store, lease: Lease, delay_ms: int | None
) -> None:
    store.schedule("job_1")
    store.renew(lease, 60_000)
    store.release(lease, delay_ms)
    assert [taken.token for taken in store.claim("w2", 60_000)] == [2]


@pytest.mark.parametrize("delays_ms", [(0, 60_000), (60_000, 0)])
def test_the_earliest_of_what_is_asked_for_while_a_job_is_held_counts(
    store: Store, lease: Lease, delays_ms: tuple[int, int]
) -> None:
    for delay_ms in delays_ms:
        store.schedule("job_1", delay_ms)
    store.release(lease, None)
    assert [taken.token for taken in store.claim("w2", 60_000)] == [2]


def test_a_release_that_is_sooner_than_what_was_asked_for_counts(store: Store, lease: Lease) -> None:
    store.schedule("job_1", 60_000)
    store.release(lease, 0)
    assert [taken.token for taken in store.claim("w2", 60_000)] == [2]


def test_what_was_asked_for_later_while_a_job_is_held_waits(store: Store, lease: Lease) -> None:
    store.schedule("job_1", 60_000)
    store.release(lease, None)
    assert store.claim("w2", 60_000) == []


def test_a_job_made_due_while_it_is_held_is_not_claimed_before(store: Store, lease: Lease) -> None:
    store.schedule("job_1")
    assert store.claim("w2", 60_000) == []


def test_what_a_claim_answers_is_not_due_again(store: Store, lease: Lease) -> None:
    store.schedule("job_1")
    store.release(lease, None)
    [again] = store.claim("w2", 60_000)
    store.release(again, None)
    assert store.claim("w3", 60_000) == []


def test_a_released_job_can_be_put_off(store: Store, lease: Lease) -> None:
    store.release(lease, 0)
    store.schedule("job_1", 60_000)
    assert store.claim("w2", 60_000) == []


def test_a_renewed_lease_lasts_longer_under_the_same_token(store: Store, lease: Lease) -> None:
    renewed = store.renew(lease, 120_000)
    assert (renewed.token, renewed.until_ms > lease.until_ms) == (lease.token, True)


def test_claims_take_at_most_the_limit(store: Store) -> None:
    for number in range(3):
        store.schedule(f"job_{number}", number - 10)
    assert [taken.job_id for taken in store.claim("w1", 60_000, limit=2)] == ["job_0", "job_1"]


def test_keeping_extends_every_live_lease_of_a_holder(store: Store, lease: Lease) -> None:
    store.schedule("job_2")
    [other] = store.claim("w2", 60_000)
    [kept] = store.keep("w1", 120_000)
    assert (kept.job_id, kept.token) == (lease.job_id, lease.token)
    assert kept.until_ms > lease.until_ms
    assert {live.until_ms for live in store.leases()} == {kept.until_ms, other.until_ms}


def test_keeping_brings_back_no_lease_that_ran_out(store: Store, lease: Lease) -> None:
    store.renew(lease, -1_000)
    assert store.keep("w1", 60_000) == []


def test_the_live_leases_are_those_not_released(store: Store, lease: Lease) -> None:
    assert store.leases() == [lease]
    store.release(lease, 0)
    assert store.leases() == []


def adopted(scribe: Any, job_id: str) -> Batch:
    """Return a job that runs."""
    event = RenderAdopted(profile="sandbox", video_id=f"video_of_{job_id}", status=Status.QUEUED)
    return Batch(job_id, NEW, [scribe.draft(event)])


def test_what_nobody_scheduled_is_enlisted_once(store: Store, scribe: Any) -> None:
    store.append([adopted(scribe, f"job_{number}") for number in (1, 2, 3)])
    store.schedule("job_2", 60_000)
    assert [store.enqueue_stale([State.RUNNING], "job_3") for _ in range(2)] == [1, 0]
    assert [claimed.job_id for claimed in store.claim("w1", 60_000, limit=9)] == ["job_1"]


def test_what_was_done_and_begun_again_is_enlisted(store: Store, scribe: Any) -> None:
    store.append([adopted(scribe, "job_1")])
    store.schedule("job_1")
    (lease,) = store.claim("w1", 60_000)
    assert store.enqueue_stale([State.RUNNING], "job_2") == 0
    store.release(lease, None)
    assert [store.enqueue_stale([State.RUNNING], "job_2") for _ in range(2)] == [1, 0]


def test_only_the_states_that_are_named_are_enlisted(store: Store, scribe: Any) -> None:
    store.append([adopted(scribe, "job_1")])
    assert store.enqueue_stale([State.COMPLETED, State.UNKNOWN], "job_2") == 0


# --- turns ---


def test_where_nothing_is_limited_every_turn_is_given(store: Store) -> None:
    assert [store.acquire_slot(f"job_{number}", Limit("here")) for number in range(5)] == [0] * 5


def test_requests_per_minute_are_evenly_spaced(store: Store) -> None:
    limit = Limit("here", per_minute=60)
    assert store.acquire_slot("job_1", limit) == 0
    assert 500 < store.acquire_slot("job_2", limit) <= 1_000


def test_a_limit_concerns_its_own_name_only(store: Store) -> None:
    store.acquire_slot("job_1", Limit("here", per_minute=1))
    assert store.acquire_slot("job_1", Limit("there", per_minute=1)) == 0


def test_as_many_jobs_run_as_there_are_slots(store: Store) -> None:
    limit = Limit("here", running=2)
    given = [store.acquire_slot(f"job_{number}", limit) == 0 for number in range(4)]
    assert given == [True, True, False, False]


def test_a_job_that_has_a_slot_needs_no_second(store: Store) -> None:
    limit = Limit("here", running=1)
    assert [store.acquire_slot("job_1", limit) for _ in range(2)] == [0, 0]


def test_a_slot_that_was_given_back_is_free(store: Store) -> None:
    limit = Limit("here", running=1)
    store.acquire_slot("job_1", limit)
    store.release_slots(["job_1", "job_without"])
    assert store.acquire_slot("job_2", limit) == 0


def test_who_has_to_wait_for_a_request_takes_no_slot(store: Store) -> None:
    store.acquire_slot("job_1", Limit("here", per_minute=1, running=2))
    assert store.acquire_slot("job_2", Limit("here", per_minute=1, running=2)) > 0
    store.release_slots(["job_1"])
    assert store.acquire_slot("job_3", Limit("there", running=1)) == 0


def test_nobody_takes_a_turn_while_it_is_held_back(store: Store) -> None:
    store.back_off("here", 60_000)
    store.back_off("here", 1_000)
    assert 50_000 < store.acquire_slot("job_1", Limit("here")) <= 60_000


def test_sixteen_who_want_the_last_slots_get_no_more_than_there_are(store: Store) -> None:
    limit = Limit("here", running=3)
    with ThreadPoolExecutor(16) as threads:
        waits = list(threads.map(lambda number: store.acquire_slot(f"job_{number}", limit), range(16)))
    assert waits.count(0) == 3


def test_the_tally_counts_records_jobs_and_the_queue(store: Store, scribe: Any) -> None:
    before = store.tally()
    store.append([scribe.note()])
    store.schedule("job_1", -5_000)
    store.schedule("job_2", 60_000)
    store.schedule("job_3", -9_000)
    store.claim("w1", 60_000)
    after = store.tally()
    assert (before.due, before.waiting, before.leased, before.overdue_ms) == (0, 0, 0, 0)
    assert sum(after.events.values()) == sum(before.events.values()) + 1
    assert (after.due, after.waiting, after.leased, after.overdue_ms // 1_000) == (1, 1, 1, 5)


def test_a_job_that_is_over_no_longer_counts_as_due(
    store: Store, scribe: Any, vocabulary: ModuleType
) -> None:
    store.wake([vocabulary.JOB])
    counted = []
    for events in (vocabulary.life()[:4], vocabulary.life()[4:]):
        scribe.live(store, vocabulary.JOB, events)
        counted.append(store.tally().due)
    assert counted == [1, 0]


def test_a_live_lease_writes(store: Store, scribe: Any, lease: Lease) -> None:
    assert writes(store, scribe, lease)


def test_a_released_lease_no_longer_writes(store: Store, scribe: Any, lease: Lease) -> None:
    store.release(lease, 0)
    assert not writes(store, scribe, lease)


def test_a_lease_that_ran_out_no_longer_writes(store: Store, scribe: Any, lease: Lease) -> None:
    store.renew(lease, -1_000)
    assert not writes(store, scribe, lease)


def test_a_lease_that_was_taken_over_no_longer_writes(store: Store, scribe: Any, lease: Lease) -> None:
    store.renew(lease, -1_000)
    store.claim("w2", 60_000)
    assert not writes(store, scribe, lease)


@pytest.mark.parametrize("use", ["renew", "release"])
def test_a_lease_that_was_taken_over_cannot_be_used(store: Store, lease: Lease, use: str) -> None:
    store.renew(lease, -1_000)
    store.claim("w2", 60_000)
    with pytest.raises(StaleFence):
        getattr(store, use)(lease, 1_000)


def test_a_lease_is_no_event(store: Store, lease: Lease) -> None:
    assert store.head().size == 1


# --- many at once ---


def in_threads(count: int, run: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_sixteen_threads_lose_nothing(
    store: Store, vocabulary: ModuleType, clean: Callable[[], bool]
) -> None:
    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        for _ in range(20):
            store.append([scribe.note(f"s{number % 4}")])

    in_threads(16, run)
    assert (store.head().size, clean()) == (321, True)


def test_one_refusal_in_a_group_leaves_the_others_alone(
    store: Store, vocabulary: ModuleType, clean: Callable[[], bool]
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
    store: Store, vocabulary: ModuleType
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


def test_readers_among_writers_see_dense_positions(store: Store, vocabulary: ModuleType) -> None:
    torn: list[list[int]] = []

    def run(number: int) -> None:
        scribe = vocabulary.Scribe(first=10_000 * (number + 1))
        for _ in range(15):
            if number % 2:
                seen = [position for position, _, _ in places(store)]
                torn.extend([] if seen == list(range(1, len(seen) + 1)) else [seen])
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
from ledger.record import ActorSource, Authority, Provenance, draft
from ledger.store.interface import ANY, Batch, RecordFilter

url, seed = sys.argv[1], int(sys.argv[2])
who = Provenance("ana", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)
chance = random.Random(seed)
ledger = Ledger.open_or_create(url, who, datetime.now(UTC))
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
def test_concurrent_processes_lose_nothing(kit: Kit, seed: int) -> None:
    name = f"processes_{uuid.uuid4().hex}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDS, kit.url(name), str(seed + number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    reported = sorted(event_id for output in outputs for event_id in output)
    store = open_store(kit.url(name), read_only=True)
    recorded = contents(store)
    store.close()
    assert sorted(record["event_id"] for record in recorded[1:]) == reported
    assert [record["position"] for record in recorded] == list(range(1, len(recorded) + 1))
    assert kit.findings(name) == []


# --- one format, whatever the database ---


@pytest.fixture
def pair(kits: Callable[[str], Kit]) -> Iterator[list[Store]]:
    """Yield a store of each kind."""
    opened = [kits(kind).open("one") for kind in KINDS]
    yield opened
    for each in opened:
        each.close()


def told(store: Store) -> list[Any]:
    """Return all that a store says of what was recorded, and the bytes it rests on."""
    rows = store.rows(0, 10_000, ALL)
    jobs = [job.canonical() for job in store.jobs(JobFilter())]
    head = store.head()
    bodies = store.bodies(range(1, len(rows) + 1))
    return [head.root(), head.to_bytes(), rows, jobs, store.holds("studio"), bodies, store.nodes(8, 0, 9)]


def test_the_same_events_give_the_same_bytes_on_every_store(
    pair: list[Store], scribe: Any, vocabulary: ModuleType
) -> None:
    appends = [
        [scribe.batch("ledger", vocabulary.sample("ledger.created"), at=NEW)],
        *([scribe.batch(vocabulary.JOB, event)] for event in vocabulary.life()),
        [scribe.note(f"s{number % 7}") for number in range(600)],
        [scribe.batch(name, sample) for name, sample in odd_samples(vocabulary)],
    ]
    for store in pair:
        for batches in appends:
            store.append(batches, holds=[Hold("studio", "job_1", 5, 0)])
    left, right = map(told, pair)
    assert left == right


def odd_samples(vocabulary: ModuleType) -> list[tuple[str, Any]]:
    """Return what databases differ on: U+0000, other planes, and text that sorts otherwise by locale."""
    nul = vocabulary.sample("render.adopted").model_copy(update={"video_id": "video\0_\U0001f3ac"})
    why = RenderCancelled(why=Private.seal("why", "\0 \U0001f3ac \u00e9 e\u0301 \\x00"))
    return [("inbox", vocabulary.sample("webhook.received")), ("job_B", nul), ("a", why)]


def test_a_video_id_may_be_any_text(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    [_, (name, adopted), _] = odd_samples(vocabulary)
    store.append([scribe.batch(name, adopted)])
    assert [job.job_id for job in store.jobs(JobFilter(video_id=adopted.video_id))] == [name]


STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([ANY, 0, 1, 2])), min_size=1, max_size=3),
        st.lists(st.tuples(st.sampled_from(["job_1", "job_2"]), st.integers(-1, 9)), max_size=2),
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
        came_to = [outcome(store, *append) for append in appends for _ in range(2)]
        outcomes.append([came_to, told(store)])
        store.close()
    assert outcomes[0] == outcomes[1]


def append_of(scribe: Any, streams: Any, held: Any, limit: int, sets_limit: bool) -> tuple[Any, Any]:  # noqa: FBT001
    batches = [scribe.note(stream, at) for stream, at in streams]
    if sets_limit:
        batches.append(scribe.batch("budget_studio", BudgetSet(budget="studio", limit_usd_micros=limit)))
    return batches, [Hold("studio", job_id, amount, 0) for job_id, amount in held]


def outcome(store: Store, batches: Any, holds: Any) -> Any:
    try:
        return [record.record for record in store.append(batches, holds=holds)]
    except (AppendRefused, ValueError) as error:
        return repr(error)


# --- verification of what is new ---


@pytest.mark.parametrize("since", [1, 4, 200, 256, 300])
def test_what_is_new_is_verified_apart(
    kit: Kit, store: Store, scribe: Any, vocabulary: ModuleType, since: int
) -> None:
    life = vocabulary.life()
    scribe.live(store, vocabulary.JOB, life[:8])
    store.append([scribe.note() for _ in range(300)])
    scribe.live(store, vocabulary.JOB, life[8:])
    with open_tail(kit.url("one"), since) as tail:
        report = verify_since(tail, since, [since])
    assert (report.findings, report.root, report.roots) == (
        [],
        store.head().root().hex(),
        {since: root_at(store, since)},
    )


def test_histories_come_stream_by_stream(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    for event in (0, 1):
        for job_id in ("job_b", "job_a"):
            store.append([scribe.batch(job_id, vocabulary.life()[event])])
    store.append([scribe.note("job"), scribe.note("k")])
    rows = [Record.from_row(row, {}) for row in store.histories("job_", 99)]
    assert [(row.stream, row.version) for row in rows] == [
        ("job_a", 1),
        ("job_a", 2),
        ("job_b", 1),
        ("job_b", 2),
    ]


def test_histories_end_at_their_position(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    records = scribe.live(store)
    rows = [Record.from_row(row, {}) for row in store.histories("job_", records[3].position)]
    assert [row.position for row in rows] == [record.position for record in records[:4]]


def test_all_jobs_come_in_the_order_of_their_ids(store: Store, scribe: Any, vocabulary: ModuleType) -> None:
    for job_id in ("job_c", "job_a", "job_b"):
        scribe.live(store, job_id, vocabulary.life()[:1])
    assert [job.job_id for job in store.all_jobs()] == ["job_a", "job_b", "job_c"]
