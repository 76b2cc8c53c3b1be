"""A command that fails tells people a sentence, and programs a document."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from cli.main import run
from ledger.log.ledger import Ledger
from tests.cli.conftest import Sora

FAILING = [
    (["jobs", "--bogus"], "usage", 2, "sora-ledger jobs --help"),
    (["opne"], "usage", 2, "sora-ledger --help"),
    (["create"], "usage", 2, "sora-ledger create --help"),
    (["show", "nobody"], "job_not_found", 2, "sora-ledger jobs"),
    (["create", "--prompt", "a fox", "--seconds", "5", "--profile", "sandbox"], "bad_request", 2, None),
    (["jobs", "--ledger", "nowhere.db"], "ledger_unusable", 7, None),
    (["jobs", "--json", "--format", "text"], "usage", 2, "sora-ledger jobs --help"),
    (["--json"], "usage", 2, "sora-ledger --help"),
]
IDS = ["option", "command", "nothing", "name", "seconds", "ledger", "formats", "no command"]


@pytest.mark.parametrize(("command", "code", "exit_code", "following"), FAILING, ids=IDS)
def test_a_failure_is_one_document_on_stdout(
    sora: Sora, denied: str, command: list[str], code: str, exit_code: int, following: str | None
) -> None:
    ended = sora(*command)
    error = ended.document["error"]
    assert (ended.code, error["code"], error["exit_code"]) == (exit_code, code, exit_code)
    assert list(ended.document) == ["error"]
    assert following is None or following.split() in error["next"]
    assert error["message"]


@pytest.mark.parametrize(("command", "code", "exit_code", "following"), FAILING, ids=IDS)
def test_every_line_of_stderr_is_a_log_line(
    sora: Sora, denied: str, command: list[str], code: str, exit_code: int, following: str | None
) -> None:
    ended = sora(*command)
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert (lines[-1]["event"], lines[-1]["level"], lines[-1]["code"]) == ("command.failed", "error", code)
    assert lines[-1]["message"] == ended.document["error"]["message"]


@pytest.mark.parametrize(("command", "code", "exit_code", "following"), FAILING[:6], ids=IDS[:6])
def test_people_read_a_sentence(
    sora: Sora, denied: str, command: list[str], code: str, exit_code: int, following: str | None
) -> None:
    ended = sora(*command, "--format=text")
    assert (ended.code, ended.out) == (exit_code, "")
    assert "Error: " in ended.err
    assert not ended.err.startswith("{")


def test_notes_are_log_lines_too(sora: Sora, denied: str, folder: Path) -> None:
    ended = sora("prove", "1", "--out", "proof")
    assert [json.loads(line)["event"] for line in ended.err.splitlines()] == ["trace.started", "note"]


def test_a_command_that_has_its_document_adds_no_second_one(sora: Sora, denied: str) -> None:
    ended = sora("poll", denied)
    assert (ended.code, ended.document["job_id"]) == (3, denied)


def test_what_was_interrupted_is_a_document(sora: Sora, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.invocation.open_ledger", interrupt)
    ended = sora("jobs")
    assert (ended.code, ended.document["error"]["code"]) == (130, "interrupted")


def test_a_defect_is_a_document_with_the_traceback_in_the_log(
    sora: Sora, denied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(Ledger, "jobs", fail)
    ended = sora("jobs")
    error = ended.document["error"]
    assert (ended.code, error["code"]) == (1, "internal")
    assert "ZeroDivisionError: of the test" in error["message"]
    assert "test_failing.py" in json.loads(ended.err.splitlines()[-1])["traceback"]


def test_a_defect_is_a_traceback_where_people_read(
    folder: Path, denied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Ledger, "jobs", fail)
    with pytest.raises(ZeroDivisionError):
        run(["jobs", "--format=text"])


def test_a_list_that_breaks_off_is_a_whole_document_with_the_error_in_it(
    sora: Sora, denied: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    there = len(sora("log").document["records"])
    with sqlite3.connect(folder / "ledger.db") as db:
        for name in _triggers(db):
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE events SET record = x'ff' WHERE position = 4")
    monkeypatch.setattr("ledger.log.ledger._CHUNK", 2)
    ended = sora("log", "--json-out", "log.json")
    document = ended.document
    assert (ended.code, document["error"]["code"]) == (7, "ledger_unusable")
    assert 0 < len(document["records"]) < there
    assert not (folder / "log.json").exists()


def test_csv_gets_no_document_where_it_fails(sora: Sora, denied: str) -> None:
    ended = sora("log", "--csv", "--bogus")
    assert (ended.code, ended.out, "Error: " in ended.err) == (2, "", True)


def test_a_script_for_a_shell_gets_no_document_where_it_fails(as_process: Sora) -> None:
    ended = as_process("completion", "tcsh")
    assert (ended.code, ended.out) == (2, "")


def test_help_without_arguments_stays_help() -> None:
    ended = subprocess.run([sys.executable, "-m", "cli"], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, "Core commands:" in ended.stderr) == (2, "", True)


def test_nothing_is_printed_past_the_one_place() -> None:
    """`demo` prints its own words and has the text of a program; `announce` prints a trace id.

    `start` prints before the one place is imported.
    """
    allowed = {"__init__.py", "output.py", "demo.py", "stage.py", "scenes.py", "invocation.py"}
    prints = re.compile(r"click\.s?echo\(|(?<![\w.])print\(|std(out|err)\.write|Console\(")
    root = Path(cli.__file__).parent
    found = {path.name for path in root.rglob("*.py") if prints.search(path.read_text(encoding="utf-8"))}
    assert found - allowed == {"console.py"}


def _triggers(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]


@pytest.mark.parametrize("command", [["jobs"], ["show"], ["jobs", "--format=text"]], ids=" ".join)
def test_a_stdout_that_is_full_is_reported(denied: str, command: list[str]) -> None:
    words = [*command, denied] if command == ["show"] else command
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "cli", *words], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    assert "stdout cannot be written (No space left on device)" in ended.stderr


@pytest.mark.parametrize("words", [["create"], ["jobs"]])
def test_a_missing_value_points_at_the_help_of_its_command(words: list[str]) -> None:
    option = {"create": "--prompt", "jobs": "--limit"}[words[0]]
    command = [sys.executable, "-m", "cli", *words, "--json", option]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert json.loads(ended.stdout)["error"]["next"] == [["sora-ledger", words[0], "--help"]]


@pytest.mark.parametrize(
    ("command", "kind", "param"),
    [
        (("create", "--prompt", "a fox", "--seconds", "5"), "bad_request", "seconds"),
        (("poll", "--id", "job_1", "--timeout", "-1"), "usage", "--timeout"),
        (("create", "--promt", "a fox"), "usage", "--promt"),
        (("policy", "check"), "usage", "file"),
    ],
)
def test_an_error_names_its_kind_and_the_option_that_is_wrong(
    sora: Sora, command: tuple[str, ...], kind: str, param: str | None
) -> None:
    error = sora(*command, "--json").document["error"]
    assert (error["code"], error["param"], error["retry"]) == (kind, param, "never")


def test_a_value_that_is_not_offered_names_the_command_with_one_that_is(sora: Sora) -> None:
    words = ["create", "--prompt", "a fox runs", "--profile", "sandbox"]
    error = sora(*words, "--seconds", "5").document["error"]
    assert (error["param"], error["found"], error["expected"]) == ("seconds", "5", "4, 8, 12, 16, 20")
    assert error["next"][0] == ["sora-ledger", *words, "--seconds", "4"]
    assert sora(*error["next"][0][1:]).code == 0


def test_a_request_that_did_not_go_out_says_that_the_same_key_is_safe(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    failed = json.loads(sora("create", "--prompt", "a fox runs", "--request-key", "k").err.splitlines()[-1])
    assert (failed["event"], failed["code"], failed["retry"]) == ("command.failed", "job_absent", "same_key")
