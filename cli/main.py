"""The group of commands. A command's module is imported when the command is called."""

import io
import sys
from importlib import import_module
from itertools import chain
from typing import Any, NoReturn, TextIO

import click

from cli.exit_codes import MEANINGS, ExitCode
from cli.text import output
from cli.text.failures import explain_error, unexpected, wants_json

SECTIONS = {
    "Begin": ("demo", "init", "doctor", "templates", "completion"),
    "Ask for renders": (
        "create",
        "create-and-poll",
        "create-batch",
        "image2video",
        "remix",
        "check-remix",
        "edit",
        "extend",
        "create-character",
        "character",
    ),
    "Follow and keep": (
        "poll",
        "status",
        "download",
        "review",
        "cancel",
        "give-up",
        "delete",
        "reconcile",
        "adopt",
        "list",
        "jobs",
    ),
    "Rules and money": (
        "decide",
        "whynot",
        "what-if",
        "approve",
        "reject",
        "resume",
        "policy",
        "budget",
        "changes",
        "spend",
    ),
    "Look into the record": ("log", "show", "explain"),
    "Prove and check": (
        "verify",
        "audit",
        "replay",
        "checkpoint",
        "prove",
        "export",
        "verify-bundle",
        "key",
    ),
    "Operate": ("worker", "queue", "assets", "copy", "backup", "restore", "erase"),
    "For other programs": ("serve", "webhook", "record", "attach", "sandbox"),
}
COMMANDS = tuple(chain.from_iterable(SECTIONS.values()))
SHORT_HELP_CHARACTERS = 58
"""What is left of a line of 80 beside the longest name."""

_EXIT_CODES = " · ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items())


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the commands in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"cli.commands.{name}"), f"{name}_command")
        assert isinstance(command, click.Command)  # noqa: S101  # our own module
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; where there is none of this name, tell the nearest."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches  # noqa: PLC0415  # only for a typing error

            if near := get_close_matches(args[0], COMMANDS, n=1):
                ctx.fail(f"No such command {args[0]!r}; did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under the headings of their sections, all in one column."""
        width = max(map(len, COMMANDS))
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), self._told(ctx, name)) for name in names])

    def _told(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        assert command  # noqa: S101  # a section names commands there are
        return command.get_short_help_str(SHORT_HELP_CHARACTERS)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit codes: {_EXIT_CODES}.",
)
@click.version_option(package_name="sora-ledger")
def cli() -> None:
    """Request AI video renders; every decision, call and file is recorded and can be checked.

    \b
    Try it without key or network:
      sora-ledger demo
      sora-ledger create-and-poll --profile sandbox --prompt "A teal coupe"
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of the table."""
    _take_every_letter(sys.stdout)
    sys.exit(run(arguments))


def _take_every_letter(stdout: TextIO) -> None:
    """Let no letter end a command that was paid for: programs read UTF-8, a terminal what it can show."""
    if isinstance(stdout, io.TextIOWrapper):
        encoding = stdout.encoding if stdout.isatty() else "utf-8"
        stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    with output.begin(is_json=wants_json(words)):
        return _run(words)


def _run(arguments: list[str]) -> int:
    try:
        result: Any = cli.main(args=arguments, prog_name="sora-ledger", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except SystemExit:  # how click leaves when whoever read us has gone, as `| head` does
        return ExitCode.DONE
    except (Exception, KeyboardInterrupt) as error:
        told = explain_error(error)
        if told is None and isinstance(error, Exception) and output.current().is_json:
            told = unexpected(error)
        if told is None:
            raise
        told.report()
        return told.exit_code
    return result if isinstance(result, int) else ExitCode.DONE
