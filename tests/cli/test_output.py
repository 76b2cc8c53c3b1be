"""stdout is data, stderr is everything else; text for people, JSON for programs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora, Terminal
from tests.conftest import Faults

DENIED = ["create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox"]
READING = [["jobs"], ["log"], ["verify"], ["replay"], ["show"], ["status"], ["replay", "--as-of", "1"]]
ESCAPE = "\x1b"


def on(job: str, command: list[str]) -> list[str]:
    return [*command, job] if command[0] in {"show", "status"} else command


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_piped_stdout_is_one_json_document(sora: Sora, denied: str, command: list[str]) -> None:
    assert isinstance(sora(*on(denied, command)).document, dict)


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_stderr_is_log_lines_of_json_with_the_trace(sora: Sora, denied: str, command: list[str]) -> None:
    [line] = sora(*on(denied, command)).log
    assert (line["event"], line["command"]) == ("trace.started", command[0])
    assert re.fullmatch("[0-9a-f]{32}", line["trace_id"])


def test_programs_read_utf_8_whatever_the_environment_says(
    as_process: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ended = as_process("policy", "show", "--format=text", encoding="utf-8")
    assert (ended.code, "…" in ended.out) == (0, True)


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_text_can_be_asked_for_without_a_terminal(sora: Sora, denied: str, command: list[str]) -> None:
    ended = sora(*on(denied, command), "--format=text")
    assert not ended.out.startswith("{")
    assert ESCAPE not in ended.out + ended.err


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_terminal_gets_text_and_the_trace(
    sora: Sora, denied: str, terminal: Callable[..., tuple[Terminal, Terminal]], command: list[str]
) -> None:
    out, err = terminal()
    sora(*on(denied, command))
    assert not out.getvalue().startswith("{")
    assert re.search("trace [0-9a-f]{32}", err.getvalue())


def test_a_terminal_gets_json_where_it_is_asked_for(
    sora: Sora, denied: str, terminal: Callable[..., tuple[Terminal, Terminal]]
) -> None:
    out, _ = terminal()
    sora("jobs", "--json")
    assert json.loads(out.getvalue())["jobs"][0]["job_id"] == denied


def test_verbose_logs_every_step_on_a_terminal(
    sora: Sora, terminal: Callable[..., tuple[Terminal, Terminal]]
) -> None:
    _, err = terminal()
    sora(*DENIED, "-v")
    assert "render.denied" in err.getvalue()


def test_a_quiet_terminal_logs_no_steps(
    sora: Sora, terminal: Callable[..., tuple[Terminal, Terminal]]
) -> None:
    _, err = terminal()
    sora(*DENIED)
    assert "render.requested" not in err.getvalue()


def test_no_progress_bar_where_nobody_looks(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    ended = sora("create-and-poll", "--prompt", "a fox", "--format=text")
    assert (ended.code, "━" in ended.err + ended.out) == (0, False)


@pytest.mark.parametrize(
    ("text", "written"), [("res", "res.json"), ("res.txt", "res.txt"), ("new/res", "new/res.json")]
)
def test_the_document_also_goes_into_a_file(
    sora: Sora, denied: str, folder: Path, text: str, written: str
) -> None:
    ended = sora("jobs", "--json-out", text)
    assert json.loads((folder / written).read_text(encoding="utf-8")) == ended.document


def test_a_file_that_cannot_be_written_is_reported_before_anything_is_spent(sora: Sora, folder: Path) -> None:
    (folder / "file").write_text("in the way")
    ended = sora(*DENIED, "--json-out", "file/res")
    assert (ended.code, (folder / "ledger.db").exists()) == (2, False)


def test_json_is_written_for_people_too(sora: Sora, denied: str, folder: Path) -> None:
    sora("jobs", "--format=text", "--json-out", "res")
    assert json.loads((folder / "res.json").read_text())["jobs"]


def test_letters_stay_readable_in_json(sora: Sora) -> None:
    sora("create", "--prompt", "ein Fuchs läuft 🦊", "--max-cost", "0", "--profile", "sandbox")
    assert "ein Fuchs läuft 🦊" in sora("log").out


def test_markup_in_a_prompt_is_shown_as_it_was_written(sora: Sora) -> None:
    sora("create", "--prompt", "[bold]a fox[/] [red]", "--max-cost", "0", "--profile", "sandbox")
    assert "[bold]a fox[/] [red]" in sora("log", "--format=text").out


@pytest.mark.parametrize("command", [["log"], ["show"]], ids=" ".join)
def test_a_prompt_cannot_command_the_terminal(sora: Sora, command: list[str]) -> None:
    prompt = "a fox\x1b]0;owned\x07 \x1b[2J"
    job = sora("create", "--prompt", prompt, "--max-cost", "0", "--profile", "sandbox").document["job_id"]
    ended = sora(*on(job, command), "--format=text")
    assert (ESCAPE in ended.out, "owned" in ended.out) == (False, True)


def test_a_server_cannot_command_the_terminal(sora: Sora, faulty: Faults) -> None:
    faulty.then(403, json.dumps({"error": {"message": "no \x1b[2J entry"}}).encode())
    ended = sora("list")
    assert (ended.code, ESCAPE in ended.err) == (8, False)


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Yield the end to write of a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_list_ends_without_an_error_once_its_reader_leaves(denied: str, folder: Path, form: str) -> None:
    command = [sys.executable, "-m", "cli", "log", f"--format={form}"]
    with closed_pipe() as writer:
        ended = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_request_is_recorded_and_ends_with_its_code_though_nobody_reads(
    sora: Sora, denied: str, folder: Path, form: str
) -> None:
    request = ("create", "a heron", "--max-cost", "0", "--profile", "sandbox", f"--format={form}")
    command = [sys.executable, "-m", "cli", *request]
    with closed_pipe() as writer:
        ended = subprocess.run(command, check=False, stdout=writer, stderr=writer)
    assert ended.returncode == ExitCode.DENIED
    assert sora("jobs").document["jobs"][0]["prompt"].endswith("a heron")


def test_the_api_shape_is_kept_in_a_jobs_document(sora: Sora, denied: str) -> None:
    document = sora("status", denied).document
    assert {"id", "object", "status", "progress", "model", "size", "seconds", "error"} <= set(document)
    assert (document["object"], document["seconds"]) == ("video", "4")


def test_create_and_poll_writes_the_bundle_of_create_and_final(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    ended = sora("create-and-poll", "--prompt", "a fox", "--out", "fox.mp4")
    assert (ended.document["create"]["status"], ended.document["final"]["status"]) == ("queued", "completed")
    assert ended.document["final"]["files"] == ["fox.mp4"]
    assert (folder / "fox.mp4").stat().st_size > 0


def test_files_are_named_after_the_video_where_no_name_is_given(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    final = sora("create-and-poll", "--prompt", "a fox").document["final"]
    files = sora("download", final["job_id"], "--variant", "all").document["files"]
    video = final["id"]
    assert files == [f"{video}.mp4", f"{video}.thumbnail.webp", f"{video}.spritesheet.jpg"]
    assert all((folder / name).is_file() for name in files)


def test_files_in_the_way_are_reported_before_any_is_written(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    final = sora("create-and-poll", "--prompt", "a fox").document["final"]
    (folder / f"{final['id']}.thumbnail.webp").write_text("mine")
    ended = sora("download", final["job_id"], "--variant", "all")
    assert (ended.code, "thumbnail.webp: it exists already" in ended.error) == (2, True)
    assert [path.name for path in folder.glob("video_*")] == [f"{final['id']}.thumbnail.webp"]


def test_a_job_that_ends_at_once_is_shown_once(sora: Sora) -> None:
    options = ("--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox", "--format=text")
    assert sora("create-and-poll", *options).out.count("state ") == 1


def test_repeating_a_request_key_is_reported(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    command = ["create", "--prompt", "a fox", "--request-key", "teaser"]
    first, again = sora(*command).document, sora(*command).document
    assert (first["repeated"], again["repeated"], again["job_id"]) == (False, True, first["job_id"])
