"""Positions are dense, the tree is over all records, and histories come stream by stream."""

import json
from types import ModuleType

import pytest

from ledger.canonical import leaf_hash
from ledger.errors import (
    AppendRefused,
)
from ledger.log.opening import open_tail
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.store.interface import EventStore
from ledger.tree.merkle import Frontier, root_at
from ledger.verify.incremental import verify_since
from tests.contracts.store.conftest import Kit
from tests.ledger.scribe import Scribe

ALL = RecordFilter()


def test_positions_are_dense_after_a_refusal(store: EventStore, scribe: Scribe) -> None:
    with pytest.raises(AppendRefused):
        store.append([scribe.note("a", 7)])
    store.append([scribe.note()])
    assert [position for position, _, _ in scribe.places(store)] == [1, 2]


def test_the_head_is_the_tree_over_all_records(store: EventStore, scribe: Scribe) -> None:
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


def test_tiles_are_the_nodes_over_256_leaves(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note() for _ in range(300)])
    store.append([scribe.note() for _ in range(300)])
    tree, nodes = Frontier(), []
    for row in store.rows(0, 1_000, ALL):
        nodes += tree.append(row.leaf)
    assert store.nodes(8, 0, len(nodes)) == [node.hash for node in nodes]


def test_rows_come_in_order_after_a_position_up_to_a_limit(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note() for _ in range(9)])
    found = [json.loads(row.record)["position"] for row in store.rows(3, 4, ALL)]
    assert found == [4, 5, 6, 7]


@pytest.mark.parametrize("since", [1, 4, 200, 256, 300])
def test_what_is_new_is_verified_apart(
    kit: Kit, store: EventStore, scribe: Scribe, vocabulary: ModuleType, since: int
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


def test_histories_come_stream_by_stream(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
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


def test_histories_end_at_their_position(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    records = scribe.live(store)
    rows = [Record.from_row(row, {}) for row in store.histories("job_", records[3].position)]
    assert [row.position for row in rows] == [record.position for record in records[:4]]


def test_all_jobs_come_in_the_order_of_their_ids(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for job_id in ("job_c", "job_a", "job_b"):
        scribe.live(store, job_id, vocabulary.life()[:1])
    assert [job.job_id for job in store.all_jobs()] == ["job_a", "job_b", "job_c"]
