"""What happens to an append when the disk, the process or another program gets in its way."""

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.errors import LedgerUnusable
from ledger.log.ledger import Ledger
from ledger.log.opening import open_ledger
from tests.ledger.scribe import Scribe

APPEND_FOR_EVER = """
import sys
from datetime import UTC, datetime
from ledger.events import (RenderRequested)
from ledger.terms import (Operation)
from ledger.log.opening import open_or_create
from ledger.private import Private
from ledger.record import ActorSource, Authority, Provenance, draft, new_job_id
from ledger.store.interface import NEW, Batch

who = Provenance("ana", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)
ledger = open_or_create(sys.argv[1], who, datetime.now(UTC))
while True:
    event = RenderRequested(
        operation=Operation.CREATE, prompt=Private.seal("prompt", "a boat " * 50), size="1280x720",
        seconds=4, purpose="draft", requested_model="auto", profile="sandbox",
    )
    [record] = ledger.append([Batch(new_job_id(), NEW, [draft(event, who, datetime.now(UTC))])])
    print(record.position, flush=True)
"""


def fill_the_disk(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    """Let the file grow no further and append until it is full."""
    writer = ledger.store._writer  # type: ignore[attr-defined]
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 1}")
    for number in range(1, 1_000):
        ledger.append([scribe.batch(f"job_{number:032x}", vocabulary.requested("a boat " * 300))])


def make_room(ledger: Ledger) -> None:
    ledger.store._writer.execute("PRAGMA max_page_count = 1000000")  # type: ignore[attr-defined]


def test_a_full_disk_says_what_to_do(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    with pytest.raises(LedgerUnusable, match=r"the disk is full; .*: free space on it"):
        fill_the_disk(ledger, scribe, vocabulary)


def test_a_full_disk_leaves_nothing_half_written(
    ledger: Ledger,
    scribe: Scribe,
    vocabulary: ModuleType,
    path: Path,
    check: Callable[..., list[tuple[str, int | None]]],
) -> None:
    with pytest.raises(LedgerUnusable):
        fill_the_disk(ledger, scribe, vocabulary)
    assert check(path) == []


def test_the_refused_append_goes_through_once_there_is_room(
    ledger: Ledger,
    scribe: Scribe,
    vocabulary: ModuleType,
    path: Path,
    check: Callable[..., list[tuple[str, int | None]]],
) -> None:
    with pytest.raises(LedgerUnusable):
        fill_the_disk(ledger, scribe, vocabulary)
    size = ledger.head().size
    make_room(ledger)
    ledger.append([scribe.note()])
    assert (ledger.head().size, check(path)) == (size + 1, [])


def kill_after(path: Path, positions: int) -> int:
    """Kill a process that appends for ever once it has reported `positions`; return the last one."""
    process = subprocess.Popen(
        [sys.executable, "-c", APPEND_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    with process, process.stdout as reported:
        last = 0
        while last < positions:
            last = int(reported.readline())
        process.send_signal(signal.SIGKILL)
        return max(last, *map(int, reported.read().split("\n")[:-1]), 0)


@pytest.mark.parametrize("positions", [2, 17, 41])
def test_a_killed_process_leaves_a_ledger_that_verifies(
    path: Path, check: Callable[..., list[tuple[str, int | None]]], positions: int
) -> None:
    kill_after(path, positions)
    assert check(path) == []


def test_nothing_that_was_reported_is_lost_to_a_kill(path: Path) -> None:
    reported = kill_after(path, 20)
    with open_ledger(str(path)) as ledger:
        assert ledger.head().size >= reported


def test_a_ledger_goes_on_after_a_kill(
    path: Path, scribe: Scribe, check: Callable[..., list[tuple[str, int | None]]]
) -> None:
    kill_after(path, 20)
    with scribe.ledger(path) as ledger:
        before = ledger.head().size
        [record] = ledger.append([scribe.note()])
    assert (record.position, check(path)) == (before + 1, [])


@pytest.fixture
def other(path: Path, ledger: Ledger) -> Iterator[sqlite3.Connection]:
    """Yield another program's connection, which keeps the ledger locked."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    ledger.store._writer.execute("PRAGMA busy_timeout = 1")  # type: ignore[attr-defined]
    yield connection
    connection.close()


def test_a_locked_ledger_says_what_to_do(ledger: Ledger, scribe: Scribe, other: sqlite3.Connection) -> None:
    with pytest.raises(LedgerUnusable, match=r"another program kept it locked .*: wait for it or stop it"):
        ledger.append([scribe.note()])


def test_a_locked_ledger_can_be_read(ledger: Ledger, other: sqlite3.Connection) -> None:
    assert [record.type for record in ledger.read()] == ["ledger.created"]


def test_an_append_goes_through_after_the_lock(
    ledger: Ledger, scribe: Scribe, other: sqlite3.Connection
) -> None:
    batch = scribe.note()
    with pytest.raises(LedgerUnusable):
        ledger.append([batch])
    other.execute("ROLLBACK")
    assert [record.position for record in ledger.append([batch])] == [2]


def test_a_failed_commit_fails_the_whole_append(
    ledger: Ledger, scribe: Scribe, path: Path, check: Callable[..., list[tuple[str, int | None]]]
) -> None:
    ledger.store._writer.set_authorizer(refuse_head)  # type: ignore[attr-defined]
    with pytest.raises(LedgerUnusable):
        ledger.append([scribe.note(), scribe.note("other")])
    assert (ledger.head().size, check(path)) == (1, [])


def refuse_head(action: int, table: str | None, *_: Any) -> int:
    """Refuse the last statement of an append: the update of the head."""
    return sqlite3.SQLITE_DENY if (action, table) == (sqlite3.SQLITE_UPDATE, "head") else sqlite3.SQLITE_OK


def test_a_damaged_head_says_what_to_do(ledger: Ledger, path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE head SET size = 7")
    db.commit()
    db.close()
    with pytest.raises(LedgerUnusable, match=re.escape("run `sora-ledger verify`, then restore a backup")):
        ledger.head()
