"""The sandbox's flags: what is refused before it serves, and what it does when it is told to."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.commands.sandbox import sandbox_command
from sora_adapter.sandbox.emulators import NAMES
from tests.cli.conftest import Sora
from tests.forks import Forks


@pytest.fixture
def serving(folder: Path, forks: Forks) -> Iterator[Callable[..., str]]:
    """Start the command on a free port; return its base URL."""
    with ExitStack() as stack:

        def start(*flags: str) -> str:
            return str(stack.enter_context(_served(forks, folder, flags)))

        yield start


@contextmanager
def _served(forks: Forks, folder: Path, flags: tuple[str, ...]) -> Iterator[str]:
    ran = forks.popen(["sandbox", "--port", "0", "--media", "cached", *flags], folder, os.environ)
    assert ran.stdout
    try:
        yield ran.stdout.readline().partition("=")[2].strip()
    finally:
        ran.send_signal(signal.SIGINT)
        ran.communicate(timeout=120)
    assert ran.returncode == 0


def ask(base_url: str, **body: Any) -> httpx2.Response:
    headers = {"authorization": "Bearer any"}
    values = {"prompt": "a fox", "model": "sora-2", "size": "1280x720", "seconds": "4"} | body
    return httpx2.post(f"{base_url}/videos", json=values, headers=headers, timeout=30)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--fault", "everything"],
            "'everything' is not a fault; expected one like create=kept-but-answer-lost:1",
        ),
        (["--fault", "make=lost"], "unknown operation make (known: create"),
        (["--fault", "create=late@2"], "create has no fault late (known: none, lost"),
        (["--fault", "create=slow"], "slow needs a number, as in create=slow@2"),
        (["--fault", "create=refused@bad_mood"], "refused needs a code (known: invalid_api_key"),
        (["--profile", "runway"], "the sandbox cannot imitate 'runway' (known: litellm, vllm-omni"),
        (["--requests-per-minute", "0"], "0 is not in the range"),
        (["--running-jobs", "none"], "'none' is not a valid integer"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_refused(
    sora: Sora, folder: Path, flags: list[str], message: str
) -> None:
    ended = sora("sandbox", *flags)
    assert (ended.code, message in ended.error) == (2, True)
    assert list(folder.iterdir()) == []


def test_a_bad_fault_is_refused_with_the_grammar(sora: Sora) -> None:
    assert "A fault is OPERATION=FAULT[@DETAIL][:TIMES], such as" in sora("sandbox", "--fault", "x").error


def test_the_help_names_every_server_it_imitates() -> None:
    helped = {option.name: getattr(option, "help", "") for option in sandbox_command.params}
    named = re.findall(r"[a-z-]+", helped["imitates"].partition("server:")[2])
    assert set(named) == set(NAMES)


def test_faults_and_limits_are_kept(serving: Callable[..., str]) -> None:
    base_url = serving("--fault", "create=503:1", "--fault", "create=429@7:1", "--requests-per-minute", "1")
    answers = [ask(base_url) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 429, 200, 429]
    assert answers[1].headers["retry-after"] == "7"


def test_it_imitates_lets_run_and_permits_what_it_is_told(serving: Callable[..., str]) -> None:
    base_url = serving("--profile", "sglang", "--running-jobs", "1", "--permissive", "--render-seconds", "60")
    assert [ask(base_url, model="m", seconds=4).status_code for _ in range(2)] == [200, 429]
