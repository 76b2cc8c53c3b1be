"""The output of a failed command: a sentence for people; a code and the next commands for programs."""

import io
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode, code_of_error
from cli.text import output

if TYPE_CHECKING:
    from ledger.errors import Retry

NO_JSON = frozenset({"completion", "demo", "mcp", "sandbox"})
"""Commands without --json: they print a script, a demonstration, lines to paste, or another protocol."""

_INTERRUPTED = (
    "interrupted; `sora-ledger jobs` shows the state of each job, `sora-ledger poll --id JOB` waits for one "
    "that is running, and `sora-ledger reconcile JOB` settles one that is unknown"
)


@dataclass(frozen=True)
class Failure:
    """The failure of a command; `shown` replaces the message in text.

    `code` names the error. `retry` says whether the same command may be repeated, `param` which option,
    argument or field is wrong, and `instead` a value for it that would be accepted.
    """

    code: str
    exit_code: int
    message: str
    shown: str | None = None
    next: Sequence[Sequence[str]] = ()
    retry: "Retry" = "never"
    retry_after_s: float | None = None
    param: str | None = None
    expected: str | None = None
    found: str | None = None
    instead: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def report(self) -> None:
        """Print the failure."""
        from ledger.errors import error_facts  # a command that does not fail needs none of it

        better = correct(output.current().words, self.param, self.instead)
        facts = error_facts(
            self.code,
            self.message,
            retry=self.retry,
            retry_after_s=self.retry_after_s,
            param=self.param,
            expected=self.expected,
            found=self.found,
            commands=[*([better] if better else []), *self.next],
        )
        del facts["message"]
        facts |= {"exit_code": int(self.exit_code), **self.more}
        output.fail(self.message, shown=self.shown, **facts)


def correct(words: Sequence[str], param: str | None, instead: str | None) -> list[str] | None:
    """Return the given command with `instead` as the value of `param`; None without such a value."""
    if param is None or instead is None or not words:
        return None
    option = param if param.startswith("--") else f"--{param.replace('_', '-')}"
    before = [word for word in words if not word.startswith(f"{option}=")]
    if option in before:
        place = before.index(option)
        return ["sora-ledger", *before[: place + 1], instead, *before[place + 2 :]]
    return ["sora-ledger", *before, option, instead]


def explain_error(error: BaseException) -> Failure | None:
    """Return the failure for `error`; None if it was not raised on purpose."""
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return Failure("failed", ExitCode.FAILED, error.format_message())
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Failure("interrupted", ExitCode.INTERRUPTED, _INTERRUPTED, shown=f"{_INTERRUPTED}\n")
    code = code_of_error(error) if isinstance(error, Exception) else None
    if code is None:
        return None
    from ledger.errors import SoraLedgerError

    if not isinstance(error, SoraLedgerError):
        return Failure(code.name.lower(), code, str(error))
    again = [["sora-ledger", *output.current().words]] if error.code == "key_missing" else ()
    return Failure(
        error.code,
        code,
        str(error),
        retry=error.retry,
        retry_after_s=error.retry_after_s,
        param=error.param,
        expected=error.expected,
        found=error.found,
        next=[*again, *error.commands],
        instead=error.instead,
    )


def describe_unexpected(error: Exception) -> Failure:
    """Return the failure of an unexpected error, with its traceback."""
    where = "".join(traceback.format_exception(error))
    message = f"{type(error).__name__}: {error}; this is a defect of sora-ledger"
    return Failure("internal", ExitCode.FAILED, message, shown=where, more={"traceback": where})


def _usage(error: click.UsageError) -> Failure:
    from cli.text.usage import (  # only a command that fails needs them
        describe_expected,
        describe_found,
        param_of,
    )

    shown = io.StringIO()
    error.show(shown)
    path = error.ctx.command_path if error.ctx else "sora-ledger"
    return Failure(
        "usage",
        ExitCode.BAD_INPUT,
        error.format_message(),
        shown.getvalue(),
        next=[[*path.split(), "--help"]],
        param=param_of(error),
        expected=describe_expected(error),
        found=describe_found(error, output.current().words),
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
