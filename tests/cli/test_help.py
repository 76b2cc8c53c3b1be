"""Help is there for somebody who has never seen the command."""

import shlex
from collections import Counter
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
import pytest

from cli import commands
from cli.main import COMMANDS, SECTIONS, SHORT_HELP_CHARACTERS, cli


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_an_example_of_itself(sora: Any, name: str) -> None:
    told = sora(name, "--help").out
    assert f"Example:\n    sora-ledger {name}" in told


def test_no_example_is_wider_than_a_terminal() -> None:
    helps = (cleandoc(command(name).help or "") for name in COMMANDS)
    examples = [
        f"  {line}" for told in helps for line in told.splitlines() if line.startswith("  sora-ledger")
    ]
    assert [example for example in examples if len(example) > 80] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    silent = [
        option.name for option in command(name).params if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_string_is_declared_twice(name: str) -> None:
    declared = Counter(text for each in command(name).params for text in (*each.opts, *each.secondary_opts))
    assert [text for text, times in declared.items() if times > 1] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_parameters_share_a_name(name: str) -> None:
    names = Counter(each.name for each in command(name).params)
    assert [each for each, times in names.items() if times > 1] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_text_is_a_line_of_the_prompt_and_never_an_output_format(name: str) -> None:
    assert {each.name for each in command(name).params if "--text" in each.opts} <= {"field_text"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_no_name_of_a_type_of_click(sora: Any, name: str) -> None:
    told = sora(name, "--help").out
    assert [
        word for word in ("INTEGER", "FLOAT", "FILENAME", "PATH", "DIRECTORY") if f" {word}" in told
    ] == []


def test_every_command_stands_once_on_a_line_of_its_own_under_a_heading(sora: Any) -> None:
    told = sora("--help").out.partition("Exit codes")[0]
    listed = [line.split()[0] for line in told.splitlines() if line[2:].startswith(COMMANDS)]
    headings = [heading for heading in SECTIONS if f"\n{heading}:\n" in told]
    assert (listed, headings) == (list(COMMANDS), list(SECTIONS))


def test_every_command_has_a_file_and_every_file_is_listed() -> None:
    files = {file.stem.replace("_", "-") for file in Path(commands.__path__[0]).glob("[!_]*.py")}
    assert sorted(COMMANDS) == sorted(files)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_fits_on_its_line(name: str) -> None:
    told = command(name).get_short_help_str(SHORT_HELP_CHARACTERS)
    assert len(told) <= SHORT_HELP_CHARACTERS
    assert not told.endswith("...")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in {"sandbox", "demo", "completion"}])
def test_what_prints_data_can_print_json(name: str) -> None:
    names = {option.name for option in command(name).params}
    assert {"as_json", "json_out"} <= names


@pytest.mark.parametrize(
    "name", ["create", "create-and-poll", "remix", "poll", "status", "download", "delete", "list"]
)
def test_what_calls_can_be_tried_dry(name: str) -> None:
    assert "dry_run" in {option.name for option in command(name).params}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_are_understood(sora: Any, name: str, folder: Path) -> None:
    (folder / "shot.txt").write_text("a fox")
    (folder / "prompts.jsonl").write_text("a fox")
    lines = [line.strip() for line in sora(name, "--help").out.splitlines()]
    for example in (line for line in lines if line.startswith("sora-ledger ")):
        with command(name).make_context(name, shlex.split(example)[2:]) as understood:
            assert understood.params
