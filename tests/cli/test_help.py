"""Help explains every command to a first-time user."""

import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
import pytest

from cli import commands
from cli.main import COMMANDS, SECTIONS, SHORT_HELP, cli, module_of
from cli.options.command import SECTIONS as OPTION_SECTIONS
from cli.options.command import OfServers, RequestCommand
from tests.cli.conftest import Sora

WIDTH = 80


def command(words: str) -> click.Command:
    """Return the command that `words` call, such as ``budget set``."""
    found: click.Command = cli
    for word in words.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner
        found = inner
    return found


def with_subcommands(name: str) -> list[str]:
    """Return a command's name and, for a group, those of its subcommands."""
    called = command(name)
    inner = called.commands if isinstance(called, click.Group) else {}
    return [name, *(f"{name} {each}" for each in inner)]


NAMES = [words for name in COMMANDS for words in with_subcommands(name)]
LEAVES = [words for words in NAMES if not isinstance(command(words), click.Group)]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_shows_an_example_of_itself(sora: Sora, name: str) -> None:
    text = sora(*name.split(), "--help").out
    assert f"Example:\n    sora-ledger {name}" in text


@pytest.mark.parametrize("name", ["", *NAMES])
def test_a_help_page_fits_a_terminal_of_80_columns(sora: Sora, name: str) -> None:
    lines = sora(*name.split(), "--help").out.splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_option_says_what_it_is_for(name: str) -> None:
    silent = [
        option.name for option in command(name).params if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
def test_no_option_string_is_declared_twice(name: str) -> None:
    declared = Counter(text for each in command(name).params for text in (*each.opts, *each.secondary_opts))
    assert [text for text, times in declared.items() if times > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_two_parameters_share_a_name(name: str) -> None:
    names = Counter(each.name for each in command(name).params)
    assert [each for each, times in names.items() if times > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_text_is_a_line_of_the_prompt_and_never_an_output_format(name: str) -> None:
    assert {each.name for each in command(name).params if "--text" in each.opts} <= {"field_text"}


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_no_name_of_a_type_of_click(sora: Sora, name: str) -> None:
    text = sora(*name.split(), "--help").out
    assert [
        word for word in ("INTEGER", "FLOAT", "FILENAME", "PATH", "DIRECTORY") if f" {word}" in text
    ] == []


def test_every_command_is_listed_once_on_its_own_line_under_a_heading(sora: Sora) -> None:
    text = sora("--help").out.partition("Exit codes")[0]
    listed = [line.split()[0] for line in text.splitlines() if line[2:].startswith(COMMANDS)]
    headings = [heading for heading in SECTIONS if f"\n{heading}:\n" in text]
    assert (listed, headings) == (list(COMMANDS), list(SECTIONS))


def test_every_file_of_commands_is_named_by_the_table_and_every_named_file_exists() -> None:
    files = {file.stem for file in Path(commands.__path__[0]).glob("[!_]*.py")}
    assert {module_of(command) for command in COMMANDS} == files


def test_every_command_in_a_file_is_listed() -> None:
    texts = [file.read_text(encoding="utf-8") for file in Path(commands.__path__[0]).glob("*.py")]
    declaration = re.compile(r'^@click\.(?:command|group)\(\s*"([a-z0-9-]+)"', re.MULTILINE)
    assert sorted(name for text in texts for name in declaration.findall(text)) == sorted(COMMANDS)


def test_the_core_commands_come_first() -> None:
    assert {"create", "poll", "status", "jobs", "show", "download", "remix"} <= set(
        next(iter(SECTIONS.values()))
    )


def test_the_short_help_of_a_command_is_in_the_table_alone() -> None:
    declared = re.compile(r"^@click\.(?:command|group)\([^)]*short_help", re.MULTILINE)
    files = Path(commands.__path__[0]).glob("*.py")
    assert [file.name for file in files if declared.search(file.read_text(encoding="utf-8"))] == []
    assert command("create").short_help == SHORT_HELP["create"]


@pytest.mark.parametrize("name", [name for name in LEAVES if name not in {"sandbox", "demo", "completion"}])
def test_what_prints_data_can_print_json(name: str) -> None:
    names = {option.name for option in command(name).params}
    assert {"as_json", "json_out"} <= names


@pytest.mark.parametrize(
    "name", ["create", "create-and-poll", "remix", "poll", "status", "download", "delete", "list"]
)
def test_what_calls_can_be_tried_dry(name: str) -> None:
    assert "dry_run" in {option.name for option in command(name).params}


@pytest.mark.parametrize("name", LEAVES)
def test_the_examples_of_the_help_are_understood(sora: Sora, name: str, folder: Path) -> None:
    (folder / "shot.txt").write_text("a fox")
    (folder / "prompts.jsonl").write_text("a fox")
    lines = [line.strip() for line in sora(*name.split(), "--help").out.splitlines()]
    for example in (line for line in lines if line.startswith(f"sora-ledger {name} ")):
        words = shlex.split(example)[1 + len(name.split()) :]
        with command(name).make_context(name, words) as understood:
            assert understood.params


def test_the_list_of_commands_imports_no_command() -> None:
    code = (
        "import sys; from cli.main import run; run(['--help']); "
        "print(sorted(name for name in sys.modules if name.startswith('cli.commands')), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stderr.strip() == "[]"


SECTIONED = [name for name in LEAVES if isinstance(command(name), RequestCommand)]


def test_commands_that_request_a_render_show_their_options_in_sections() -> None:
    assert {"create", "create-and-poll", "remix", "edit", "extend"} <= set(SECTIONED)


@pytest.mark.parametrize("name", SECTIONED)
def test_every_option_of_a_request_has_its_section(name: str) -> None:
    placed = " ".join(OPTION_SECTIONS.values()).split()
    options = [option for option in command(name).params if isinstance(option, click.Option)]
    own = [option for option in options if not option.hidden and not isinstance(option, OfServers)]
    assert [option.name for option in own if not set(option.opts) & set(placed)] == []


def test_the_prompt_comes_first_in_the_help_of_create(sora: Sora) -> None:
    text = sora("create", "--help").out
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    wanted = ["Prompt:", "Shot:", "Image:", "Money:", "Waiting:", "Output:", "Advanced:"]
    assert (headings, text.partition("Prompt:\n")[2].split()[0]) == (wanted, "--prompt")
