"""Bad input: what it was, what was expected, what to do now; the code of the table; nothing recorded."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.main import run
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.conftest import Faults

SIZES = "offered: 720x1280, 1280x720 by sora-2"
PREFIX_OF_ALL = "job_0"


@pytest.fixture(autouse=True)
def _inputs(folder: Path, picture: Callable[..., bytes]) -> None:
    (folder / "text.png").write_text("this is text")
    (folder / "small.png").write_bytes(picture((100, 100)))
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00prompt")
    (folder / "blank.txt").write_text(" \n\t ")
    (folder / "taken.mp4").write_text("mine")
    (folder / "folder").mkdir()


CREATE = ["create", "--profile", "sandbox"]
PROMPT = ["--prompt", "a fox"]
WRONG = [
    ([*CREATE, *PROMPT, "--model", "sora-3"], "model sora-3 is unknown.*did you mean sora-2"),
    ([*CREATE, *PROMPT, "--size", "640x480"], f"size 640x480 is offered by no model.*{SIZES}"),
    ([*CREATE, *PROMPT, "--size", "wide"], f"size wide is offered by no model.*{SIZES}"),
    ([*CREATE, *PROMPT, "--seconds", "5"], "seconds 5 .*offered: 4, 8, 12, 16, 20.*use --seconds 4"),
    ([*CREATE, *PROMPT, "--seconds", "long"], "seconds must be a whole number, found long"),
    ([*CREATE, "--prompt", ""], "prompt is empty; say what the clip should show"),
    ([*CREATE, "--prompt", " \t"], "prompt is empty; say what the clip should show"),
    ([*CREATE, "--prompt-file", "blank.txt"], "prompt is empty"),
    ([*CREATE, "--prompt", "a" * 32_001], "has 32,001 characters, at most 32,000 .*shorten it by 1"),
    ([*CREATE, *PROMPT, "--purpose", "fun"], "purpose fun is unknown .*draft, concept"),
    ([*CREATE, *PROMPT, "--profile", "x"], "no server profile is called 'x' .there are: openai"),
    ([*CREATE], "--prompt or --prompt-file .*as the first word, or through a pipe; none was"),
    (
        ["remix", "--id", "video_1"],
        "--prompt or --prompt-file .* or one thing to change with --change KEY=VALUE",
    ),
    ([*CREATE, *PROMPT, "--prompt-file", "blank.txt"], "--prompt or --prompt-file .*both were"),
    ([*CREATE, "--prompt-file", "binary.txt"], "binary.txt: expected UTF-8 text"),
    ([*CREATE, "--prompt-file", "missing.txt"], "missing.txt.*No such file"),
    ([*CREATE, *PROMPT, "--max-cost", "abc"], "--max-cost abc: expected dollars"),
    ([*CREATE, *PROMPT, "--max-cost", "-1"], "--max-cost -1: expected dollars"),
    ([*CREATE, *PROMPT, "--max-cost", "nan"], "--max-cost nan: expected dollars"),
    ([*CREATE, *PROMPT, "--input-reference", "no.png"], "no.png: cannot be read .*check the path"),
    ([*CREATE, *PROMPT, "--input-reference", "text.png"], "text.png: expected a JPEG.*convert it"),
    ([*CREATE, *PROMPT, "--input-reference", "small.png"], "is 100x100, the video's size is 1280x720"),
    ([*CREATE, *PROMPT, "--request-key", " "], "request_key must be 1 to 200 printable"),
    (["create-and-poll", *PROMPT, "--out", "no/clip.mp4"], "the folder no does not exist; create it first"),
    (["create-and-poll", *PROMPT, "--out", "taken.mp4"], "taken.mp4: it exists already; .*--force"),
    (["create-and-poll", *PROMPT, "--out", "folder"], "folder: it is a folder; name a file in it"),
    (["create-and-poll", *PROMPT, "--poll-interval", "0"], "0.0 is not in the range"),
    (["create-and-poll", *PROMPT, "--variant", "all", "--out", "a.mp4"], "--out names one file"),
    (["log", "--since", "last week"], "'--since': 'last week': expected 7d, 24h"),
    (["log", "--type", "submission.lost"], "'submission.lost' is not one of .*'submission.unknown'"),
    (["replay", "--as-of", "yesterday"], "'--as-of': 'yesterday': expected a time such as"),
    (["jobs", "--state", "rotten"], "'rotten' is not one of 'requested'"),
    (["status"], "no id was given: name a job"),
    (["status", "a", "--id", "b"], "two ids were given: a and --id b"),
    (["nonsense"], "No such command 'nonsense'"),
    (["crate", *PROMPT], "No such command 'crate'; did you mean 'create'?"),
    (["status", "job_\udcff"], "it is not valid UTF-8"),
    ([*CREATE, *PROMPT, "--actor", "a\nb"], "--actor: expected 1 to 256 printable characters"),
    ([*CREATE, *PROMPT, "--actor", "a" * 257], "--actor: expected 1 to 256 printable characters"),
    (["log", "--after", "9" * 30], "is not in the range"),
    (["jobs", "--limit", "9" * 30], "is not in the range"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_bad_input_says_what_was_expected_and_ends_with_2(
    sora: Sora, arguments: list[str], message: str
) -> None:
    ended = sora(*arguments)
    assert ended.code == 2
    assert re.search(message, ended.error)


@pytest.mark.parametrize("arguments", [wrong[0] for wrong in WRONG])
def test_bad_input_begins_no_ledger_and_prints_no_data(
    sora: Sora, folder: Path, arguments: list[str]
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert sora(*arguments).data == ""
    begun = {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
    assert sorted({path.name for path in folder.iterdir()} - begun) == before


@pytest.mark.parametrize("command", ["status", "show", "poll", "download", "delete", "remix"])
def test_an_unknown_id_says_where_to_look(sora: Sora, denied: str, command: str) -> None:
    more = ["--prompt", "make it red"] if command == "remix" else []
    ended = sora(command, "--id", "nowhere", *more)
    assert (ended.code, "`sora-ledger jobs` lists the jobs" in ended.error) == (2, True)


def test_an_ambiguous_prefix_lists_what_it_may_be(sora: Sora, denied: str) -> None:
    sora("create", "--prompt", "an owl", "--max-cost", "0.01", "--profile", "sandbox")
    ended = sora("status", PREFIX_OF_ALL)
    assert ended.code == 2
    assert f"'{PREFIX_OF_ALL}' is ambiguous" in ended.error
    assert denied in ended.error


def test_a_position_behind_the_end_says_where_the_end_is(sora: Sora, denied: str) -> None:
    ended = sora("replay", "--as-of", "99")
    assert (ended.code, "--as-of 99: expected at most 4" in ended.error) == (2, True)


@pytest.mark.parametrize(
    "command",
    [
        ["status", "job_1"],
        ["poll", "job_1"],
        ["download", "job_1"],
        ["delete", "job_1"],
        ["remix", "job_1", "--prompt", "make it red"],
        ["show", "job_1"],
        ["jobs"],
        ["log"],
        ["verify"],
        ["replay"],
    ],
)
def test_without_a_ledger_only_create_begins_one(sora: Sora, folder: Path, command: list[str]) -> None:
    ended = sora(*command)
    assert (ended.code, "it does not exist; `sora-ledger create …` begins it" in ended.error) == (7, True)
    assert not (folder / "ledger.db").exists()


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()


def newer(path: Path) -> None:
    assert run(["create", *PROMPT, "--max-cost", "0", "--profile", "sandbox"]) == 3
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


UNUSABLE = {
    "text": (lambda path: path.write_text("no database, but text " * 9), "not a SQLite database"),
    "folder": (lambda path: path.mkdir(), "it is a folder; name a file in it"),
    "foreign": (foreign, "another program's SQLite database: name another file"),
    "newer": (newer, "schema is version 99, .*upgrade sora-ledger"),
}


@pytest.mark.parametrize("command", ["jobs", "create", "verify"])
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_file_that_is_no_ledger_of_ours_is_reported_and_left_alone(
    sora: Sora, folder: Path, kind: str, command: str
) -> None:
    make, message = UNUSABLE[kind]
    path = folder / "ledger.db"
    make(path)  # type: ignore[no-untyped-call]
    before = path.read_bytes() if path.is_file() else None
    ended = sora(command, *([*PROMPT, "--profile", "sandbox"] if command == "create" else []))
    assert ended.code == 7
    assert re.search(message, ended.error)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize(
    ("state", "message"), [("queued", "is queued; only a completed one"), ("failed", "failed")]
)
def test_a_remix_of_an_unfinished_or_failed_video_is_denied_with_a_way_out(
    sora: Sora, server: Callable[..., SandboxServer], state: str, message: str
) -> None:
    server(render_seconds=0 if state == "failed" else 60)
    source = sora("create", "--prompt", "a [fail] fox").document["job_id"]
    if state == "failed":
        sora("poll", source, "--poll-interval", "0.05")
    ended = sora("remix", source, "--prompt", "make it red")
    assert (ended.code, ended.document["state"]) == (3, "denied")
    assert message in ended.error
    assert "sora-ledger" in ended.error


def test_a_remix_of_a_deleted_video_is_denied(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    source = sora("create-and-poll", "--prompt", "a fox").document["final"]["job_id"]
    sora("delete", source)
    ended = sora("remix", source, "--prompt", "make it red")
    assert (ended.code, "the video to remix was deleted" in ended.error) == (3, True)


def test_a_remix_of_what_never_had_a_video_says_why(sora: Sora, denied: str) -> None:
    ended = sora("remix", denied, "--prompt", "make it red")
    assert (ended.code, "is denied and has no video" in ended.error) == (1, True)


def test_a_missing_key_says_how_to_set_one_and_offers_the_sandbox(sora: Sora) -> None:
    ended = sora("create", *PROMPT)
    assert ended.code == 2
    for part in (
        "OPENAI_API_KEY is not set",
        "export OPENAI_API_KEY=",
        "never paste it",
        "--profile sandbox",
    ):
        assert part in ended.error


def test_a_missing_key_begins_no_ledger(sora: Sora) -> None:
    sora("create", *PROMPT)
    assert sora("jobs").code == 7


def test_an_unreachable_server_says_that_nothing_was_sent(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    ended = sora("create", *PROMPT)
    assert (ended.code, ended.document["state"]) == (8, "absent")
    assert "nothing was sent" in ended.error
    assert "OPENAI_BASE_URL sets another" in ended.error


def test_a_server_that_answers_html_leaves_the_outcome_unknown(sora: Sora, faulty: Faults) -> None:
    faulty.then(200, b"<html>Sign in</html>", kind="text/html")
    ended = sora("create", *PROMPT)
    assert (ended.code, ended.document["state"]) == (6, "unknown")
    assert "`sora-ledger reconcile --all` looks for it" in ended.error


def test_a_list_from_a_server_that_answers_html_says_so(sora: Sora, faulty: Faults) -> None:
    faulty.then(200, b"<html>Sign in</html>", kind="text/html")
    ended = sora("list")
    assert (ended.code, "200 text/html instead of a list of videos" in ended.error) == (8, True)


def test_a_wrong_key_says_which_variable_to_set(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    server(api_key="right")
    ended = sora("create", *PROMPT)
    assert (ended.code, "the key in OPENAI_API_KEY is not one of this server's" in ended.error) == (8, True)


def test_a_closed_request_key_says_to_take_another(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    server(api_key="right")
    for _ in range(2):
        ended = sora("create", *PROMPT, "--request-key", "teaser")
    assert "this request is closed: to request it again, use another --request-key" in ended.error


READ_ONLY = """
import contextlib, io, os, sys
from cli.main import main, run
with contextlib.redirect_stdout(io.StringIO()):
    run([*sys.argv[2:], "--ledger", sys.argv[1]])  # imports what is needed, while it may be read
if os.geteuid() == 0:
    os.seteuid(65534)
main(sys.argv[2:])
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Return a folder that other users can reach: each run of pytest closes that of `tmp_path` to them."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        yield place
        place.chmod(0o755)


def test_a_read_only_ledger_can_be_read_and_says_why_it_is_not_written(
    sora: Sora, denied: str, folder: Path, open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (open_to_all / "ledger.db").write_bytes((folder / "ledger.db").read_bytes())
    (open_to_all / "ledger.db").chmod(0o444)
    open_to_all.chmod(0o555)
    monkeypatch.chdir(open_to_all)
    command = [sys.executable, "-c", READ_ONLY, str(folder / "ledger.db")]
    create = ["create", *PROMPT, "--profile", "sandbox", "--max-cost", "0"]
    read = subprocess.run([*command, "jobs"], check=False, capture_output=True, text=True)
    wrote = subprocess.run([*command, *create], check=False, capture_output=True, text=True)
    assert (read.returncode, denied in read.stdout) == (0, True), read.stderr
    assert (wrote.returncode, "it is read-only: make file and folder writable" in wrote.stderr) == (7, True)


SMALL_DISK = """
import resource, sys
from cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""


def test_a_full_disk_is_reported_and_leaves_the_ledger_intact(sora: Sora, denied: str, folder: Path) -> None:
    create = ["create", *PROMPT, "--profile", "sandbox", "--max-cost", "0"]
    command = [sys.executable, "-c", SMALL_DISK, "8192", *create]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 7
    assert "; nothing was recorded: check disk and quota" in ended.stderr
    assert sora("verify").document == sora("verify").document | {"clean": True, "jobs": 1}


@pytest.mark.parametrize("file", ["ledger.db", "ledger.db-wal", "signing.key"])
@pytest.mark.parametrize(
    "command",
    [["prove", "1", "--force", "--out"], ["export", "--all", "--force", "--out"], ["log", "--json-out"]],
)
def test_no_output_takes_the_place_of_a_ledger_or_a_key(
    sora: Sora, denied: str, folder: Path, file: str, command: list[str]
) -> None:
    sora("key", "new", "signing.key")
    before = (folder / "ledger.db").read_bytes(), (folder / "signing.key").read_bytes()
    ended = sora(*command, file)
    assert (ended.code, "which is never replaced; name another" in ended.error) == (2, True)
    assert ((folder / "ledger.db").read_bytes(), (folder / "signing.key").read_bytes()) == before


def test_an_interrupt_while_modules_are_imported_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    program = Path(sys.executable).with_name("sora-ledger")
    ended = subprocess.run(
        [program, "jobs"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted; nothing was done\n")
