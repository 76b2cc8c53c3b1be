"""docs/parity.md names commands, flags and tests that there are, and leaves out no flag of a seed."""

import re
from pathlib import Path

import click
import pytest

import render_service
from cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]
SEEDS = Path(__file__).parent / "seeds"
ROWS = [
    tuple(cell.strip() for cell in line.strip("| ").split(" | "))
    for line in (ROOT / "docs" / "parity.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| there")
]
QUOTED = re.compile(r"`([^`]+)`")
NO_FLAGS_OF_THEIRS = {"--with", "--show-toplevel"}  # of uv and git


def flags_of(name: str) -> set[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def is_there(words: str) -> bool:
    """Say whether a command with its flags, a helper, a setting or a command of make exists."""
    first, *flags = words.split()
    if first.startswith(("RenderDesk.", "SyncRenderDesk.")):
        name, _, helper = first.partition(".")
        return hasattr(getattr(render_service, name), helper)
    if first in COMMANDS:
        return {flag for flag in flags if flag.startswith("-")} <= flags_of(first)
    return first in {"-", ".env", "sora-ledger", "make"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_is_there(row: tuple[str, str, str]) -> None:
    _, here, _ = row
    assert [words for words in QUOTED.findall(here) if not is_there(words)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_is_shown_by_tests_that_are_there(row: tuple[str, str, str]) -> None:
    tests = [test.split("::") for test in QUOTED.findall(row[2])]
    assert tests
    texts = [(name, (ROOT / "tests" / path).read_text(encoding="utf-8")) for path, name in tests]
    assert [name for name, text in texts if f"def test_{name}(" not in text] == []


@pytest.mark.parametrize("seed", ["000", "004"])
def test_every_flag_of_a_seed_is_in_a_row(seed: str) -> None:
    text = (SEEDS / f"{seed}.txt").read_text(encoding="utf-8")
    flags = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", text)) - NO_FLAGS_OF_THEIRS
    named = {words for row in ROWS for words in QUOTED.findall(row[0])}
    assert flags - named - {"-rf", "-f", "-p"} == set()


def test_every_command_of_the_skill_is_in_a_row() -> None:
    text = (SEEDS / "000.txt").read_text(encoding="utf-8")
    named = {words for row in ROWS for words in QUOTED.findall(row[0])}
    assert set(re.findall(r'SORA_CLI" ([a-z-]+)', text)) <= named
