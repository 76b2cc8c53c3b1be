"""A ledger that another program keeps locked."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.store.sqlite import connection
from tests.cli.conftest import Sora


@pytest.fixture(params=["IMMEDIATE", "EXCLUSIVE"])
def locked(
    sora: Sora, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let another program begin to write and not end, in a ledger of one denied job."""
    sora("create", "--prompt", "a fox", "--profile", "sandbox", "--max-cost", "0")
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 1)
    other = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    other.execute(f"BEGIN {request.param}")
    yield
    other.close()


def test_a_writer_is_told_to_wait(sora: Sora, locked: None) -> None:
    ended = sora("create", "--prompt", "a fox", "--profile", "sandbox", "--max-cost", "0")
    assert (ended.code, "another program kept it locked" in ended.error) == (7, True)


def test_who_reads_need_not_wait(sora: Sora, locked: None) -> None:
    assert (sora("verify").code, len(sora("jobs").document["jobs"])) == (0, 1)


def test_nothing_of_what_was_refused_is_recorded(sora: Sora, locked: None) -> None:
    before = sora("log").document
    sora("create", "--prompt", "a fox", "--profile", "sandbox", "--max-cost", "0")
    assert sora("log").document == before
