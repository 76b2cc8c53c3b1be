"""A shell completes commands and options, as its completion script asks for them."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

ROOT = Path(__file__).parents[2]


def completed(words: str, folder: Path) -> list[str]:
    """Return what is offered for the last of `words`, asked as the bash script asks."""
    values = {"_SORA_LEDGER_COMPLETE": "bash_complete", "COMP_WORDS": words}
    values["COMP_CWORD"] = str(words.count(" "))
    environment = os.environ | values | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "cli"], check=True, capture_output=True, text=True, env=environment, cwd=folder
    )
    return [line.partition(",")[2] for line in ran.stdout.splitlines()]


def test_commands_are_completed(folder: Path) -> None:
    assert {"create", "create-and-poll"} <= set(completed("sora-ledger cre", folder))


def test_options_are_completed(folder: Path) -> None:
    assert completed("sora-ledger jobs --tre", folder) == ["--tree"]


def test_values_of_an_option_are_completed(folder: Path) -> None:
    assert completed("sora-ledger jobs --status comp", folder) == ["completed"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("create --model au", ["auto"]),
        ("create --purpose cin", ["cinematic"]),
        ("create --profile sgl", ["sglang"]),
        ("create --size 1920", ["1920x1080"]),
        ("download --variant thu", ["thumbnail"]),
        ("jobs --model au", ["auto"]),
        ("create --fit cov", ["cover"]),
        ("remix --declare-change lig", ["lighting"]),
        ("config set purp", ["purpose"]),
        ("config set profile sgl", ["sglang"]),
    ],
)
def test_words_of_an_option_are_completed(folder: Path, words: str, offered: list[str]) -> None:
    assert completed(f"sora-ledger {words}", folder) == offered


def test_jobs_are_completed_by_handle_id_or_how_far_back(denied: str, folder: Path) -> None:
    assert completed("sora-ledger show ", folder) == [denied[-8:]]
    assert completed(f"sora-ledger show {denied[-8:-4]}", folder) == [denied[-8:]]
    assert completed(f"sora-ledger show {denied[:12]}", folder) == [denied]
    assert completed("sora-ledger show j", folder) == [denied]
    assert "@last" in completed("sora-ledger poll @", folder)


def test_a_job_is_completed_by_the_id_of_its_video(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    video = sora("create-and-poll", "--prompt", "a fox").document["final"]["id"]
    assert completed("sora-ledger show vid", folder) == [video]


def test_no_ledger_completes_no_job(folder: Path) -> None:
    assert not any(completed("sora-ledger show ", folder))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(sora: Sora, shell: str) -> None:
    ended = sora("completion", shell)
    assert (ended.code, f"_SORA_LEDGER_COMPLETE={shell}_complete" in ended.out) == (0, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_help_says_how_to_install_it(sora: Sora, shell: str) -> None:
    assert f"sora-ledger completion {shell} >" in sora("completion", "--help").out


def test_another_shell_is_refused_with_the_ones_there_are(sora: Sora) -> None:
    ended = sora("completion", "tcsh")
    assert (ended.code, "'bash', 'zsh', 'fish'" in ended.error) == (2, True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "words", "offered"),
    [
        ("sora-ledger temp", "sora-ledger temp", "templates"),
        ("sora-ledger create --purpose=fi", "sora-ledger create --purpose = fi", "final"),
        ("sora-ledger show @l", "sora-ledger show @ l", "@last"),
        ('sora-ledger create "a fox" --purpose fi', "sora-ledger create '\"a fox\"' --purpose fi", "final"),
    ],
)
def test_bash_takes_the_script_and_completes_words_that_it_splits(
    sora: Sora, folder: Path, denied: str, line: str, words: str, offered: str
) -> None:
    (folder / "complete.bash").write_text(sora("completion", "bash").out)
    program = folder / "sora-ledger"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
    program.chmod(0o755)
    lines = [
        ". ./complete.bash",
        f"COMP_WORDS=({words}); COMP_LINE={shlex.quote(line)}; COMP_CWORD=$((${{#COMP_WORDS[@]}}-1))",
        "_sora_ledger_completion ./sora-ledger",
        'echo "${COMPREPLY[@]}"',
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert ran.stdout.split() == [offered]
