"""Records are found by type and by trace as if every record were looked at."""

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, Batch
from ledger.store.sqlite import SqliteStore

EVENTS = 700
TRACES = ["1" * 32, "2" * 32, "3" * 32, "4" * 32]
BLOCKS = "SELECT * FROM blocks ORDER BY field, value, number"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, vocabulary: ModuleType) -> Iterator[SqliteStore]:
    """Yield a ledger of almost three blocks, in which the types and the last trace are not everywhere."""
    scribe = vocabulary.Scribe()
    names = ("output.attached", "note.recorded", "budget.set")
    with SqliteStore(tmp_path_factory.mktemp("blocks") / "ledger.db") as store:
        scribe.begin(store)
        for start in range(0, EVENTS, 100):
            drafts = []
            for number in range(start, start + 100):
                name = names[2 if number in {300, 301, 690} else number % 2 if number < 400 else 0]
                made = scribe.draft(vocabulary.sample(name))
                trace = TRACES[3] if number in {5, 600} else TRACES[number // 5 % 3]
                drafts.append(replace(made, provenance=replace(made.provenance, trace_id=trace)))
            store.append([Batch("notes", ANY, drafts)])
        yield store


@given(data=st.data())
def test_every_filter_finds_what_looking_at_every_record_finds(
    store: SqliteStore, data: st.DataObject
) -> None:
    records = [Record.from_row(row, {}) for row in store.rows(0, 10_000, RecordFilter())]
    types = sorted({record.type for record in records})
    type_ = data.draw(st.none() | st.sampled_from([*types, "render.closed"]))
    trace = data.draw(st.none() | st.sampled_from([*TRACES, "5" * 32]))
    before = data.draw(st.none() | st.integers(1, EVENTS + 10))
    after, limit = data.draw(st.integers(0, EVENTS)), data.draw(st.integers(1, EVENTS))
    newest_first = data.draw(st.booleans())
    wanted = [
        record.position
        for record in records
        if type_ in {None, record.type}
        and trace in {None, record.trace_id}
        and after < record.position < (before or EVENTS * 2)
    ]
    where = RecordFilter(type=type_, trace_id=trace, before=before, newest_first=newest_first)
    found = [Record.from_row(row, {}).position for row in store.rows(after, limit, where)]
    assert found == (wanted[::-1] if newest_first else wanted)[:limit]


def test_the_tally_counts_every_record(store: SqliteStore) -> None:
    rows = store.rows(0, 10_000, RecordFilter())
    types = [Record.from_row(row, {}).type for row in rows]
    assert store.tally().events == {type_: types.count(type_) for type_ in types}


def test_blocks_that_are_counted_again_are_as_they_were(store: SqliteStore) -> None:
    assert store._writer
    before = store._writer.execute(BLOCKS).fetchall()
    assert max(number for _, _, number, _ in before) == EVENTS // 256 - 1
    store._writer.execute("UPDATE blocks SET records = 7")
    store.replace_jobs(list(store.all_jobs()), store.head().size)
    assert store._writer.execute(BLOCKS).fetchall() == before
