"""``create-batch`` on the command line: everything checked first, one document out, the worst code of all."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from cli.exit_codes import WORST_FIRST, ExitCode, choose_worst
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora, Terminal
from tests.conftest import Clock

OF_THE_SEED = """
{"prompt":"A neon-lit rainy alley, slow dolly-in","seconds":"4"}
{"prompt":"A warm sunrise over a misty lake, gentle pan","seconds":"8",
 "fields":{"camera":"35mm, slow pan","lighting":"soft dawn light"}}
"""
BATCH = ["create-batch", "--input", "prompts.jsonl", "--out-dir", "out"]


@pytest.fixture
def prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text(OF_THE_SEED)
    return path


def creates(running: SandboxServer) -> int:
    return int(httpx2.get(f"{running.origin}/_sandbox/requests").json().get("creates", 0))


def test_the_example_of_the_seed_works(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path, folder: Path
) -> None:
    server()
    ended = sora(*BATCH, "--concurrency", "3")
    assert (ended.code, ended.document["counts"]) == (0, {"entries": 2, "running": 2})
    assert [job["seconds"] for job in ended.document["jobs"]] == ["4", "8"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "001-a-neon-lit-rainy-alley-slow-dolly-in.json",
        "002-a-warm-sunrise-over-a-misty-lake-gentle.json",
    ]


def test_a_file_in_the_folder_is_the_jobs_document(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path, folder: Path
) -> None:
    server()
    [job, _] = sora(*BATCH).document["jobs"]
    written = json.loads((folder / job["out"]).read_text())
    assert written == {name: job[name] for name in written}


def test_every_missing_detail_is_reported_with_its_line_and_nothing_is_sent(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    running = server()
    prompts.write_text('a {product} on slate\na fox\n{"prompt": "make it nice"}\n')
    ended = sora(*BATCH)
    assert (ended.code, creates(running)) == (2, 0)
    assert "line 1: the prompt still has {product} in it: what goes there?" in ended.error
    assert "line 3: the prompt names nothing to show: who or what is in the clip?" in ended.error


def test_advice_is_reported_once_with_the_lines_it_is_for(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    fox = "a fox; the camera pans left, then cranes up"
    prompts.write_text(f"{fox}\n# nothing\n{fox}\n")
    ended = sora(*BATCH)
    advice = [line for line in ended.log if line["event"] == "prompt.advice"]
    assert [(line["code"], line["lines"]) for line in advice] == [("SEVERAL_CAMERA_MOVES", [1, 3])]


def test_attempts_in_vain_are_reported(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    assert (
        "--max-attempts has no effect here: the profile custom" in sora(*BATCH, "--max-attempts", "5").error
    )


def test_download_settles_the_batch_and_names_the_files(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path, folder: Path
) -> None:
    server()
    prompts.write_text("a fox")
    ended = sora(*BATCH, "--download", "--poll-interval", "0.05")
    assert (ended.code, ended.document["counts"]) == (0, {"entries": 1, "stored": 1})
    assert ended.document["jobs"][0]["files"] == ["out/001-a-fox.mp4"]
    assert (folder / "out/001-a-fox.mp4").is_file()


def test_every_bad_entry_is_listed_before_anything_is_sent(
    sora: Sora,
    server: Callable[..., SandboxServer],
    prompts: Path,
    folder: Path,
    picture: Callable[..., bytes],
) -> None:
    running = server()
    (folder / "small.png").write_bytes(picture((100, 100)))
    prompts.write_text(
        'a fox\n{"promt": "x"}\n{"prompt": "x", "size": "640x480"}\n{"prompt": "x", "seconds": 5}\n'
        '{"prompt": "x", "input_reference": "small.png"}\n{"prompt": "x", "input_reference": "no.png"}\n{'
    )
    ended = sora(*BATCH)
    assert (ended.code, ended.data, creates(running)) == (2, "", 0)
    assert "6 entries cannot be used, so nothing was sent" in ended.error
    assert re.findall(r"^ +line (\d+):", ended.error, re.MULTILINE) == ["2", "3", "4", "5", "6", "7"]
    assert "did you mean 'prompt'?" in ended.error
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out-dir", "prompts.jsonl"], "prompts.jsonl is a file; name a folder"),
        (["--out-dir", "prompts.jsonl/in"], "prompts.jsonl is a file; name a folder"),
        (["--input", "no.jsonl"], "no.jsonl: cannot be read .*check the path"),
        (["--concurrency", "0"], "0 is not in the range"),
        (["--max-attempts", "0"], "0 is not in the range"),
        (["--model", "sora-3"], "line 2: .*did you mean sora-2"),
        (["--purpose", "fun"], "purpose fun is unknown"),
    ],
)
def test_bad_input_is_reported_and_begins_nothing(
    sora: Sora, prompts: Path, folder: Path, arguments: list[str], message: str
) -> None:
    ended = sora(*BATCH, *arguments, "--profile", "sandbox")
    assert (ended.code, ended.data, (folder / "ledger.db").exists()) == (2, "", False)
    assert re.search(message, ended.error)


def test_bytes_that_are_no_text_are_reported(sora: Sora, prompts: Path) -> None:
    prompts.write_bytes(b"\xff\xfe\x00")
    ended = sora(*BATCH)
    assert (ended.code, "prompts.jsonl: expected UTF-8 text" in ended.error) == (2, True)


def test_a_file_without_entries_says_what_one_is(sora: Sora, prompts: Path) -> None:
    prompts.write_text("# nothing yet\n\n")
    ended = sora(*BATCH)
    assert (ended.code, "it contains no entries; each line is" in ended.error) == (2, True)


def test_files_that_are_there_are_replaced_only_with_force(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path, folder: Path
) -> None:
    server()
    prompts.write_text("a fox")
    (folder / "out").mkdir()
    (folder / "out" / "001-a-fox.json").write_text("mine")
    ended = sora(*BATCH)
    assert (ended.code, "001-a-fox.json already exists; continue" in ended.error) == (2, True)
    assert sora(*BATCH, "--force").code == 0


def test_a_second_run_is_refused_and_resume_sends_nothing_twice(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    running = server()
    sora(*BATCH)
    refused = sora(*BATCH, "--force")
    assert (refused.code, "continue it with --resume" in refused.error) == (2, True)
    resumed = sora(*BATCH, "--resume")
    assert (resumed.code, [job["repeated"] for job in resumed.document["jobs"]]) == (0, [True, True])
    assert creates(running) == 2


def test_a_denied_entry_is_listed_and_the_others_go_on(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    prompts.write_text('a fox\n{"prompt": "an owl", "size": "1792x1024", "model": "sora-2"}')
    ended = sora(*BATCH)
    assert (ended.code, ended.document["counts"]) == (3, {"entries": 2, "denied": 1, "running": 1})
    assert re.search(r"^Error: line 2: job_\w+ is denied: .*1792x1024", ended.error, re.MULTILINE)
    assert ended.document["jobs"][1]["trouble"] in ended.error


def test_a_failed_render_ends_with_its_code(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    prompts.write_text("a [fail] fox\nan owl")
    ended = sora(*BATCH, "--poll", "--poll-interval", "0.05")
    assert (ended.code, ended.document["counts"]) == (4, {"entries": 2, "stored": 1, "failed": 1})


def test_a_batch_that_is_not_done_in_time_says_so_and_resume_goes_on(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path, clock: Clock
) -> None:
    server(render_seconds=60)
    waited = ["--poll", "--poll-interval", "0.05", "--timeout", "0"]
    ended = sora(*BATCH, *waited)
    assert (ended.code, "was not done within 0 s" in ended.error) == (5, True)
    clock.now += 60
    assert sora(*BATCH, "--resume", *waited).document["counts"] == {"entries": 2, "stored": 2}


def test_fail_fast_leaves_the_rest_for_resume(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "openai")  # whose 429 is known to have created nothing
    prompts.write_text("a fox\nan owl\na hare")
    running = server(faults=("create=429:1",))
    ended = sora(*BATCH, "--fail-fast", "--concurrency", "1", "--max-attempts", "1")
    assert (ended.code, ended.document["counts"]) == (8, {"entries": 3, "decided": 2, "rejected": 1})
    assert "not sent, because another failed (--fail-fast); --resume continues" in ended.error
    assert "--resume tries again" in ended.error
    assert sora(*BATCH, "--resume").document["counts"] == {"entries": 3, "running": 3}
    assert creates(running) == 3


def test_a_dry_run_shows_every_decision_and_makes_nothing(sora: Sora, prompts: Path, folder: Path) -> None:
    prompts.write_text('a fox\n{"prompt": "an owl", "size": "1792x1024", "model": "sora-2"}')
    ended = sora(*BATCH, "--dry-run", "--profile", "sandbox")
    assert (ended.code, ended.document["counts"]) == (3, {"entries": 2, "allowed": 1, "denied": 1, "held": 0})
    assert ended.document["jobs"][0]["request"]["method"] == "POST"
    assert sorted(path.name for path in folder.iterdir()) == ["prompts.jsonl"]


def test_options_say_what_entries_leave_open(sora: Sora, prompts: Path) -> None:
    options = ["--size", "720x1280", "--seconds", "12", "--purpose", "concept", "--no-augment"]
    prompts.write_text('a fox\n{"prompt": "an owl", "seconds": 8}')
    jobs = sora(*BATCH, "--dry-run", "--profile", "sandbox", *options).document["jobs"]
    sent = [job["request"]["body"] for job in jobs]
    assert [(body["size"], body["seconds"]) for body in sent] == [("720x1280", "12"), ("720x1280", "8")]


def test_a_terminal_shows_a_table_that_lives_and_one_that_stays(
    sora: Sora,
    server: Callable[..., SandboxServer],
    prompts: Path,
    terminal: Callable[..., tuple[Terminal, Terminal]],
) -> None:
    from cli.main import run  # noqa: PLC0415

    server()
    out, err = terminal()
    assert run([*BATCH, "--poll", "--poll-interval", "0.05"]) == 0
    assert re.search(r"line +state +job +USD +file", out.getvalue())
    assert "2 entries: 2 stored; done" in err.getvalue()


def test_a_batch_that_goes_on_says_how(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    assert "next: a worker submits them" in sora(*BATCH, "--queue", "--format=text").out
    assert "next: the same command with --resume --poll" in sora(*BATCH, "--resume", "--format=text").out


def test_the_worst_code_is_what_needs_a_person_soonest() -> None:
    assert choose_worst([ExitCode.DENIED, ExitCode.UNKNOWN, ExitCode.DONE]) is ExitCode.UNKNOWN
    assert choose_worst([]) is ExitCode.DONE
    assert len(set(WORST_FIRST)) == len(WORST_FIRST)


def test_a_batch_that_no_server_can_be_reached_for_records_nothing(
    sora: Sora, prompts: Path, folder: Path
) -> None:
    prompts.write_text("a fox")
    ended = sora(*BATCH, "--profile", "custom")
    assert (ended.code, "set OPENAI_BASE_URL" in ended.error) == (2, True)
    assert not (folder / "out").exists()
    assert sora("log", "--type", "render.requested").document["records"] == []
