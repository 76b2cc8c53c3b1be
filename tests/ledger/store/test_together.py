"""A group of appends leaves what the same appends leave one after the other, refusals included."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ledger.errors import BudgetExceeded, WrongExpectedVersion
from ledger.store.group_commit import Request
from ledger.store.interface import ANY, NEW, Batch, Hold
from ledger.store.sqlite import SqliteStore
from ledger.store.sqlite import store as store_module
from ledger.store.sqlite.read_for_append import Append
from ledger.store.sqlite.store import AppendRequest

STREAMS = ("notes", "other", "job_01900000000070008000000000000001", "job_01900000000070008000000000000002")
EXPECTED = (ANY, NEW, 1, 2)
LIMIT = 1_000

appends = st.tuples(
    st.sampled_from(STREAMS),
    st.sampled_from(EXPECTED),
    st.sampled_from(["note", "adopted", "observed"]),
    st.integers(0, 5),  # which draft of its kind: the same one twice is the same append
    st.sampled_from([None, "studio", "team"]),
    st.integers(0, LIMIT),
    st.none() | st.tuples(st.sampled_from(STREAMS[:2]), st.sampled_from(EXPECTED)),  # a condition
)
limits = st.tuples(  # draft number n sets a limit of n fifths of the one before
    st.sampled_from(["budget_studio", "budget_team"]),
    st.just(ANY),
    st.just("limit"),
    st.integers(0, 5),
    st.none(),
    st.just(0),
    st.none(),
)
wishes = st.lists(appends | limits, min_size=2, max_size=8)


@pytest.fixture(scope="module")
def drafts(vocabulary: ModuleType) -> dict[tuple[str, int], Any]:
    """Return the drafts that appends are made of."""
    scribe = vocabulary.Scribe(first=500)
    made = {
        "note": vocabulary.sample("output.attached"),
        "adopted": vocabulary.sample("render.adopted"),
        "observed": vocabulary.sample("status.observed"),
    }
    limit = vocabulary.sample("budget.set")
    return {
        (kind, number): scribe.draft(event.model_copy())
        for kind, event in made.items()
        for number in range(6)
    } | {
        ("limit", number): scribe.draft(
            limit.model_copy(update={"limit_usd_micros": LIMIT * number // 5, "why": None})
        )
        for number in range(6)
    }


@pytest.fixture(scope="module")
def begin(vocabulary: ModuleType) -> Any:
    """Return a function that begins a ledger with limits on two budgets."""

    def ledger(path: Path) -> SqliteStore:
        store, scribe = SqliteStore(path), vocabulary.Scribe()
        scribe.begin(store)
        for budget in ("studio", "team"):
            limit = vocabulary.sample("budget.set").model_copy(
                update={"budget": budget, "limit_usd_micros": LIMIT}
            )
            store.append([scribe.batch(f"budget_{budget}", limit)])
        return store

    return ledger


def requests(wished: Iterable[tuple[Any, ...]], drafts: dict[tuple[str, int], Any]) -> list[AppendRequest]:
    return [
        Request(
            Append.of(
                [
                    Batch(stream, expected, [drafts[kind, number]]),
                    *(Batch(*each, []) for each in conditions if each),
                ],
                [Hold(budget, stream, amount, 0)] if budget else [],
                None,
                [],
            )
        )
        for stream, expected, kind, number, budget, amount, *conditions in wished
    ]


def outcomes(group: Sequence[AppendRequest]) -> list[Any]:
    return [
        (type(one.error), str(one.error)) if one.error else [record.record for record in one.result or ()]
        for one in group
    ]


@hypothesis_settings(max_examples=40)
@given(wishes)
def test_a_group_leaves_what_its_appends_leave_one_after_the_other(
    drafts: dict[tuple[str, int], Any], begin: Any, wished: list[tuple[Any, ...]]
) -> None:
    with (
        TemporaryDirectory() as folder,
        begin(Path(folder) / "group.db") as grouped,
        begin(Path(folder) / "single.db") as single,
    ):
        group, alone = requests(wished, drafts), requests(wished, drafts)
        grouped._commit(group)
        for request in alone:
            single._commit([request])
        assert outcomes(group) == outcomes(alone)
        assert grouped.head().to_bytes() == single.head().to_bytes()
        assert grouped.tally() == single.tally()


def test_a_hold_is_judged_by_the_limit_that_was_set_before_it_in_the_same_group(
    tmp_path: Path, drafts: dict[tuple[str, int], Any], begin: Any
) -> None:
    lowered = ("budget_studio", ANY, "limit", 0, None, 0)
    hold = (STREAMS[2], NEW, "adopted", 0, "studio", LIMIT)
    group = requests([lowered, hold], drafts)
    with begin(tmp_path / "ledger.db") as store:
        store._commit(group)
        assert (group[0].error, type(group[1].error)) == (None, BudgetExceeded)
        assert store.held("studio") == 0


def test_appends_that_touch_nothing_twice_are_placed_as_one(
    tmp_path: Path, drafts: dict[tuple[str, int], Any], begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[int] = []
    place = store_module.place

    def counted(db: Any, work: Append, size: int) -> Any:
        placed.append(len(work.batches))
        return place(db, work, size)

    monkeypatch.setattr(store_module, "place", counted)
    group = requests([(f"notes_{number}", ANY, "note", number, None, 0) for number in range(5)], drafts)
    with begin(tmp_path / "ledger.db") as store:
        placed.clear()
        store._commit(group)
    assert placed == [5]
    assert [json.loads(one.result[0].record)["stream"] for one in group if one.result] == [
        f"notes_{number}" for number in range(5)
    ]


def test_appends_on_the_same_condition_are_placed_as_one_and_apart_from_what_changes_it(
    tmp_path: Path, drafts: dict[tuple[str, int], Any], begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[int] = []
    place = store_module.place

    def counted(db: Any, work: Append, size: int) -> Any:
        placed.append(work.size)
        return place(db, work, size)

    monkeypatch.setattr(store_module, "place", counted)
    before = [(f"notes_{number}", NEW, "note", number, None, 0, ("other", NEW)) for number in range(3)]
    change = ("other", NEW, "note", 3, None, 0)
    late = [(f"notes_{number}", NEW, "note", number, None, 0, ("other", NEW)) for number in range(4, 6)]
    group = requests([*before, change, *late], drafts)
    with begin(tmp_path / "ledger.db") as store:
        placed.clear()
        store._commit(group)
    assert placed == [3, 1, 2, 1, 1]
    assert [type(one.error) for one in group] == [type(None)] * 4 + [WrongExpectedVersion] * 2
