"""What is printed when a command fails: a sentence for people; a code and the next commands for programs."""

import io
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import click

from cli.exit_codes import ExitCode, of_error
from cli.text import output

NO_JSON = frozenset({"completion", "demo", "mcp", "sandbox"})
"""Commands without --json: they print a script, a demonstration, lines to paste, or another protocol."""

_COMMAND = re.compile(r"`(sora-ledger [^`]+)`")
_INTERRUPTED = (
    "interrupted; `sora-ledger jobs` shows the state of each job, `sora-ledger poll --id JOB` waits for one "
    "that is running, and `sora-ledger reconcile JOB` settles one that is unknown"
)


@dataclass(frozen=True)
class Failure:
    """How a command failed; `shown` replaces the message in text."""

    code: str
    exit_code: int
    message: str
    shown: str | None = None
    next: Sequence[str] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def report(self) -> None:
        """Print the failure."""
        commands = list(dict.fromkeys([*self.next, *_COMMAND.findall(self.message)]))
        facts = {"code": self.code, "exit_code": int(self.exit_code), "next": commands, **self.more}
        output.fail(self.message, shown=self.shown, **facts)


def explain_error(error: BaseException) -> Failure | None:
    """Return the failure that `error` means; None if it was not raised on purpose."""
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return Failure("failed", ExitCode.FAILED, error.format_message())
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Failure("interrupted", ExitCode.INTERRUPTED, _INTERRUPTED, shown=f"{_INTERRUPTED}\n")
    code = of_error(error) if isinstance(error, Exception) else None
    return None if code is None else Failure(code.name.lower(), code, str(error))


def unexpected(error: Exception) -> Failure:
    """Return the failure of an unexpected error, with its traceback."""
    where = "".join(traceback.format_exception(error))
    message = f"{type(error).__name__}: {error}; this is a defect of sora-ledger"
    return Failure("internal", ExitCode.FAILED, message, shown=where, more={"traceback": where})


def _usage(error: click.UsageError) -> Failure:
    shown = io.StringIO()
    error.show(shown)
    path = error.ctx.command_path if error.ctx else "sora-ledger"
    return Failure(
        "usage", ExitCode.BAD_INPUT, error.format_message(), shown.getvalue(), next=[f"{path} --help"]
    )


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line requests JSON, before it is parsed and even if it is invalid.

    Once the command runs, its parsed options decide.
    """
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    command = next((word for word in before if not word.startswith("-")), None)
    if command in NO_JSON or "--csv" in before:
        return False
    if "--json" in before or command is None:
        return "--json" in before
    formats = [word.removeprefix("--format=") for word in before if word.startswith("--format=")]
    formats += [word for option, word in pairwise(before) if option == "--format"]
    return formats[-1] == "json" if formats else not sys.stdout.isatty()
