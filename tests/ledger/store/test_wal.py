"""Two who begin one ledger at once: SQLite refuses one of them at once instead of letting it wait."""

import sqlite3
from typing import Any

import pytest

from ledger.store.sqlite import connection
from ledger.store.sqlite.connection import use_wal


class Contested:
    """A connection that finds the file busy a number of times."""

    def __init__(self, times: int, name: str = "SQLITE_BUSY") -> None:
        self.left, self.name = times, name

    def execute(self, _: str) -> None:
        if self.left:
            self.left -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorname = self.name
            raise error


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that are made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(connection.time, "sleep", made.append)  # type: ignore[attr-defined]
    return made


def test_the_switch_is_tried_again_while_another_makes_it(pauses: list[float]) -> None:
    contested: Any = Contested(3)
    use_wal(contested)
    assert (contested.left, len(pauses)) == (0, 3)


def test_the_switch_is_given_up_at_the_busy_timeout(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", -1)
    contested: Any = Contested(1_000)
    with pytest.raises(sqlite3.OperationalError):
        use_wal(contested)
    assert pauses == []


def test_other_trouble_is_not_waited_for(pauses: list[float]) -> None:
    contested: Any = Contested(1, "SQLITE_READONLY")
    with pytest.raises(sqlite3.OperationalError):
        use_wal(contested)
    assert pauses == []
