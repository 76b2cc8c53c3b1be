"""An invalid command line, for people and for programs: the wrong option, and its valid values.

click raises its own errors while parsing. Their parameter tells what it accepts, and the words of the command
line tell what was found, so they get the same fields as ours.
"""

from collections.abc import Sequence
from itertools import pairwise

import click

from ledger.errors import SoraLedgerError


class Usage(SoraLedgerError, click.UsageError):
    """Options or arguments that do not fit together, or are missing; nothing was done."""


class BadValue(click.BadParameter):
    """A value that an option or argument does not accept; click adds which one."""

    def __init__(
        self,
        message: str,
        *,
        expected: str,
        found: object,
        param_hint: str | None = None,
        of: click.Parameter | None = None,
    ) -> None:
        super().__init__(message, param=of, param_hint=param_hint)
        self.expected, self.found = expected, str(found)


def unknown_command(message: str, context: click.Context, found: str, known: str) -> Usage:
    """Return the error for a command that does not exist."""
    error = Usage(message, param="command", expected=known, found=found)
    error.ctx = context
    return error


def param_of(error: click.UsageError) -> str | None:
    """Return the wrong option or argument, as typed."""
    if isinstance(error, Usage):
        return _name_parameter(error.param, error.ctx)
    if isinstance(error, click.NoSuchOption | click.BadOptionUsage):
        return error.option_name
    parameter = error.param if isinstance(error, click.BadParameter) else None
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.name if parameter else None


def describe_expected(error: click.UsageError) -> str | None:
    """Return what the command line should have contained instead."""
    if isinstance(error, Usage | BadValue):
        return error.expected
    if isinstance(error, click.NoSuchOption | click.NoSuchCommand):
        return ", ".join(error.possibilities or ()) or f"one that `{_path(error)} --help` lists"
    if isinstance(error, click.BadOptionUsage):
        return f"{error.option_name} with its value"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _describe_value(error.param)
    return f"what `{_path(error)} --help` shows"


def describe_found(error: click.UsageError, words: Sequence[str]) -> str | None:
    """Return what these words of the command line contained; never a prompt, because it is logged."""
    if isinstance(error, Usage | BadValue):
        return error.found
    if isinstance(error, click.NoSuchOption):
        return error.option_name
    if isinstance(error, click.NoSuchCommand):
        return error.command_name
    if isinstance(error, click.MissingParameter | click.BadOptionUsage):
        return "nothing"
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
        return _value_of(error.param, words)
    return "other arguments"


def _name_parameter(param: str | None, context: click.Context | None) -> str | None:
    """Return a parameter of the command as typed; otherwise its name, for example a variable's."""
    parameters = context.command.params if context else ()
    named = next((parameter for parameter in parameters if parameter.name == param), None)
    return max(named.opts, key=len) if isinstance(named, click.Option) else param


def _describe_value(parameter: click.Parameter) -> str:
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(map(str, kind.choices))}"
    if isinstance(kind, click.IntRange | click.FloatRange):
        return f"a number in the range {kind._describe_range()}"  # noqa: SLF001  # click has no other name
    return f"a value of the kind {kind.name}"


def _value_of(option: click.Option, words: Sequence[str]) -> str | None:
    """Return the last value of an option among the words of a command."""
    names = (*option.opts, *option.secondary_opts)
    values = [after for word, after in pairwise(words) if word in names]
    values += [
        word.partition("=")[2] for word in words if word.startswith(tuple(f"{name}=" for name in names))
    ]
    return values[-1] if values else None


def _path(error: click.UsageError) -> str:
    return error.ctx.command_path if error.ctx else "sora-ledger"
