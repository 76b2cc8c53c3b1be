"""`verify --all` and `audit --all` check every ledger of a folder."""

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Sora


@pytest.fixture
def ledgers(sora: Sora, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Begin two ledgers, each in a folder of its own."""
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "sandbox")
    for team in ("film", "games"):
        (folder / "all" / team).mkdir(parents=True)
        ended = sora("create", "--prompt", "a fox runs", "--queue", "--ledger", f"all/{team}/ledger.db")
        assert ended.code == 0
    return folder / "all"


def tamper(ledger: Path) -> None:
    """Change what a record says."""
    db = sqlite3.connect(ledger)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute("UPDATE events SET payload = replace(payload, 'a', 'b') WHERE position = 2")
    db.commit()
    db.close()


@pytest.mark.parametrize("command", [["verify"], ["audit", "--offline"]])
def test_every_ledger_of_a_folder_is_checked(sora: Sora, ledgers: Path, command: list[str]) -> None:
    ended = sora(*command, "--all", "all")
    assert ended.code == 0
    checked = {one["ledger"]: one["clean"] for one in ended.document["ledgers"]}
    assert checked == {"all/film/ledger.db": True, "all/games/ledger.db": True}
    assert ended.document["clean"] is True


def test_one_with_findings_decides_how_the_command_ends(sora: Sora, ledgers: Path) -> None:
    tamper(ledgers / "film" / "ledger.db")
    (ledgers / "notes.db").write_text("no ledger")
    ended = sora("verify", "--all", "all")
    assert (ended.code, ended.document["clean"]) == (10, False)
    assert [one["clean"] for one in ended.document["ledgers"]] == [False, True, None]
    assert "notes.db" in ended.document["ledgers"][2]["because"]
    assert "findings" in sora("verify", "--all", "all", "--format", "text").out


def test_one_that_cannot_be_read_does_not_pass_as_clean(sora: Sora, ledgers: Path) -> None:
    (ledgers / "notes.db").write_text("no ledger")
    ended = sora("verify", "--all", "all")
    assert (ended.code, ended.document["clean"]) == (7, False)
    assert [one["clean"] for one in ended.document["ledgers"]] == [True, True, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "--all", "nowhere"], "--all nowhere: expected a folder of ledgers"),
        (["audit", "--all", "."], "expected ./NAME/ledger.db, ./NAME/settings.env or ./NAME.db"),
        (["verify", "--all", "all", "--record"], "--record is about one ledger"),
        (["audit", "--all", "all", "--as-of", "3"], "--as-of is about one ledger"),
    ],
)
def test_what_cannot_be_checked_together_is_reported(
    sora: Sora, folder: Path, arguments: list[str], message: str
) -> None:
    ended = sora(*arguments)
    assert (ended.code, message in ended.error) == (2, True)
