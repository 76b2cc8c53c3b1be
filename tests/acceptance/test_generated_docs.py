"""What is generated for the documentation is what its generator makes today."""

from pathlib import Path

import click
import pytest

from cli.main import cli
from tools import commands, picture, skill

ROOT = Path(__file__).parents[2]


def names_of(group: click.Group) -> set[str]:
    """Return the names of a group's commands and of their subcommands, as they are typed."""
    context = click.Context(group)
    names = set()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if not command.hidden:
            names.add(name)
        if isinstance(command, click.Group):
            names |= {f"{name} {inner}" for inner in names_of(command)}
    return names


def test_the_tables_of_commands_are_up_to_date() -> None:
    page = commands.PAGE.read_text(encoding="utf-8")
    assert page == commands.updated(page), "docs/commands.md is stale: run make commands"


@pytest.mark.parametrize("page", skill.pages(), ids=lambda page: page.name)
def test_the_generated_parts_of_the_skill_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == skill.updated(text), f"{page.name} is stale: run make commands"


def test_the_tables_list_every_command_and_subcommand() -> None:
    shown = commands.tables()
    assert {name for name in names_of(cli) if f"`{name}`" not in shown and f"`{name} " not in shown} == set()


def test_a_subcommand_is_listed_under_its_group_with_its_arguments() -> None:
    @click.group(short_help="Limit spending.")
    def budget() -> None: ...

    @budget.command(name="set", short_help="Set a limit.")
    @click.argument("name")
    def budget_set(name: str) -> None: ...

    top = click.Group("top", {"budget": budget})
    rows = commands.rows_of(top, click.Context(top, info_name=""), "budget", "Limit spending.")
    assert [(words.strip(), text) for words, text in rows] == [
        ("budget", "Limit spending."),
        ("budget set NAME", "Set a limit."),
    ]


def test_the_picture_shows_what_the_commands_of_the_readme_print() -> None:
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.draw(), "stale: run make picture"
