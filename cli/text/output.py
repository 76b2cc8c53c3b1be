"""All output of a command: data to stdout, everything else to stderr.

If stdout gets JSON, it gets one document, even if the command fails (`fail`), and stderr gets JSON log lines
unless it is a terminal. Text from people and servers cannot control the terminal: control characters are
replaced in text (`printable`) and escaped in JSON (`to_json`).
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import EPIPE
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import msgspec

from cli.text.printable import escape_controls
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.runtime.telemetry import Trace

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")
"""Variables of which one is set where a program can open a window."""

WIDTH = 140  # of text that goes to a file
INDENT = 2
PROGRESS_LINES = 10
_CHUNK = 1 << 16  # characters of a long document that are written at a time
_BEFORE, _AFTER = len('{\n  "": ['), -len("\n  ]\n}")  # what surrounds members that are formatted together


@dataclass
class Output:
    """The output of one command, and how much of its document was printed."""

    is_json: bool
    words: Sequence[str] = ()
    """The command line, as typed."""
    trace: "Trace | None" = None
    has_document: bool = False
    open_list: bool = False
    """Whether the document is an unfinished list: an error then becomes its last member."""

    @property
    def logs_json(self) -> bool:
        """Whether stderr gets JSON log lines."""
        return self.is_json and not sys.stderr.isatty()


_CURRENT: ContextVar[Output] = ContextVar("output")


def current() -> Output:
    """Return the output of the running command; text output if there is none."""
    return _CURRENT.get(Output(is_json=False))


@contextmanager
def begin(*, is_json: bool, words: Sequence[str] = ()) -> Iterator[Output]:
    """Begin the output of a command."""
    output = Output(is_json, words)
    token = _CURRENT.set(output)
    try:
        yield output
    finally:
        _CURRENT.reset(token)


# --- stdout ---


def to_json(document: Any, indent: int | None = INDENT) -> str:
    """Return `document` as JSON without characters that control a terminal or reverse a line."""
    return escape_controls(_dumps(document, indent))


def _dumps(document: Any, indent: int | None) -> str:
    """Do the same as `json.dumps`, ten times as fast with an indent; it prints what `msgspec` refuses."""
    if indent:
        with suppress(TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            return msgspec.json.format(msgspec.json.encode(document), indent=indent).decode()
    return json.dumps(document, indent=indent, ensure_ascii=False)


@contextmanager
def stdout_trouble(*, ends: bool = True) -> Iterator[None]:
    """Report that stdout cannot be written; a reader that closed the pipe is not an error.

    A list `ends` there with exit code 0. Otherwise the command continues without stdout, as it was carried
    out already and its exit code says how.
    """
    try:
        yield
    except OSError as error:
        if error.errno == EPIPE and not ends:
            _discard(sys.stdout)
            return
        if error.errno == EPIPE:
            raise
        raise click.ClickException(
            f"stdout cannot be written ({error.strerror}); the command itself was carried out"
        ) from error


def _discard(stream: TextIO) -> None:
    """Discard what `stream` still gets, including what is flushed when the program ends."""
    with suppress(io.UnsupportedOperation, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def print_document(document: Any, indent: int | None = INDENT) -> None:
    """Print the JSON document of a command, or one line of several."""
    current().has_document = True
    click.echo(to_json(document, indent))


def print_text(text: str, *, newline: bool = True) -> None:
    """Print text to stdout."""
    click.echo(printable(text), nl=newline)


def console(*, stderr: bool = False) -> "Console":
    """Return the rich console for text."""
    from cli.text.console import safe_console  # rich: JSON needs none

    return safe_console(stderr=stderr, width=None if stderr or sys.stdout.isatty() else WIDTH)


@contextmanager
def print_list(name: str, facts: Mapping[str, Any] | None = None) -> Iterator[Callable[[Any], None]]:
    """Print a document of one list, member by member; yields the function that prints one."""
    output = current()

    def write(text: str) -> None:
        output.has_document = output.open_list = True
        click.echo(text, nl=False, color=True)  # JSON has no colour codes to search for

    with _listing(name, facts or {}, write) as add:
        yield add
    output.open_list = False


@contextmanager
def write_list(
    path: Path, name: str, facts: Mapping[str, Any] | None = None
) -> Iterator[Callable[[Any], None]]:
    """Write a document of one list to `path`, member by member, whole or not at all."""
    with _whole_file(path) as write, _listing(name, facts or {}, write) as add:
        yield add


def write_json(path: Path, document: Any) -> None:
    """Write `document` to `path`, whole or not at all."""
    with _whole_file(path) as write:
        write(to_json(document) + "\n")


@contextmanager
def _listing(
    name: str, facts: Mapping[str, Any], write: Callable[[str], object]
) -> Iterator[Callable[[Any], None]]:
    before = "".join(f'  "{fact}": {to_json(value, None)},\n' for fact, value in facts.items())
    members: list[bytes] = []
    start, separator, waiting = f'{{\n{before}  "{name}": [', "", 0

    def add(member: Any) -> None:
        nonlocal waiting
        text = _compact(member)
        members.append(text)
        waiting += len(text)
        if waiting > _CHUNK:
            flush()

    def flush() -> None:
        nonlocal start, separator, waiting
        text = msgspec.json.format(b'{"":[%b]}' % b",".join(members), indent=INDENT).decode()
        write(f"{start}{separator}{text[_BEFORE:_AFTER]}")
        members.clear()
        start, separator, waiting = "", ",", 0

    try:
        yield add
    except BaseException:
        if members:  # the items read are shown, and `fail` ends the list
            flush()
        raise
    if members:
        flush()
    write("\n  ]\n}\n" if separator else f"{start}]\n}}\n")


def _compact(document: Any) -> bytes:
    """Return what `to_json` returns, without spaces."""
    try:
        text = msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        text = json.dumps(document, ensure_ascii=False).encode(errors="backslashreplace")
    return text if text.isascii() and b"\x7f" not in text else escape_controls(text.decode()).encode()


@contextmanager
def _whole_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that appends text to a new file, which gets its name when it is complete."""
    from ledger.private_files import OPEN, NewFile  # no command waits for it

    with _file_trouble(path):
        file = NewFile(path, mode=OPEN)
    with file:

        def write(text: str) -> None:
            with _file_trouble(path):
                file.write(text.encode(errors="backslashreplace"))

        yield write
        with _file_trouble(path):
            file.replace(durable=False)


@contextmanager
def _file_trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.FileError(str(path), f"{error.strerror}; the command itself was carried out") from error


# --- stderr ---


def print_error(text: str, *, newline: bool = True) -> None:
    """Print text to stderr. A line that cannot be written is lost: it must not end a command that pays."""
    try:
        click.echo(text, nl=newline, err=True)
    except OSError:
        _discard(sys.stderr)


def has_screen() -> bool:
    """Return whether this machine has a screen to open a window on."""
    return sys.platform in {"darwin", "win32"} or any(map(os.environ.get, SCREENS))


def shows_progress() -> bool:
    """Return whether stderr gets a progress bar: on a terminal only."""
    return sys.stderr.isatty()


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield the function that reports progress: a bar on a terminal, elsewhere a line per tenth."""
    if not shows_progress():
        yield _progress_lines(what)
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _progress_lines(what: str) -> Callable[[int, int], None]:
    reported = -1

    def report(done: int, total: int) -> None:
        nonlocal reported
        tenth = PROGRESS_LINES * done // max(total, 1)
        if tenth > reported:
            reported = tenth
            note(f"{what}: {done} of {total}")

    return report


def note(message: str) -> None:
    """Print a note on stderr, or log it."""
    if current().logs_json:
        if message:
            _log("note", "info", {"message": message})
    else:
        print_error(printable(message))


def complain(message: str, **facts: Any) -> None:
    """Print an error on stderr, or log it."""
    if current().logs_json:
        _log("command.failed", "error", {"message": message, **facts})
    else:
        print_error(f"Error: {printable(message)}")


def fail(message: str, *, shown: str | None = None, **facts: Any) -> None:
    """Report that the command failed: on stderr, and as the document on stdout if there is none yet.

    `facts` come from `ledger.errors.error_facts`, plus the exit code; `shown` replaces the message in text.
    """
    output = current()
    if shown is None or output.logs_json:
        complain(message, **facts)
    else:
        print_error(printable(shown), newline=False)
    if not output.is_json:
        return
    error = {"code": facts.pop("code", None), "message": message, **facts}
    with suppress(OSError):  # perhaps stdout is what failed
        if output.open_list:
            indented = to_json(error).replace("\n", "\n  ")
            click.echo(f'\n  ],\n  "error": {indented}\n}}')
        elif not output.has_document:
            print_document({"error": error})


def _log(event: str, level: str, facts: Mapping[str, Any]) -> None:
    trace = current().trace
    ids = {"trace_id": trace.trace_id, "span_id": trace.span_id} if trace else {}
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    print_error(json.dumps({**ids, **facts, "event": event, "level": level, "timestamp": now}))
