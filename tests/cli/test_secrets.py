"""An API key is found nowhere: not in the ledger, not in a log, not in what is printed or said."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.conftest import Faults

KEY = "sk-proj-8d1f0c5e7a9b4d2f"
COMMANDS = [
    ["create", "--prompt", "a fox", "--verbose"],
    ["create", "--prompt", "a fox", "--format=text"],
    ["create-and-poll", "--prompt", "a fox", "--json-out", "out"],
    ["list"],
]
ECHOES = {
    "an error": (
        401,
        json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}),
        "application/json",
    ),
    "a code": (403, json.dumps({"error": {"code": KEY, "type": KEY, "message": "no"}}), "application/json"),
    "a page": (200, f"<html>Bearer {KEY}</html>", "text/html"),
    "a failure": (500, f"KeyError: '{KEY}'", "text/plain"),
    "an id": (200, json.dumps({"id": "video_1", "status": KEY}), "application/json"),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def everything(folder: Path) -> Iterator[bytes]:
    """Yield the bytes of every file, of the write-ahead log too."""
    yield from (path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:1] + command[-1:]))
@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_the_server_echoes_is_kept_nowhere(
    sora: Sora, faulty: Faults, folder: Path, echo: str, command: list[str]
) -> None:
    status, body, kind = ECHOES[echo]
    faulty.then(status, body.encode(), kind=kind)
    more = ["--timeout", "0"] if command[0] == "create-and-poll" else []
    ended = sora(*command, *more)
    assert KEY not in ended.out + ended.err
    assert [content for content in everything(folder) if KEY.encode() in content] == []


def test_a_key_is_not_left_in_the_write_ahead_log(sora: Sora, faulty: Faults, folder: Path) -> None:
    faulty.then(401, ECHOES["an error"][1].encode())
    holding = sqlite3.connect(
        folder / "ledger.db"
    )  # while somebody reads, the log is not folded into the file
    sora("create", "--prompt", "a fox")
    holding.execute("SELECT COUNT(*) FROM events").fetchone()
    sora("create", "--prompt", "a fox")
    assert (folder / "ledger.db-wal").stat().st_size > 0
    assert [content for content in everything(folder) if KEY.encode() in content] == []
    holding.close()


def test_a_key_reaches_only_the_server(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server(api_key=KEY)
    ended = sora("create-and-poll", "--prompt", "a fox", "-v")
    assert ended.code == 0
    assert KEY not in ended.out + ended.err
    ours = [content for content in everything(folder) if KEY.encode() in content]
    assert ours == []


def test_a_key_of_the_env_file_is_not_repeated(
    sora: Sora, faulty: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    (folder / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    faulty.then(401, ECHOES["an error"][1].encode())
    ended = sora("create", "--prompt", "a fox")
    assert (ended.code, KEY in ended.out + ended.err) == (8, False)
    assert KEY.encode() not in (folder / "ledger.db").read_bytes()


def test_a_key_with_a_space_is_refused_without_being_repeated(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY} copied")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    ended = sora("create", "--prompt", "a fox")
    assert (ended.code, KEY in ended.err) == (2, False)


@pytest.mark.parametrize("address", [f"http://user:{KEY}@127.0.0.1:9/v1", f"http://127.0.0.1:9/v1?key={KEY}"])
def test_a_key_in_the_address_is_refused_without_being_repeated(
    sora: Sora, monkeypatch: pytest.MonkeyPatch, folder: Path, address: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    ended = sora("create", "--prompt", "a fox")
    assert (ended.code, KEY in ended.err) == (2, False)
    assert [content for content in everything(folder) if KEY.encode() in content] == []
