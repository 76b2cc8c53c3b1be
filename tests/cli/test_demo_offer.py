"""The demo offers to open its film where a person can answer at a screen, and nowhere else."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.forks import CODE, Forks

OFFER = "import sys; from cli.commands.demo import offer_film; offer_film(sys.argv[1])"
QUESTION = "Open it now?"
VIEWER = '#!/bin/sh\nprintf %s "$1" > "$OPENED"\n'


@pytest.fixture
def film(sora: Sora, server: Callable[..., SandboxServer]) -> str:
    """Return the id of a job with a stored video."""
    server()
    command = ("create-and-poll", "--prompt", "A fox runs", "--poll-interval", "0.05")
    return str(sora(*command).document["final"]["job_id"])


@pytest.fixture
def viewer(folder: Path) -> dict[str, str]:
    """Return the environment of a person at a screen; the viewer writes which file it was to open."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "xdg-open").write_text(VIEWER)
    (programs / "xdg-open").chmod(0o755)
    ours = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DISPLAY": ":0",
        "OPENED": str(folder / "opened"),
    }
    return {name: text for name, text in os.environ.items() if name != "CI"} | ours


def answer(forks: Forks, film: str, environment: dict[str, str], typed: bytes) -> tuple[int, str]:
    """Make the offer on a terminal where something was typed; return the exit code and what was shown."""
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    words = [OFFER, film]
    with forks.start([words], Path.cwd(), environment, theirs, theirs, stdin=theirs, program=CODE) as process:
        code = process.wait(60)
    os.write(theirs, b"end")
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"end"):
        shown += os.read(ours, 65_536)
    os.close(ours)
    return code, shown.decode()


def test_a_yes_opens_the_film(forks: Forks, film: str, viewer: dict[str, str], folder: Path) -> None:
    code, shown = answer(forks, film, viewer, b"\n")
    assert (code, QUESTION in shown) == (0, True)
    assert Path((folder / "opened").read_text()).suffix == ".mp4"


@pytest.mark.parametrize("typed", [b"n\n", b"\x04"], ids=["no", "the end of the input"])
def test_anything_else_opens_nothing(
    forks: Forks, film: str, viewer: dict[str, str], folder: Path, typed: bytes
) -> None:
    code, shown = answer(forks, film, viewer, typed)
    assert (code, QUESTION in shown, (folder / "opened").exists()) == (0, True, False)


@pytest.mark.parametrize("changed", [{"CI": "true"}, {"DISPLAY": "", "WAYLAND_DISPLAY": ""}], ids=str)
def test_nothing_is_asked_without_a_person_or_a_screen(
    forks: Forks, film: str, viewer: dict[str, str], folder: Path, changed: dict[str, str]
) -> None:
    code, shown = answer(forks, film, viewer | changed, b"\n")
    assert (code, QUESTION in shown, (folder / "opened").exists()) == (0, False, False)


def test_nothing_is_asked_where_stdout_is_no_terminal(film: str, viewer: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", OFFER, film], env=viewer, check=False, capture_output=True, text=True, input=""
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
