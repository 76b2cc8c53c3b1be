"""The group of commands. A command's module is imported when the command is called."""

import io
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from cli.exit_codes import MEANINGS, ExitCode
from cli.failures import describe_unexpected, explain_error, wants_json
from cli.text import output

if TYPE_CHECKING:
    from cli.defaults import Defaults

SECTIONS = {
    "Core commands": {
        "create": "Request a render and return immediately.",
        "create-and-poll": "Request a render, wait, and save its video.",
        "poll": "Wait for a render and store its video.",
        "status": "Show the state of a job.",
        "jobs": "List the ledger's jobs.",
        "find": "Find jobs by words of their prompts.",
        "show": "Show a job and everything recorded about it.",
        "open": "Open the stored video of a job.",
        "download": "Copy the files of a completed job.",
        "remix": "Change exactly one thing in a completed video.",
    },
    "Setup": {
        "demo": "Run a complete demonstration; needs no key or network.",
        "init": "Create a ledger, or grant a database role access to it.",
        "doctor": "Check the setup and suggest fixes.",
        "templates": "Show prompt templates.",
        "config": "Set your own defaults.",
        "completion": "Print a shell completion script.",
        "schema": "Print JSON Schemas of documents and events.",
        "skill": "Install the skill for AI agents.",
    },
    "More ways to render": {
        "create-batch": "Request every render of a JSONL file.",
        "edit": "Change a video, by its id or from a file.",
        "extend": "Add seconds to the end of a video.",
        "create-character": "Create a character from a short video.",
        "character": "Show what is known about a character.",
        "check-remix": "Check whether a prompt asks for exactly one change.",
        "image2video": "Accept the command lines of image2video.",
    },
    "Jobs and videos": {
        "review": "Record a review of a video.",
        "resume": "Submit a job that was decided but not sent.",
        "retry": "Request a failed render again.",
        "cancel": "Withdraw a job that was not submitted.",
        "reconcile": "Find the outcome of a submission whose answer was lost.",
        "give-up": "Close a job whose render never finishes.",
        "delete": "Delete a video from the server.",
        "adopt": "Import videos made with another tool.",
        "list": "List the server's videos.",
    },
    "Decisions and money": {
        "decide": "Show the decision on a request; record nothing.",
        "whynot": "Explain why a job was denied or failed, with the fix.",
        "what-if": "Show which past decisions another policy would change.",
        "approve": "Approve a held render or a proposed change.",
        "reject": "Reject a held render or a proposed change.",
        "changes": "List proposed changes of policy and budgets.",
        "policy": "Show, check or activate the policy.",
        "budget": "Set spending limits and show what is left.",
        "access": "Grant and revoke access keys of the gateway.",
        "spend": "Show what was spent and what is left.",
    },
    "Record and evidence": {
        "log": "Show the records of the ledger, in order.",
        "explain": "Explain a decision, and check its record.",
        "verify": "Check that the record is intact.",
        "audit": "Check that every attempt and dollar is accounted for.",
        "replay": "Rebuild every job from its records and compare.",
        "checkpoint": "Sign the tree head, or compare with an old one.",
        "prove": "Prove that a record is in the ledger.",
        "export": "Export evidence that others can check.",
        "verify-bundle": "Check exported evidence.",
        "monitor": "Follow a log from outside, and check that it only grows.",
        "publish": "Write a signed copy of a video, marked as AI.",
        "verify-provenance": "Check a published file, back to its record.",
        "report": "Report on what was published.",
        "key": "Create a signing key, or show its public half.",
    },
    "Operations": {
        "worker": "Submit, observe and store jobs as they become due.",
        "queue": "Show the jobs that wait for a worker.",
        "assets": "List, check or clean up stored files.",
        "copy": "Copy a ledger to SQLite or PostgreSQL.",
        "backup": "Write the whole ledger to a new file.",
        "restore": "Restore a ledger from a backup and verify it.",
        "erase": "Erase private text; the record stays provable.",
    },
    "Integration": {
        "serve": "Serve the Videos API and the console, work the queue.",
        "console": "Open the console in the browser, signed in.",
        "webhook": "Manage the server's webhook endpoints.",
        "forward": "Send events to HTTP endpoints, NATS and Kafka.",
        "record": "Record a fact from another system.",
        "attach": "Attach an output to a workflow.",
        "mcp": "Serve tools for AI agents over stdio.",
        "sandbox": "Run a local server of the Videos API.",
    },
}
"""Every command with its short help, by heading; help is printed from here without importing commands."""

SHORT_HELP = {name: text for section in SECTIONS.values() for name, text in section.items()}
COMMANDS = tuple(SHORT_HELP)
PROGRAM = "sora-ledger"

_COMMANDS_WITH_DEFAULTS = frozenset(
    {"create", "create-and-poll", "image2video", "decide", "create-batch", "poll"}
)

_MODULES = {
    "backup": ("restore", "copy"),
    "approve": ("reject", "changes"),
    "cancel": ("resume", "retry", "give-up"),
    "character": ("create-character",),
    "create": ("create-and-poll", "image2video"),
    "explain": ("whynot", "what-if"),
    "export": ("verify-bundle",),
    "log": ("show",),
    "poll": ("download",),
    "publish": ("verify-provenance",),
    "record": ("attach", "review"),
    "remix": ("edit", "extend"),
    "serve": ("console",),
    "setup": ("init", "doctor", "completion"),
    "worker": ("queue",),
}
_MODULE_OF = {command: module for module, commands in _MODULES.items() for command in commands}
"""The module in `cli/commands/` of each command that is not in the module of its own name."""

_EXIT_CODES = " · ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items())


def module_of(command: str) -> str:
    """Return the name of the module in `cli/commands/` that holds a command."""
    return _MODULE_OF.get(command, command.replace("-", "_"))


class LazyGroup(click.Group):
    """Lists its commands from the table, and imports a command's module when the command is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in SHORT_HELP:
            return None
        module = import_module(f"cli.commands.{module_of(cmd_name)}")
        command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)  # our own module
        command.short_help = SHORT_HELP[cmd_name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the called command; suggest the nearest name for an unknown one."""
        if args[0] not in SHORT_HELP and not ctx.resilient_parsing:
            from difflib import get_close_matches  # takes a tenth of this start to load

            from cli.text.usage import unknown_command

            near = get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise unknown_command(
                    f"No such command {args[0]!r}; did you mean {near[0]!r}?", ctx, args[0], near[0]
                )
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, aligned in one column."""
        width = max(map(len, COMMANDS))
        for heading, commands in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
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
    _set_encoding(sys.stdout)
    sys.exit(run(arguments))


def _set_encoding(stdout: TextIO) -> None:
    """Write UTF-8 to programs, and escape what a terminal cannot show: no letter may end a paid command."""
    if isinstance(stdout, io.TextIOWrapper):
        encoding = stdout.encoding if stdout.isatty() else "utf-8"
        stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    with output.begin(is_json=wants_json(words), words=words):
        try:
            result: Any = cli.main(
                args=words, prog_name=PROGRAM, standalone_mode=False, default_map=_defaults(words)
            )
        except click.exceptions.Exit as ended:
            return ended.exit_code
        except SystemExit:  # click exits like this when the reader of stdout is gone, as with `| head`
            return ExitCode.DONE
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, click.UsageError) and error.ctx is None:
                error.ctx = _context_of(words)  # click's parser sets none
            failure = explain_error(error)
            if failure is None and isinstance(error, Exception) and output.current().is_json:
                failure = describe_unexpected(error)
            if failure is None:
                raise
            failure.report()
            return failure.exit_code
        return result if isinstance(result, int) else ExitCode.DONE


def _defaults(arguments: list[str]) -> "Defaults | None":
    """Return a person's defaults, unless only help is printed, which needs none."""
    if not any(word in _COMMANDS_WITH_DEFAULTS for word in arguments[:1]):
        return None
    from cli.defaults import Defaults  # loads the rules of a request

    return Defaults(arguments)


def _context_of(arguments: list[str]) -> click.Context:
    """Return the context of the command in `arguments`, for its usage line and its help."""
    context = click.Context(cli, info_name=PROGRAM)
    for word in arguments:
        group = context.command
        command = group.get_command(context, word) if isinstance(group, click.Group) else None
        if command:
            context = click.Context(command, info_name=word, parent=context)
    return context
