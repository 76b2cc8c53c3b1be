"""What is printed when a command fails: a sentence for people; for programs a code and what to type next."""

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

NO_JSON = frozenset({"completion", "demo", "sandbox"})
"""Commands without --json: what they print is a script, a show, or lines to paste."""

_COMMAND = re.compile(r"`(sora-ledger [^`]+)`")
_INTERRUPTED = (
    "interrupted; `sora-ledger jobs` shows the state of each job, `sora-ledger poll --id JOB` waits for one "
    "that is running, and `sora-ledger reconcile JOB` settles one that is unknown"
)


@dataclass(frozen=True)
class Failure:
    """How a command failed; `shown` is what people read where it is not the message alone."""

    code: str
    exit_code: int
    message: str
    shown: str | None = None
    next: Sequence[str] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def report(self) -> None:
        """Print it where it belongs."""
        commands = list(dict.fromkeys([*self.next, *_COMMAND.findall(self.message)]))
        facts = {"code": self.code, "exit_code": int(self.exit_code), "next": commands, **self.more}
        output.fail(self.message, shown=self.shown, **facts)


def explain_error(error: BaseException) -> Failure | None:
    """Return how a command failed that raised `error`; None for what was not raised on purpose."""
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return Failure("failed", ExitCode.FAILED, error.format_message())
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Failure("interrupted", ExitCode.INTERRUPTED, _INTERRUPTED, shown=f"{_INTERRUPTED}\n")
    code = of_error(error) if isinstance(error, Exception) else None
    return None if code is None else Failure(code.name.lower(), code, str(error))


def unexpected(error: Exception) -> Failure:
    """Return how a command failed for which nothing was foreseen, with where that was."""
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
    """Say whether a command line asks for JSON, before it is understood and even if it cannot be.

    Once the command runs, its options say so.
    """
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    command = next((word for word in before if not word.startswith("-")), None)
    if command in NO_JSON or "--csv" in before:
        return False
    if "--json" in before or command is None:
        return "--json" in before
    asked = [word.removeprefix("--format=") for word in before if word.startswith("--format=")]
    asked += [word for option, word in pairwise(before) if option == "--format"]
    return asked[-1] == "json" if asked else not sys.stdout.isatty()
