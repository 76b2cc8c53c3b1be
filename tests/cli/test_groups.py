"""Groups of subcommands, and the former spellings that still work for one version."""

from pathlib import Path

import click
import pytest

from cli.main import COMMANDS, cli
from cli.options.command import Renamed
from tests.cli.conftest import Sora

GROUPS = {
    "assets": ["list", "check", "observe", "gc", "claim"],
    "budget": ["set", "list"],
    "key": ["new", "certificate", "show"],
    "policy": ["show", "check", "activate", "list", "diff"],
    "webhook": ["register", "list", "test", "rotate", "delete"],
}


def renamed_options() -> list[tuple[str, click.Command, Renamed]]:
    """Return every renamed option with its command."""
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in COMMANDS}
    for name in GROUPS:
        group = commands.pop(name)
        assert isinstance(group, click.Group)
        commands |= {f"{name} {inner}": command for inner, command in group.commands.items()}
    return [
        (name, command, option)
        for name, command in commands.items()
        if command is not None
        for option in command.params
        if isinstance(option, Renamed)
    ]


@pytest.mark.parametrize("group", GROUPS)
def test_the_help_of_a_group_lists_its_commands(sora: Sora, group: str) -> None:
    listed = sora(group, "--help").out.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line] == GROUPS[group]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("words", [(), ("lst",)])
def test_an_error_in_a_group_names_its_commands(sora: Sora, group: str, words: tuple[str, ...]) -> None:
    ended = sora(group, *words)
    assert (ended.code, ", ".join(GROUPS[group]) in ended.error) == (2, True)
    assert ended.document["error"]["next"] == [["sora-ledger", group, "--help"]]


def test_options_may_precede_the_subcommand(sora: Sora) -> None:
    ended = sora("budget", "--limit", "5", "set", "all")
    assert (ended.code, ended.document["budgets"][0]["limit_usd_micros"]) == (0, 5_000_000)


def test_an_option_of_one_subcommand_is_refused_on_another(sora: Sora) -> None:
    assert sora("budget", "set", "all", "--limit", "5", "--past").code == 2
    assert sora("assets", "list", "--quick").code == 2


@pytest.mark.parametrize(
    ("name", "command", "option"),
    renamed_options(),
    ids=[f"{name}-{option.name}" for name, _, option in renamed_options()],
)
def test_a_former_flag_is_understood_and_hidden(name: str, command: click.Command, option: Renamed) -> None:
    context = click.Context(command, info_name=name)
    shown = option.get_help_record(context)
    assert shown
    assert not any(old in shown[0].split() for old in option.old)
    for old in option.old:
        values, _, _ = command.make_parser(context).parse_args([old] if option.is_flag else [old, "x"])
        assert values[str(option.name)] in {True, "x"}


@pytest.fixture
def queued(sora: Sora) -> str:
    """Return a job that waits to be submitted."""
    made = sora("create", "--prompt", "a fox", "--profile", "sandbox", "--queue")
    return str(made.document["job_id"])


@pytest.mark.parametrize(
    "line",
    [
        ("cancel", "JOB", "--why", "no longer needed"),
        ("jobs", "--by", "ana", "--on", "sandbox"),
        ("log", "--by", "ana"),
        ("verify", "--assets"),
        ("policy", "activate", "team.toml", "--why", "agreed"),
        ("budget", "set", "all", "--limit", "5", "--why", "agreed"),
    ],
    ids=lambda line: " ".join(line[:2]),
)
def test_a_former_command_line_still_works(
    sora: Sora, queued: str, folder: Path, line: tuple[str, ...]
) -> None:
    packaged = sora("policy", "show", "--packaged", "policy").out
    (folder / "team.toml").write_text(packaged.replace('name = "default"', 'name = "team"'))
    assert sora(*(queued if word == "JOB" else word for word in line)).code == 0


def test_erase_takes_its_former_filter_alone(sora: Sora, queued: str) -> None:
    filters = ("--actor", "nobody", "--reason", "subject_request", "--dry-run")
    assert queued
    assert sora("erase", *filters).document["texts"] == 0
    ended = sora("erase", *filters, "--by-actor", "ana")
    assert (ended.code, "SORA_LEDGER_ACTOR" in ended.error) == (2, True)
