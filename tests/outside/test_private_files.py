"""What is recorded can be read by its owner alone, and no prepared file or link catches what is written."""

import os
import stat
from pathlib import Path

import pytest

from tests.outside.conftest import Person

RENDER = ("create-and-poll", "--prompt", "a fox", "--profile", "sandbox", "--poll-interval", "0.05")


@pytest.fixture
def ana(person: Person) -> Person:
    """Someone whose files everybody could read, who has rendered a video with the embedded sandbox."""
    where = {"SORA_LEDGER_URL": "new/folder/ledger.db", "SORA_SANDBOX_SECONDS": "0"}
    here = person.with_(**where)
    before = os.umask(0o022)
    try:
        assert here(*RENDER).code == 0
    finally:
        os.umask(before)
    return here


def readable_by_others(folder: Path) -> list[str]:
    found = (path for path in (folder, *folder.rglob("*")) if not path.is_symlink())  # a link has no mode
    return [str(path) for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077]


def test_ledger_files_sandbox_and_their_folders_are_their_owners_alone(ana: Person) -> None:
    follower = ana.start("log", "--follow", "--json")  # so that there are -wal and -shm
    try:
        assert follower.stdout.readline()
        names = {path.name for path in (ana.folder / "new" / "folder").rglob("*")}
        assert {"ledger.db", "ledger.db-wal", "ledger.db-shm", "jobs.sqlite3", "ledger.json"} <= names
        assert readable_by_others(ana.folder / "new") == []
    finally:
        follower.kill()
        follower.communicate()


def test_what_was_prepared_in_a_shared_folder_catches_nothing(ana: Person) -> None:
    victim = ana.folder / "victim"
    victim.write_text("mine")
    for name in (".b.db.part", ".out.json.part", f".copy.mp4.{os.getpid()}.part", ".rows.csv.part"):
        (ana.folder / name).symlink_to(victim)
    job = ana("jobs").document["jobs"][0]["job_id"]
    for command in (
        ("backup", "b.db"),
        ("jobs", "--json-out", "out.json"),
        ("download", "--id", job, "--out", "copy.mp4"),
        ("log", "--csv", "--out", "rows.csv"),
    ):
        assert ana(*command).code == 0, command
    assert victim.read_text() == "mine"
    assert stat.S_IMODE((ana.folder / "b.db").stat().st_mode) == 0o600
