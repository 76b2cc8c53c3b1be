"""One append is one transaction: event ids, fence and versions are checked in this order."""

from types import ModuleType
from typing import Any

import pytest
from msgspec import structs

from ledger.errors import (
    EventIdConflict,
    StaleFence,
    WrongExpectedVersion,
)
from ledger.events import OutputAttached
from ledger.record import Record
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import ANY, NEW, Batch, EventStore, Fence
from tests.contracts.store.conftest import Kit
from tests.ledger.scribe import Scribe

ALL = RecordFilter()


def test_several_streams_are_recorded_in_one_append(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note("a", NEW), scribe.note("b", NEW), scribe.note("a")])
    assert scribe.places(store)[1:] == [(2, "a", 1), (3, "b", 1), (4, "a", 2)]


def test_an_append_returns_its_records(store: EventStore, scribe: Scribe) -> None:
    records = store.append([scribe.note("a"), scribe.note("b")])
    assert [record.record for record in records] == [row.record for row in store.rows(1, 10, ALL)]


def test_what_is_refused_in_one_stream_is_recorded_in_none(store: EventStore, scribe: Scribe) -> None:
    with pytest.raises(WrongExpectedVersion):
        store.append([scribe.note("a"), scribe.note("b", 7)])
    assert len(scribe.contents(store)) == 1


def test_what_was_appended_is_there_after_opening_again(store: EventStore, kit: Kit, scribe: Scribe) -> None:
    store.append([scribe.note()])
    again = kit.open("one")
    assert scribe.places(again) == scribe.places(store)
    again.close()


def test_an_append_of_nothing_records_nothing(store: EventStore, scribe: Scribe) -> None:
    assert (store.append([]), store.head().size) == ([], 1)


def test_the_same_append_again_returns_the_old_records(store: EventStore, scribe: Scribe) -> None:
    batches = [scribe.note("a"), scribe.note("b")]
    first = store.append(batches)
    assert [r.record for r in store.append(batches)] == [r.record for r in first]


def test_the_same_append_again_records_nothing(store: EventStore, scribe: Scribe) -> None:
    batches = [scribe.note("a"), scribe.note("b")]
    store.append(batches)
    store.append(batches)
    assert store.head().size == 3


def test_the_same_append_again_still_has_its_private_text(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    batches = [scribe.batch(vocabulary.JOB, vocabulary.requested("a kite"))]
    store.append(batches)
    [record] = store.append(batches)
    assert record.event.prompt.text == "a kite"


def test_event_ids_come_before_the_fence(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    batches = [scribe.note()]
    store.append(batches)
    assert store.append(batches, fence=Fence(vocabulary.JOB, 99))


def test_event_ids_come_before_the_versions(store: EventStore, scribe: Scribe) -> None:
    batches = [scribe.note("a", NEW)]
    store.append(batches)
    assert [record.version for record in store.append(batches)] == [1]


def test_an_append_of_which_only_some_is_there_is_a_conflict(store: EventStore, scribe: Scribe) -> None:
    there, new = scribe.note(), scribe.note()
    store.append([there])
    with pytest.raises(EventIdConflict, match=r"is recorded, but .* of the same append is not"):
        store.append([there, new])


def test_an_event_id_with_other_content_is_a_conflict(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    store.append([scribe.note()])
    same_id = vocabulary.Scribe(first=2).batch("notes", OutputAttached(workflow="other", uri="u"))
    with pytest.raises(
        EventIdConflict, match=r"belongs to output\.attached at position 2, whose content is not"
    ):
        store.append([same_id])


def test_an_event_id_in_another_stream_is_a_conflict(store: EventStore, scribe: Scribe) -> None:
    batch = scribe.note("a")
    store.append([batch])
    with pytest.raises(EventIdConflict):
        store.append([batch._replace(stream="b")])


def test_an_event_id_twice_in_one_append_is_a_conflict(store: EventStore, scribe: Scribe) -> None:
    batch = scribe.note()
    with pytest.raises(EventIdConflict, match="uses an event id twice"):
        store.append([batch, batch])


def test_an_event_is_found_by_its_id(store: EventStore, scribe: Scribe) -> None:
    [record] = store.append([scribe.note()])
    row = store.event(record.event_id)
    assert row
    assert row.record == record.record


def test_an_unknown_event_id_is_none(store: EventStore, scribe: Scribe) -> None:
    assert store.event("nobody") is None


def test_the_fence_comes_before_the_versions(store: EventStore, scribe: Scribe) -> None:
    with pytest.raises(StaleFence):
        store.append([scribe.note("a", 7)], fence=Fence("job_1", 1))


def test_a_stream_at_another_version_is_refused(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note("a")])
    with pytest.raises(WrongExpectedVersion, match="stream a is at version 1, expected 2"):
        store.append([scribe.note("a", 2)])


def test_a_stream_at_the_expected_version_is_extended(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note("a")])
    assert [record.version for record in store.append([scribe.note("a", 1)])] == [2]


def test_new_is_refused_where_the_stream_exists(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note("a")])
    with pytest.raises(WrongExpectedVersion):
        store.append([scribe.note("a", NEW)])


def test_any_extends_whatever_is_there(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note("a"), scribe.note("a")])
    assert [record.version for record in store.append([scribe.note("a", ANY)])] == [3]


def test_a_version_is_expected_of_the_stream_before_the_append(store: EventStore, scribe: Scribe) -> None:
    records = store.append([scribe.note("a", NEW), scribe.note("a", NEW)])
    assert [record.version for record in records] == [1, 2]


def test_a_batch_without_events_is_a_condition_and_nothing_else(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note("a")])
    store.append([Batch("a", 1, []), scribe.note("b")])
    with pytest.raises(WrongExpectedVersion):
        store.append([Batch("a", 0, []), scribe.note("c")])
    assert [len(store.rows(0, 9, RecordFilter(stream=name))) for name in "abc"] == [1, 1, 0]


def test_rows_are_read_in_either_order_and_before_a_position(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note(name) for name in "abab"])
    everything = [row.record for row in store.rows(0, 9, ALL)]
    of_a = [row.record for row in store.rows(0, 9, RecordFilter(stream="a"))]

    def read(after: int, limit: int, **where: Any) -> list[bytes]:
        return [row.record for row in store.rows(after, limit, RecordFilter(**where))]

    assert read(0, 9, newest_first=True) == everything[::-1]
    assert read(1, 2, newest_first=True) == everything[:-3:-1]
    assert read(1, 9, before=4) == everything[1:3]
    assert read(0, 1, before=4, newest_first=True) == everything[2:3]
    assert read(0, 9, stream="a", newest_first=True) == of_a[::-1]
    assert read(0, 9, stream="a", before=3) == of_a[:1]


def test_records_of_several_types_are_read_in_one_order(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    store.append([scribe.note("a"), scribe.batch(vocabulary.JOB, *vocabulary.life())])
    for _ in range(3):
        store.append([scribe.note(f"n{number}") for number in range(300)])
    store.append([scribe.batch(vocabulary.OTHER_JOB, *vocabulary.life())])
    every = [Record.from_row(row, {}) for row in store.rows(0, 9_999, ALL)]
    types = ("submission.intended", "submission.accepted", "asset.lost")

    def positions(**where: Any) -> list[int]:
        found = store.rows(0, 99, RecordFilter(**where))
        return [Record.from_row(row, {}).position for row in found]

    expected = [record.position for record in every if record.type in types]
    assert len(expected) == 4
    assert positions(types=types) == expected
    assert positions(types=types, newest_first=True) == expected[::-1]
    assert positions(types=types, before=expected[2] + 1) == expected[:3]
    assert positions(types=types, stream=vocabulary.JOB) == expected[:2]
    assert positions(types=("asset.lost",)) == []


def test_records_of_jobs_are_found_by_the_team_or_actor_of_the_job(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    of_film, of_none = (structs.replace(vocabulary.requested(), team=team) for team in ("film", None))
    store.append([scribe.batch(vocabulary.JOB, of_film, actor="ana")])
    store.append([scribe.batch(vocabulary.OTHER_JOB, of_none, actor="tom"), scribe.note("notes")])

    def streams(*jobs: JobFilter) -> set[str]:
        found = store.rows(0, 9, RecordFilter(of_jobs=jobs))
        return {Record.from_row(row, {}).stream for row in found}

    assert streams(JobFilter()) == {vocabulary.JOB, vocabulary.OTHER_JOB}
    assert streams(JobFilter(of_team="film")) == {vocabulary.JOB}
    assert streams(JobFilter(of_actor="tom", teamless=True)) == {vocabulary.OTHER_JOB}
    assert streams(JobFilter(of_actor="ana", teamless=True)) == set()
    assert streams(JobFilter(of_team="film"), JobFilter(of_actor="tom")) == {
        vocabulary.JOB,
        vocabulary.OTHER_JOB,
    }
