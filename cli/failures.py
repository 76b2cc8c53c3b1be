"""What is printed when a command fails: a sentence for people; a code and the next commands for programs."""

import io
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode, of_error
from cli.text import output

if TYPE_CHECKING:
    from ledger.errors import Retry

NO_JSON = frozenset({"completion", "demo", "mcp", "sandbox"})
"""Commands without --json: they print a script, a demonstration, lines to paste, or another protocol."""

_CORRECTED = re.compile(r"\buse (--[a-z-]+) ([^\s;,)]+)")
_INTERRUPTED = (
    "interrupted; `sora-ledger jobs` shows the state of each job, `sora-ledger poll --id JOB` waits for one "
    "that is running, and `sora-ledger reconcile JOB` settles one that is unknown"
)


@dataclass(frozen=True)
class Failure:
    """How a command failed; `shown` replaces the message in text.

    `code` names the error. `retry` says whether the same command may be repeated, `param` which option or
    argument is wrong.
    """

    code: str
    exit_code: int
    message: str
    shown: str | None = None
    next: Sequence[str] = ()
    retry: "Retry" = "never"
    retry_after_s: float | None = None
    param: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def report(self) -> None:
        """Print the failure."""
        from ledger.errors import error_facts  # a command that does not fail needs none of it

        facts = error_facts(
            self.code,
            self.message,
            retry=self.retry,
            retry_after_s=self.retry_after_s,
            param=self.param,
            commands=self.next,
        )
        del facts["message"]
        facts |= {"exit_code": int(self.exit_code), **self.more}
        if (command := corrected(output.current().words, self.message)) is not None:
            facts["next"].insert(0, command)
        output.fail(self.message, shown=self.shown, **facts)


def corrected(words: Sequence[str], message: str) -> list[str] | None:
    """Return the command that was given with the value that the message says to use; None if it says none."""
    wanted = _CORRECTED.search(message)
    if wanted is None or not words:
        return None
    option, value = wanted.groups()
    before = [word for word in words if not word.startswith(f"{option}=")]
    if option in before:
        place = before.index(option)
        return ["sora-ledger", *before[: place + 1], value, *before[place + 2 :]]
    return ["sora-ledger", *before, option, value]


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
    from ledger.errors import SoraLedgerError

    if not isinstance(error, SoraLedgerError):
        return Failure(code.name.lower(), code, str(error))
    return Failure(error.code, code, str(error), retry=error.retry, retry_after_s=error.retry_after_s)


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
