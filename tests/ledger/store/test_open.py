import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import LedgerUnusable
from ledger.log.opening import open_ledger, open_store
from ledger.store.sqlite.connection import APPLICATION_ID, SCHEMA_VERSION, recognise
from ledger.store.sqlite.store import SqliteStore
from tests.ledger.scribe import Scribe


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture(params=[True, False], ids=["reading", "writing"])
def read_only(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_file_that_is_no_database_is_refused(path: Path, *, read_only: bool) -> None:
    path.write_bytes(b"this is a text file, and long enough not to be an empty one " * 20)
    with pytest.raises(LedgerUnusable, match="it is not a SQLite database: name another file with --ledger"):
        open_store(str(path), read_only=read_only)


def test_a_database_of_another_program_is_refused(path: Path, *, read_only: bool) -> None:
    foreign(path)
    with pytest.raises(LedgerUnusable, match="another program's SQLite database: name another file"):
        open_store(str(path), read_only=read_only)


def test_a_database_of_another_program_stays_as_it_was(path: Path) -> None:
    foreign(path)
    before = content(path)
    with pytest.raises(LedgerUnusable):
        open_store(str(path), read_only=False)
    assert content(path) == before


def test_a_ledger_of_a_newer_version_is_refused(path: Path, scribe: Scribe, *, read_only: bool) -> None:
    scribe.ledger(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    newer = rf"schema is version {SCHEMA_VERSION + 1}, .* up to version {SCHEMA_VERSION}: upgrade sora-ledger"
    with pytest.raises(LedgerUnusable, match=newer):
        open_store(str(path), read_only=read_only)


def test_a_folder_is_refused_with_a_file_name_to_use(tmp_path: Path, *, read_only: bool) -> None:
    with pytest.raises(LedgerUnusable, match=r"it is a folder; name a file in it, such as .*ledger\.db"):
        open_store(str(tmp_path), read_only=read_only)


def test_a_missing_file_is_not_made_for_reading(path: Path) -> None:
    with pytest.raises(LedgerUnusable, match="it does not exist; `sora-ledger create …` begins it"):
        open_store(str(path), read_only=True)
    assert not path.exists()


def test_an_empty_file_is_refused_for_reading(path: Path) -> None:
    path.touch()
    with pytest.raises(LedgerUnusable, match="it is empty"):
        open_store(str(path), read_only=True)


def test_an_empty_file_becomes_a_ledger(path: Path, scribe: Scribe) -> None:
    path.touch()
    with scribe.ledger(path) as ledger:
        assert ledger.head().size == 1


def test_a_folder_below_a_file_cannot_be_made(path: Path, scribe: Scribe) -> None:
    path.touch()
    with pytest.raises(LedgerUnusable, match=r"folder cannot be created .*: name another file with --ledger"):
        scribe.ledger(path / "below" / "ledger.db")


def test_missing_folders_are_made(tmp_path: Path, scribe: Scribe) -> None:
    scribe.ledger(tmp_path / "a" / "b" / "ledger.db").close()
    assert (tmp_path / "a" / "b" / "ledger.db").exists()


def test_a_url_of_another_database_says_what_is_expected() -> None:
    with pytest.raises(LedgerUnusable, match="ledger URL mysql://…: expected sqlite:///relative/path"):
        open_store("mysql://ana:secret@host/db", read_only=True)


def test_an_absolute_url_names_the_file(path: Path, scribe: Scribe) -> None:
    scribe.ledger(f"sqlite:///{path}").close()
    assert path.exists()


def test_a_url_may_quote_what_a_path_may_hold(tmp_path: Path, scribe: Scribe) -> None:
    scribe.ledger(f"sqlite:///{tmp_path}/my%20ledger%3F.db").close()
    assert (tmp_path / "my ledger?.db").exists()


def test_a_relative_url_starts_here(tmp_path: Path, scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scribe.ledger("sqlite:///here.db").close()
    assert (tmp_path / "here.db").exists()


def test_a_ledger_opened_for_reading_refuses_to_append(path: Path, scribe: Scribe) -> None:
    scribe.ledger(path).close()
    with open_ledger(str(path)) as ledger, pytest.raises(LedgerUnusable, match="open for reading only"):
        ledger.append([scribe.note()])


def test_the_connections_of_a_reader_cannot_write(path: Path, scribe: Scribe) -> None:
    scribe.ledger(path).close()
    store: Any = open_store(str(path), read_only=True)
    with store._reading() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM jobs")
    store.close()


def test_a_read_only_database_says_what_to_do(path: Path, scribe: Scribe) -> None:
    with scribe.ledger(path) as ledger:
        ledger.store._writer.execute("PRAGMA query_only = ON")  # type: ignore[attr-defined]
        with pytest.raises(LedgerUnusable, match="it is read-only: make file and folder writable"):
            ledger.append([scribe.note()])


def test_a_ledger_in_a_read_only_folder_can_be_read(
    path: Path, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel lets root write anywhere, so the file system's refusal of ``-shm`` is played by a folder.

    A folder called ``ledger.db-shm`` keeps SQLite from making the file of that name, for root too.
    """
    scribe.ledger(path).close()
    path.with_name(path.name + "-shm").mkdir()
    with open_ledger(str(path)) as ledger:
        assert [record.type for record in ledger.read()] == ["ledger.created"]


def test_a_ledger_that_cannot_be_written_says_so_when_opened(path: Path, scribe: Scribe) -> None:
    scribe.ledger(path).close()
    path.with_name(path.name + "-wal").mkdir()
    with pytest.raises(LedgerUnusable, match="check that the folder exists and that you may read"):
        scribe.ledger(path)


def test_a_file_carries_the_id_of_a_ledger(path: Path, scribe: Scribe) -> None:
    scribe.ledger(path).close()
    assert content(path)[68:72] == APPLICATION_ID.to_bytes(4, "big")


def test_closing_leaves_one_file(path: Path, scribe: Scribe) -> None:
    scribe.ledger(path).close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_new_ledger_is_clean(
    path: Path, scribe: Scribe, check: Callable[..., list[tuple[str, int | None]]]
) -> None:
    scribe.ledger(path).close()
    assert check(path) == []


def test_verifying_an_empty_file_says_that_it_is_empty(
    path: Path, check: Callable[..., list[tuple[str, int | None]]]
) -> None:
    path.touch()
    with pytest.raises(LedgerUnusable, match="it is empty"):
        check(path)


def test_a_backup_that_lost_the_wal_gets_it_back(path: Path, scribe: Scribe) -> None:
    with scribe.ledger(path) as ledger:
        ledger.store._writer.execute("VACUUM INTO ?", (f"{path}.backup",))  # type: ignore[attr-defined]
    backup = path.with_name(path.name + ".backup")
    with scribe.ledger(backup) as ledger:
        mode = ledger.store._writer.execute("PRAGMA journal_mode").fetchone()[0]  # type: ignore[attr-defined]
    assert mode == "wal"


class BegunMeanwhile(sqlite3.Connection):
    """A connection to an empty file, in which another process begins a ledger after the first statement."""

    path: Path
    is_begun = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run `sql`, then begin the ledger, once."""
        rows = super().execute(sql, *parameters).fetchall()
        if not self.is_begun:
            self.is_begun = True
            SqliteStore(self.path).close()
        return super().execute("SELECT ?", rows[0])


def test_a_ledger_that_another_process_begins_meanwhile_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path, factory=BegunMeanwhile)
    connection.path = path
    assert recognise(connection, path)
    connection.close()
