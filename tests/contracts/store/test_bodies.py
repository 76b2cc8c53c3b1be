"""Private bodies are read by position and erased; documents are stored under their digest."""

from collections.abc import Callable
from types import ModuleType

import pytest

from ledger.errors import (
    AppendRefused,
)
from ledger.events import PrivateErased, RenderCancelled
from ledger.private import Private
from ledger.store.filters import RecordFilter
from ledger.store.interface import Document, EventStore
from ledger.tree.merkle import Frontier
from tests.ledger.scribe import Scribe

ALL = RecordFilter()


def test_bodies_are_read_by_position(store: EventStore, scribe: Scribe) -> None:
    record = scribe.spoken(store)
    assert [body.text for body in store.bodies([record.position]).values()] == ["because"]


def test_bodies_of_many_positions_are_read_at_once(store: EventStore, scribe: Scribe) -> None:
    event = RenderCancelled(why=Private.seal("why", "because"))
    store.append([scribe.batch("notes", event), *(scribe.note() for _ in range(1_200))])
    assert len(store.bodies(range(1, 1_203))) == 1


def test_an_erasure_deletes_the_bodies_it_names(store: EventStore, scribe: Scribe) -> None:
    record = scribe.spoken(store)
    scribe.erase(store, record)
    assert store.bodies([record.position]) == {}


def test_an_erasure_leaves_other_bodies(store: EventStore, scribe: Scribe) -> None:
    record, other = scribe.spoken(store), scribe.spoken(store)
    scribe.erase(store, record)
    assert len(store.bodies([record.position, other.position])) == 1


def test_an_erasure_leaves_every_row_before_it(store: EventStore, scribe: Scribe) -> None:
    record = scribe.spoken(store)
    before = store.rows(0, 10, ALL)
    scribe.erase(store, record)
    assert store.rows(0, len(before), ALL) == before


def test_an_erasure_leaves_the_root_of_what_was(store: EventStore, scribe: Scribe) -> None:
    record = scribe.spoken(store)
    root = store.head().root()
    scribe.erase(store, record)
    tree = Frontier()
    for row in store.rows(0, 2, ALL):
        tree.append(row.leaf)
    assert tree.root() == root


def test_an_erasure_that_is_refused_deletes_nothing(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    record = scribe.spoken(store)
    event = PrivateErased(commitments=(vocabulary.commitment_of(record),), reason_code="subject_request")
    with pytest.raises(AppendRefused):
        store.append([scribe.batch("ledger", event), scribe.note("a", 7)])
    assert len(store.bodies([record.position])) == 1


def test_an_erased_ledger_verifies(store: EventStore, scribe: Scribe, clean: Callable[[], bool]) -> None:
    scribe.erase(store, scribe.spoken(store))
    assert clean()


def test_text_sealed_once_is_recorded_once(store: EventStore, scribe: Scribe) -> None:
    why = Private.seal("why", "because")
    store.append([scribe.batch("notes", RenderCancelled(why=why))])
    with pytest.raises(ValueError, match="the text at why was sealed for another event: seal it again"):
        store.append([scribe.batch("notes", RenderCancelled(why=why))])


def test_a_document_is_kept_under_its_digest(store: EventStore, scribe: Scribe) -> None:
    document = Document(b"policy")
    store.append([scribe.note()], documents=[document])
    assert store.document(document.sha256) == b"policy"


def test_a_document_may_come_again(store: EventStore, scribe: Scribe) -> None:
    for _ in range(2):
        store.append([scribe.note()], documents=[Document(b"policy")])
    assert store.document(Document(b"policy").sha256) == b"policy"


def test_a_document_of_a_refused_append_is_not_kept(store: EventStore, scribe: Scribe) -> None:
    with pytest.raises(AppendRefused):
        store.append([scribe.note("a", 7)], documents=[Document(b"policy")])
    assert store.document(Document(b"policy").sha256) is None
