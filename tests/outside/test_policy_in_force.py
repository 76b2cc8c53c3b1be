"""A program that runs for long decides by the policy in force, also after another process activated one."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.outside.conftest import PACKAGED, Outside, Person

STRICT = '\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'
PROGRAM = """
import sys
from render_service import NotSubmitted, SyncRenderDesk

with SyncRenderDesk() as desk:
    for line in sys.stdin:
        try:
            job = desk.create("a fox runs", augment=False, purpose=line.strip())
        except NotSubmitted as refused:
            job = refused.job
        print(job.state, flush=True)
"""


@pytest.fixture
def long_running(
    person: Person, outside: Callable[..., Outside]
) -> Iterator[tuple[Outside, Person, subprocess.Popen[str]]]:
    """A server, a person at a terminal, and a program with an open desk that renders once for each line."""
    server = outside()
    someone = person.at(server)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=someone.folder,
        env=someone.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            yield server, someone, program
        finally:
            program.kill()


def ask(program: Any, purpose: str) -> str:
    program.stdin.write(f"{purpose}\n")
    program.stdin.flush()
    return str(program.stdout.readline().strip())


def activate(someone: Any, name: str, rules: str) -> None:
    text = PACKAGED.replace('name = "default"', f'name = "{name}"', 1) + rules
    (someone.folder / f"{name}.toml").write_text(text)
    assert someone("policy", "activate", f"{name}.toml", "--reason", "agreed").code == 0


def test_a_program_that_runs_decides_by_the_policy_that_another_process_activated(
    long_running: tuple[Any, Any, Any],
) -> None:
    server, someone, program = long_running
    assert (ask(program, "final"), len(server.bills())) == ("running", 1)
    activate(someone, "strict", STRICT)
    assert (ask(program, "final"), len(server.bills())) == ("held", 1)
    assert (ask(program, "draft"), len(server.bills())) == ("running", 2)
    activate(someone, "lax", "")
    assert (ask(program, "final"), len(server.bills())) == ("running", 3)
    verified = someone("verify")
    assert (verified.code, verified.document["findings"]) == (0, [])
