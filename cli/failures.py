"""What is printed when a command fails: a sentence for people; a code and the next commands for programs."""

import io
import re
import shlex
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
    """How a command failed; `shown` replaces the message in text.

    `code` is the name of the exit code, `kind` that of the error. `retry` says whether the same command may
    be repeated, `param` which option or argument is wrong.
    """

    code: str
    exit_code: int
    message: str
    shown: str | None = None
    next: Sequence[str] = ()
    kind: str | None = None
    retry: str = "never"
    param: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def report(self) -> None:
        """Print the failure."""
        commands = list(dict.fromkeys([*self.next, *_COMMAND.findall(self.message)]))
        facts = {
            "code": self.code,
            "exit_code": int(self.exit_code),
            "next": commands,
            "kind": self.kind or self.code,
            "retry": self.retry,
            "param": self.param,
            "argv": [_words_of(command) for command in commands],
            **self.more,
        }
        output.fail(self.message, shown=self.shown, **facts)


def _words_of(command: str) -> list[str]:
    """Return a command as the arguments of a process; a quote in a message may be unbalanced."""
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def explain_error(error: BaseException) -> Failure | None:
    """Return the failure that `error` means; None if it was not raised on purpose."""
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return Failure("failed", ExitCode.FAILED, error.format_message())
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Failure("interrupted", ExitCode.INTERRUPTED, _INTERRUPTED, shown=f"{_INTERRUPTED}\n")
    code = of_error(error) if isinstance(error, Exception) else None
    if code is None:
        return None
    kind, retry = getattr(error, "code", None), getattr(error, "retry", "never")  # of a `SoraLedgerError`
    return Failure(code.name.lower(), code, str(error), kind=kind, retry=retry)


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
        "usage",
        ExitCode.BAD_INPUT,
        error.format_message(),
        shown.getvalue(),
        next=[f"{path} --help"],
        param=_param_of(error),
    )


def _param_of(error: click.UsageError) -> str | None:
    """Return the option or argument that is wrong, as it is typed."""
    if isinstance(error, click.NoSuchOption):
        return error.option_name
    parameter = error.param if isinstance(error, click.BadParameter) else None
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.name if parameter else None


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
