"""``export --tiles``: which folders it takes, and which it refuses."""

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Sora


@pytest.fixture
def key(sora: Sora, denied: str) -> str:
    """Return the file of a key, beside a ledger with one denied job."""
    sora("key", "new", "signing.key")
    return "signing.key"


def test_a_folder_is_made_and_extended(sora: Sora, key: str, folder: Path) -> None:
    first = sora("export", "--tiles", "public", "--key", key)
    sora("record", "elsewhere", "--video-id", "video_9")
    second = sora("export", "--tiles", "public", "--key", key)
    assert (first.code, second.code, second.document["old_size"]) == (0, 0, first.document["head"]["size"])
    assert (folder / "public/checkpoint").read_text() == second.document["head"]["checkpoint"]


def test_a_record_that_is_not_the_one_of_its_leaf_is_not_published(
    sora: Sora, key: str, folder: Path
) -> None:
    db = sqlite3.connect("ledger.db", isolation_level=None)
    db.execute("DROP TRIGGER events_no_update")
    db.execute("UPDATE events SET record = CAST(replace(record, 'ana', 'bob') AS BLOB) WHERE position = 2")
    db.close()
    ended = sora("export", "--tiles", "public", "--key", key)
    assert (ended.code, "position 2 is not the one of its leaf" in ended.error) == (10, True)
    assert not (folder / "public/checkpoint").exists()


def test_tiles_need_a_key(sora: Sora, denied: str, folder: Path) -> None:
    ended = sora("export", "--tiles", "public")
    assert (ended.code, "--key" in ended.error, (folder / "public").exists()) == (2, True, False)


def test_a_folder_of_something_else_is_left_alone(sora: Sora, key: str, folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine/thesis.txt").write_text("mine")
    ended = sora("export", "--tiles", "mine", "--key", key)
    assert (ended.code, [path.name for path in (folder / "mine").iterdir()]) == (2, ["thesis.txt"])


def test_tiles_of_another_ledger_are_left_alone(sora: Sora, key: str, folder: Path) -> None:
    sora("export", "--tiles", "public", "--key", key)
    before = (folder / "public/checkpoint").read_bytes()
    (folder / "ledger.db").unlink()
    sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    ended = sora("export", "--tiles", "public", "--key", key)
    assert (ended.code, (folder / "public/checkpoint").read_bytes()) == (2, before)


def test_a_file_is_no_folder(sora: Sora, key: str) -> None:
    assert sora("export", "--tiles", key, "--key", key).code == 2


@pytest.mark.parametrize("option", [["--out", "b.zip"], ["--without-text"], ["--all"]])
def test_tiles_go_alone(sora: Sora, key: str, option: list[str]) -> None:
    assert sora("export", "--tiles", "public", "--key", key, *option).code == 2
