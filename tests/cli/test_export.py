"""Evidence on the command line: exported, checked by a stranger's Python, refused where it does not hold."""

import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


@pytest.fixture
def stored(sora: Sora, server: Callable[..., SandboxServer]) -> str:
    """Return the id of a job whose video is stored, beside another job and a key."""
    server()
    sora("create", "--prompt", "a badger nobody may know of", "--max-cost", "0.01")
    done = sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05")
    assert done.code == 0, done.err
    sora("key", "new", "signing.key", "--name", "ledger.example")
    return str(sora("jobs").document["jobs"][0]["job_id"])


def stranger(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program inside the bundle, with nothing but Python."""
    with zipfile.ZipFile("b.zip") as packed:
        Path("v.py").write_bytes(packed.read("verify_bundle.py"))
    command = [sys.executable, "-I", "-S", "v.py", "b.zip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_stranger_checks_a_bundle_with_nothing_but_python(sora: Sora, stored: str) -> None:
    sora("export", stored, "--out", "b.zip", "--key", "signing.key", "--with-assets")
    key = sora("key", "show", "signing.key").document["verifier"]
    ended = stranger("--verifier", key)
    assert (ended.returncode, ended.stderr, "signed with the key you gave" in ended.stdout) == (0, "", True)


def test_a_stranger_sees_that_a_bundle_was_changed(sora: Sora, stored: str, folder: Path) -> None:
    sora("export", stored, "--out", "b.zip")
    with zipfile.ZipFile("b.zip") as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile("b.zip", "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data.replace(b"a fox", b"a dog"))
    ended = stranger()
    assert (ended.returncode, "BODY_MISMATCH" in ended.stdout) == (10, True)


def test_the_command_line_comes_to_the_same(sora: Sora, stored: str) -> None:
    sora("export", stored, "--out", "b.zip", "--key", "signing.key")
    ended = sora("verify-bundle", "b.zip", "--format=text")
    assert (ended.code, ended.out) == (0, stranger().stdout)


def test_it_reveals_nothing_about_other_jobs(sora: Sora, stored: str, folder: Path) -> None:
    other = next(job["job_id"] for job in sora("jobs").document["jobs"] if job["job_id"] != stored)
    sora("export", stored, "--out", "b.zip", "--with-assets")
    with zipfile.ZipFile("b.zip") as packed:
        whole = b"".join(packed.read(name) for name in packed.namelist())
    assert [secret for secret in (other, "badger") if secret.encode() in whole] == []


def test_it_reveals_neither_key_nor_machine(
    sora: Sora, stored: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_LEDGER_KEY", str(folder / "signing.key"))
    sora("export", stored, "--out", "b.zip")
    with zipfile.ZipFile("b.zip") as packed:
        manifest = packed.read("manifest.json").decode()
        whole = b"".join(packed.read(name) for name in packed.namelist())
    _, _, _, _, secret = (
        (folder / "signing.key").read_text().strip().split("+", 4)
    )  # in base64, with more of them
    assert secret.encode() not in whole
    assert [word for word in (str(folder), "sk-test", "signing.key") if word in manifest] == []


def test_an_image_is_in_it_as_it_was_given_and_as_it_was_sent(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path, picture: Callable[..., bytes]
) -> None:
    server()
    (folder / "i.png").write_bytes(picture((1600, 900)))
    options = ["--prompt", "a fox", "--input-reference", "i.png", "--fit", "cover"]
    assert sora("create-and-poll", *options, "--poll-interval", "0.05").code == 0
    job = sora("jobs").document["jobs"][0]["job_id"]
    done = sora("export", job, "--out", "b.zip", "--with-assets")
    assert (done.document["assets"], done.document["assets_absent"]) == (3, [])
    assert sora("verify", "--with-assets").document["files"] == 3


def test_a_missing_file_is_reported_and_left_out(sora: Sora, stored: str, folder: Path) -> None:
    next((folder / "assets" / "sha256").rglob("*.mp4")).unlink()
    ended = sora("export", stored, "--out", "b.zip", "--with-assets")
    assert (ended.code, ended.document["assets"], len(ended.document["assets_absent"])) == (0, 0, 1)
    assert "missing or was changed" in ended.error


NESTED = '"a":' + "[" * 100_000
DAMAGE = {
    "an edited text": (
        "UPDATE private_bodies SET text = 'a dog' WHERE text = 'a fox'",
        "BODY_MISMATCH at position 2, prompt",
    ),
    "JSON that is nested too deep": (
        f"""UPDATE events SET payload = CAST('{{"storage_uri":"",{NESTED}' AS BLOB) WHERE position = 3""",
        "recursion",
    ),
    "JSON that is nested too deep and cites nothing": (
        f"UPDATE events SET payload = CAST('{'[' * 100_000}' AS BLOB) WHERE position = 3",
        "PAYLOAD_DIGEST at position 3",
    ),
    "a number where bytes belong": (
        "UPDATE events SET payload = 7 WHERE position = 3",
        "PAYLOAD_DIGEST at position 3",
    ),
    "a document that is none": ("UPDATE documents SET body = 7", "ATTACHED_DIGEST at documents/"),
}


@pytest.mark.parametrize(("statement", "says"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_ledger_exports_nothing(
    sora: Sora, denied: str, folder: Path, statement: str, says: str
) -> None:
    db = sqlite3.connect("ledger.db", isolation_level=None)
    for trigger in ("private_bodies_no_update", "events_no_update"):
        db.execute(f"DROP TRIGGER {trigger}")
    assert db.execute(statement).rowcount
    db.close()
    ended = sora("export", denied, "--out", "b.zip")
    assert (ended.code, says in ended.error) == (10, True), ended.error
    assert [path.name for path in folder.iterdir() if "b.zip" in path.name] == []


def test_evidence_can_go_by_a_checkpoint_that_a_reader_holds(sora: Sora, stored: str) -> None:
    sora("checkpoint", "--key", "signing.key", "--publish", "held")
    sora("record", "elsewhere", "--video-id", "video_9")
    sora("export", stored, "--out", "b.zip", "--checkpoint", "held")
    ended = sora("verify-bundle", "b.zip", "--checkpoint", "held", "--verifier", "signing.key")
    assert (ended.code, "The checkpoint is the one you hold." in ended.document["shows"]) == (0, True)


@pytest.mark.parametrize("arguments", [["--range", "1..3"], ["--all"]])
def test_a_range_and_everything_are_exported_too(sora: Sora, denied: str, arguments: list[str]) -> None:
    done = sora("export", *arguments, "--out", "b.zip", "--without-text")
    assert (done.code, done.document["texts"]) == (0, 0)
    assert sora("verify-bundle", "b.zip").document["records"] == done.document["records"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all"],
        ["--all", "--range", "1..2", "--out", "b.zip"],
        ["--range", "2..1", "--out", "b.zip"],
        ["--range", "1..99", "--out", "b.zip"],
        ["--range", "all", "--out", "b.zip"],
        ["nobody", "--out", "b.zip"],
        ["--all", "--out", "nowhere/b.zip"],
        ["--all", "--out", "ledger.db"],
    ],
)
def test_what_cannot_be_exported_is_refused(sora: Sora, denied: str, arguments: list[str]) -> None:
    assert sora("export", *arguments).code == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"-----BEGIN", b"\x00" * 3_000])
def test_a_file_that_is_no_bundle_is_refused(sora: Sora, folder: Path, content: bytes) -> None:
    (folder / "other").write_bytes(content)
    ended = sora("verify-bundle", "other")
    assert (ended.code, "bundle other: no zip file" in ended.error) == (2, True)


def test_a_bundle_that_is_not_there_is_refused(sora: Sora) -> None:
    ended = sora("verify-bundle", "nowhere.zip")
    assert (ended.code, "No such file" in ended.error) == (2, True)
