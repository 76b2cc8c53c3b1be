"""A group of appends leaves what the same appends leave one after the other, refusals included."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.errors import BudgetExceeded, StaleFence, WrongExpectedVersion
from ledger.store import append
from ledger.store.append import Append, AppendRequest
from ledger.store.group_commit import Request
from ledger.store.interface import ANY, NEW, Batch, Fence
from ledger.store.sqlite import SqliteStore

STREAMS = ("notes", "other", "job_01900000000070008000000000000001", "job_01900000000070008000000000000002")
EXPECTED = (ANY, NEW, 1, 2)
LIMIT = 1_000
BUDGETS = ("studio", "team")

appends = st.tuples(
    st.sampled_from(STREAMS),
    st.sampled_from(EXPECTED),
    st.sampled_from(["note", "adopted", "observed", "studio", "team"]),
    st.integers(0, 5),  # which drafts of their kind: the same ones twice are the same append
    st.none() | st.tuples(st.sampled_from(STREAMS[:2]), st.sampled_from(EXPECTED)),  # a condition
)
limits = st.tuples(  # number n sets a limit of n fifths of the one before
    st.sampled_from(["budget_studio", "budget_team"]),
    st.just(ANY),
    st.just("limit"),
    st.integers(0, 5),
    st.none(),
)
wishes = st.lists(appends | limits, min_size=2, max_size=8)


@pytest.fixture(scope="module")
def drafts(vocabulary: ModuleType) -> dict[tuple[str, int], list[Any]]:
    """Return the drafts that appends are made of; those named for a budget reserve n fifths of its limit."""
    scribe = vocabulary.Scribe(first=500)
    made = {
        "note": vocabulary.sample("output.attached"),
        "adopted": vocabulary.sample("render.adopted"),
        "observed": vocabulary.sample("status.observed"),
    }
    limit = vocabulary.sample("budget.set")
    amounts = [LIMIT * number // 5 for number in range(6)]
    drafts = {
        (kind, number): [scribe.draft(replace(event))] for kind, event in made.items() for number in range(6)
    }
    for number, amount in enumerate(amounts):
        changed = replace(limit, limit_usd_micros=amount, why=None)
        drafts["limit", number] = [scribe.draft(changed)]
        for budget in ("studio", "team"):
            drafts[budget, number] = list(scribe.reserve("job", amount, budget).drafts)
    return drafts


@pytest.fixture(scope="module")
def begin(vocabulary: ModuleType) -> Callable[[Path], SqliteStore]:
    """Return a function that begins a ledger with limits on two budgets."""

    def ledger(path: Path) -> SqliteStore:
        store, scribe = SqliteStore(path), vocabulary.Scribe()
        scribe.begin(store)
        for budget in ("studio", "team"):
            limit = replace(vocabulary.sample("budget.set"), budget=budget, limit_usd_micros=LIMIT)
            store.append([scribe.batch(f"budget_{budget}", limit)])
        return store

    return ledger


def requests(
    wished: Iterable[tuple[Any, ...]], drafts: dict[tuple[str, int], list[Any]]
) -> list[AppendRequest]:
    return [
        Request(
            Append.of(
                [
                    Batch(stream, expected, drafts[kind, number]),
                    *(Batch(*condition, []) for condition in conditions if condition),  # type: ignore[call-arg]
                ],
                None,
                [],
            )
        )
        for stream, expected, kind, number, *conditions in wished
    ]


def outcomes(group: Sequence[AppendRequest]) -> list[Any]:
    return [
        (type(one.error), str(one.error)) if one.error else [record.record for record in one.result or ()]
        for one in group
    ]


@hypothesis_settings(max_examples=hypothesis_settings.default.max_examples * 40 // 100)
@given(wishes)
def test_a_group_leaves_what_its_appends_leave_one_after_the_other(
    drafts: dict[tuple[str, int], list[Any]],
    begin: Callable[[Path], SqliteStore],
    wished: list[tuple[Any, ...]],
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
        assert [grouped.holds(name) for name in BUDGETS] == [single.holds(name) for name in BUDGETS]


class Reader(SqliteStore):
    """A store that remembers nothing from one append to the next: it reads every row."""

    def _commit(self, group: Sequence[AppendRequest]) -> None:
        self._data_version = None
        super()._commit(group)


TABLES = "events head tiles private_bodies documents jobs holds listing search".split()


def content(store: SqliteStore) -> dict[str, list[Any]]:
    """Return every row of a ledger, byte for byte, that an append writes."""
    with store._reading() as db:
        rows = {name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in TABLES[:-1]}
        counts = db.execute("SELECT * FROM counts WHERE jobs > 0 ORDER BY 1, 2, 3, 4, 5, 6, 7").fetchall()
        return rows | {"counts": counts, "search": db.execute("SELECT rowid FROM search").fetchall()}


@hypothesis_settings(max_examples=hypothesis_settings.default.max_examples * 40 // 100)
@given(st.lists(st.tuples(st.booleans(), wishes), min_size=1, max_size=6))
def test_appends_on_what_is_remembered_leave_what_appends_that_read_every_row_leave(
    drafts: dict[tuple[str, int], list[Any]],
    begin: Callable[[Path], SqliteStore],
    vocabulary: ModuleType,
    parts: list[tuple[bool, list[tuple[Any, ...]]]],
) -> None:
    with (
        TemporaryDirectory() as folder,
        begin(Path(folder) / "ahead.db") as ahead,
        begin(Path(folder) / "reading.db"),
        Reader(Path(folder) / "reading.db") as reading,
        SqliteStore(Path(folder) / "ahead.db") as elsewhere,
    ):
        for is_elsewhere, wished in parts:
            here, there = requests(wished, drafts), requests(wished, drafts)
            (elsewhere if is_elsewhere else ahead)._commit(here)
            reading._commit(there)
            assert outcomes(here) == outcomes(there)
        assert content(ahead) == content(reading)
        assert vocabulary.findings(ahead.path) == []


def test_an_append_that_continues_what_its_process_left_reads_no_row(
    tmp_path: Path, drafts: dict[tuple[str, int], list[Any]], begin: Callable[[Path], SqliteStore]
) -> None:
    with begin(tmp_path / "ledger.db") as store, begin(tmp_path / "elsewhere.db") as other:
        first = store.append([Batch(STREAMS[2], NEW, drafts["adopted", 0])])
        issued = statements(store, Batch(STREAMS[2], 1, drafts["observed", 0]))
        assert not any(text.startswith(("SELECT", "INSERT INTO listing")) for text in issued)
        store.import_rows([])
        store.replace_jobs(list(store.all_jobs()), store.head().size)
        assert "SELECT size" in str(statements(store, Batch(STREAMS[2], 2, drafts["observed", 1])))
        assert (first[0].version, other.head().size) == (1, 3)


def test_a_row_that_another_connection_mended_is_read_again(
    tmp_path: Path, drafts: dict[tuple[str, int], list[Any]], begin: Callable[[Path], SqliteStore]
) -> None:
    path = tmp_path / "ledger.db"
    with begin(path) as store, SqliteStore(path) as mending:
        store.append([Batch(STREAMS[2], NEW, drafts["adopted", 0])])
        good = store.job(STREAMS[2])
        assert good
        for wrong in (replace(good, purpose="wrong"), good):
            mending.replace_jobs([wrong], mending.head().size)
            store.append([Batch(STREAMS[2], ANY, drafts["observed", 0 if wrong is good else 1])])
            now = store.job(STREAMS[2])
            assert now
            assert now.purpose == wrong.purpose


def test_a_lease_that_was_lost_is_refused_on_what_is_remembered_too(
    tmp_path: Path, drafts: dict[tuple[str, int], list[Any]], begin: Callable[[Path], SqliteStore]
) -> None:
    with begin(tmp_path / "ledger.db") as store:
        store.append([Batch(STREAMS[2], NEW, drafts["adopted", 0])])
        store.queue.schedule(STREAMS[2])
        [lease] = store.queue.claim("one", 60_000)
        fence = Fence(STREAMS[2], lease.token)
        store.append([Batch(STREAMS[2], 1, drafts["observed", 0])], fence=fence)
        store.queue.release(lease, None)
        with pytest.raises(StaleFence):
            store.append([Batch(STREAMS[2], 2, drafts["observed", 1])], fence=fence)
        assert store.append([Batch(STREAMS[2], 2, drafts["observed", 1])])[0].version == 3


def statements(store: SqliteStore, batch: Batch) -> list[str]:
    """Return what is asked of SQLite in one append."""
    requests: list[str] = []
    assert store._writer
    store._writer.set_trace_callback(requests.append)
    store.append([batch])
    store._writer.set_trace_callback(None)
    return requests


def test_a_hold_is_judged_by_the_limit_that_was_set_before_it_in_the_same_group(
    tmp_path: Path, drafts: dict[tuple[str, int], list[Any]], begin: Callable[[Path], SqliteStore]
) -> None:
    group = requests([("budget_studio", ANY, "limit", 0), (STREAMS[2], NEW, "studio", 5)], drafts)
    with begin(tmp_path / "ledger.db") as store:
        store._commit(group)
        assert (group[0].error, type(group[1].error)) == (None, BudgetExceeded)
        assert store.held("studio") == 0


def test_a_group_is_one_transaction_whatever_its_appends_touch(
    tmp_path: Path, drafts: dict[tuple[str, int], list[Any]], begin: Callable[[Path], SqliteStore]
) -> None:
    before = [(f"notes_{number}", NEW, "note", number, ("other", NEW)) for number in range(3)]
    change = ("other", NEW, "note", 3)
    late = [(f"notes_{number}", NEW, "note", number, ("other", NEW)) for number in range(4, 6)]
    group = requests([*before, change, *late], drafts)
    with begin(tmp_path / "ledger.db") as store:
        statements: list[str] = []
        assert store._writer
        store._writer.set_trace_callback(statements.append)
        store._commit(group)
        store._writer.set_trace_callback(None)
    assert (statements.count("COMMIT"), sum("UPDATE head" in text for text in statements)) == (1, 1)
    assert [type(one.error) for one in group] == [type(None)] * 4 + [WrongExpectedVersion] * 2


def test_an_error_of_the_database_ends_the_whole_group_and_any_other_its_own_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = {"first": ValueError("refused"), "second": sqlite3.OperationalError("disk I/O error")}

    def failing(work: Any, *_: Any) -> Any:
        raise errors[work]

    monkeypatch.setattr(append, "decide", failing)
    group: Any = [Request("first"), Request("second")]
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        append.decide_all(group, cast("Any", None), sqlite3.Error)
    assert [request.error for request in group] == [errors["first"], None]
