"""A ledger is copied between any two stores: the same rows, the same root, resumable, never onto another."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.errors import LedgerUnusable
from ledger.events import PrivateErased
from ledger.log.opening import open_snapshot, open_store
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import Document
from ledger.verify import verify
from render_service.maintenance.copy import Copy, copy_ledger
from render_service.runtime.errors import BadInput
from tests.forks import CODE, Forks
from tests.ledger.scribe import Scribe

WAYS = [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite"), ("postgres", "postgres")]


@pytest.fixture
def url(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str, str], str]:
    """Return where the ledger of this name is in this kind of store."""

    def at(kind: str, name: str) -> str:
        if kind == "sqlite":
            return str(tmp_path / f"{name}.db")
        place: str = request.getfixturevalue("databases").url(name)
        return place

    return at


@pytest.fixture(params=WAYS, ids="-to-".join)
def way(request: pytest.FixtureRequest, url: Callable[[str, str], str]) -> tuple[str, str]:
    """Return the URLs of source and target, one way after the other."""
    return url(request.param[0], "source"), url(request.param[1], "target")


@pytest.fixture
def filled(scribe: Scribe, vocabulary: ModuleType) -> Callable[..., None]:
    """Fill the ledger at a URL: a job with holds, a document, an erasure, notes."""

    def fill(at: str, notes: int = 5) -> None:
        store = open_store(at, read_only=False)
        if store.head().size == 0:
            scribe.begin(store)
            scribe.live(store, vocabulary.JOB)
            store.append([scribe.note()], documents=[Document(b"policy")])
        store.append([scribe.note() for _ in range(notes)])
        store.close()

    return fill


def erase_all(at: str, scribe: Scribe) -> None:
    store = open_store(at, read_only=False)
    names = tuple(store.bodies(range(1, store.head().size + 1)))
    store.append([scribe.batch("ledger", PrivateErased(commitments=names, reason_code="subject_request"))])
    store.close()


def contents(at: str) -> list[Any]:
    """Return everything that a copy takes along."""
    store = open_store(at, read_only=True)
    rows = store.rows(0, 100_000, RecordFilter())
    records = [
        rows,
        store.bodies(range(1, len(rows) + 1)),
        store.jobs(JobFilter()),
        store.holds("studio"),
        store.document(Document(b"policy").sha256),
        store.head().root(),
    ]
    store.close()
    return records


def clean(at: str) -> bool:
    with open_snapshot(at) as tables:
        return verify(tables).clean


def copy(way: tuple[str, str]) -> Copy:
    return copy_ledger(*way, lambda done, total: None)


def test_a_copy_is_the_same_ledger(way: tuple[str, str], filled: Callable[..., None]) -> None:
    filled(way[0])
    copied = copy(way)
    assert (contents(way[1]), clean(way[1])) == (contents(way[0]), True)
    assert (copied.size, copied.copied, copied.documents, copied.grown) == (16, 16, 1, 0)


def test_a_second_copy_takes_what_is_new(way: tuple[str, str], filled: Callable[..., None]) -> None:
    filled(way[0])
    copy(way)
    filled(way[0], notes=3)
    assert (copy(way).copied, contents(way[1])) == (3, contents(way[0]))


def test_a_second_copy_of_the_same_copies_nothing(way: tuple[str, str], filled: Callable[..., None]) -> None:
    filled(way[0])
    copy(way)
    again = copy(way)
    assert (again.copied, again.documents) == (0, 0)


def test_what_was_erased_since_the_first_copy_is_erased_by_the_second(
    way: tuple[str, str], filled: Callable[..., None], scribe: Scribe
) -> None:
    filled(way[0])
    copy(way)
    erase_all(way[0], scribe)
    copy(way)
    assert (contents(way[1])[1], clean(way[1])) == ({}, True)


def test_a_source_that_grows_meanwhile_is_copied_as_it_was(
    way: tuple[str, str], filled: Callable[..., None]
) -> None:
    filled(way[0])
    grown = copy_ledger(*way, lambda done, total: filled(way[0], notes=1) if done == 0 else None)
    assert (grown.size, grown.grown, clean(way[1])) == (16, 1, True)


def test_private_text_erased_while_it_is_copied_leaves_the_copy_whole(
    way: tuple[str, str], filled: Callable[..., None], scribe: Scribe
) -> None:
    filled(way[0])
    copy_ledger(*way, lambda done, total: erase_all(way[0], scribe) if done == 0 else None)
    assert clean(way[1])


def test_another_ledger_is_refused_and_left_as_it_is(
    way: tuple[str, str], filled: Callable[..., None]
) -> None:
    filled(way[0])
    filled(way[1], notes=1)
    before = contents(way[1])
    with pytest.raises(LedgerUnusable, match=r"records of a ledger other than .*: name an empty database"):
        copy(way)
    assert contents(way[1]) == before


def test_a_copy_that_went_on_by_itself_is_refused(way: tuple[str, str], filled: Callable[..., None]) -> None:
    filled(way[0])
    copy(way)
    filled(way[1], notes=2)
    with pytest.raises(LedgerUnusable, match=r"it is 2 records ahead of .*: copy in the other direction"):
        copy(way)


def test_a_source_without_records_makes_no_target(url: Callable[[str, str], str]) -> None:
    open_store(url("sqlite", "source"), read_only=False).close()
    with pytest.raises(LedgerUnusable, match="it has no records; nothing was copied"):
        copy((url("sqlite", "source"), url("sqlite", "target")))
    assert not Path(url("sqlite", "target")).exists()


def test_a_source_that_is_not_there_makes_no_target(url: Callable[[str, str], str]) -> None:
    with pytest.raises(LedgerUnusable, match="it does not exist"):
        copy((url("sqlite", "source"), url("sqlite", "target")))
    assert not Path(url("sqlite", "target")).exists()


@pytest.mark.parametrize("other", ["{}", "sqlite:///{}"])
def test_a_ledger_is_not_copied_to_itself(
    url: Callable[[str, str], str], filled: Callable[..., None], other: str
) -> None:
    filled(url("sqlite", "source"))
    with pytest.raises(BadInput, match="source and target are the same"):
        copy((url("sqlite", "source"), other.format(url("sqlite", "source"))))


def test_damaged_private_text_is_named(
    url: Callable[[str, str], str], filled: Callable[..., None], execute_sqlite: Callable[..., None]
) -> None:
    filled(url("sqlite", "source"))
    execute_sqlite(
        url("sqlite", "source"),
        "DROP TRIGGER private_bodies_no_update",
        "UPDATE private_bodies SET text = x'ff'",
    )
    with pytest.raises(LedgerUnusable, match="a private text of the source is damaged: `sora-ledger verify`"):
        copy((url("sqlite", "source"), url("sqlite", "target")))


@pytest.fixture
def execute_sqlite() -> Callable[..., None]:
    import sqlite3  # noqa: PLC0415

    def execute(path: str, *statements: str) -> None:
        db = sqlite3.connect(path)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()

    return execute


KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from render_service.maintenance import copy
def progress(done, total):
    if done >= 2_500:
        os.kill(os.getpid(), signal.SIGKILL)
copy.STEP = 500
copy.copy_ledger(sys.argv[1], sys.argv[2], progress)
"""


def test_a_copy_that_was_killed_goes_on_where_it_stopped(
    way: tuple[str, str], filled: Callable[..., None], forks: Forks
) -> None:
    filled(way[0], notes=4_000)
    assert forks.run([KILLED_IN_THE_MIDDLE, *way], Path.cwd(), os.environ, program=CODE)[0] == -9
    assert (len(contents(way[1])[0]), clean(way[1])) == (2_000, True)
    assert (copy(way).copied, contents(way[1])) == (2_011, contents(way[0]))
