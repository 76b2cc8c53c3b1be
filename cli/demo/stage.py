"""The stage for the demo's scenes: everything in a transcript, the essentials on the terminal.

A short demo shows the heading and the result of each scene, and on a terminal the command that is running.
A verbose one shows everything as it happens. The transcript is complete in both.
"""

import io
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from cli.exit_codes import ExitCode
from cli.main import run
from render_service.runtime.printable import printable

WIDTH = 80
INDENT = "   "
CLEAR_LINE = "\r\x1b[K"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Transcript:
    """A stream that writes without colours to a file and to `latest`, and unchanged to a terminal, if any."""

    def __init__(self, file: TextIO, latest: io.StringIO, terminal: TextIO | None) -> None:
        self._file, self._latest, self._terminal = file, latest, terminal

    def write(self, text: str) -> int:
        """Write to all."""
        plain = _COLOUR.sub("", text)
        self._latest.write(plain)
        self._file.write(plain)
        return self._terminal.write(text) if self._terminal else len(text)

    def flush(self) -> None:
        """Flush all."""
        self._file.flush()
        if self._terminal:
            self._terminal.flush()

    def isatty(self) -> bool:
        """Return whether the output is a terminal."""
        return self._terminal is not None and self._terminal.isatty()

    @property
    def encoding(self) -> str:
        """The encoding of the terminal, or of the file."""
        return (self._terminal or self._file).encoding

    def fileno(self) -> int:
        """Return the descriptor of the terminal, or of the file."""
        return (self._terminal or self._file).fileno()


class Stage:
    """Shows scenes and runs their commands; made by `open_stage`."""

    def __init__(self, latest: io.StringIO, terminal: TextIO, errors: TextIO, *, verbose: bool) -> None:
        self._latest, self._terminal, self._errors, self._verbose = latest, terminal, errors, verbose

    def scene(self, title: str) -> None:
        """Show the heading of a scene, before anything happens in it."""
        self._announce(f"\n{title}", bold=True)

    def result(self, text: str) -> None:
        """Print a scene's result, folded at words."""
        self.line(
            textwrap.fill(
                text,
                WIDTH,
                initial_indent=INDENT,
                subsequent_indent=INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )

    def line(self, text: str = "") -> None:
        """Print a line unfolded, so that it can be copied."""
        self._announce(printable(text))

    def narrate(self, text: str, *, colour: str | None = None) -> None:
        """Add a line to the transcript, which a short demo does not print."""
        click.secho(text, fg=colour)

    def show(self, *arguments: str) -> None:
        """Show a command."""
        self._latest.seek(0)
        self._latest.truncate()
        words = [word if word == "&" else shlex.quote(word) for word in arguments]
        self.narrate(f"\n$ sora-ledger {' '.join(words)}", colour="cyan")
        sys.stdout.flush()
        self._show_progress(f"{INDENT}sora-ledger {' '.join(words)}")

    def run(self, *arguments: str, expect: ExitCode = ExitCode.DONE) -> str:
        """Show a command, run it, and return its output; an unexpected exit code ends the demo."""
        self.show(*arguments)
        code = run([*arguments, "--format=text"])
        if code != expect:
            click.echo(f"demo: `{arguments[0]}` ended with {code}, expected {expect.value}", err=True)
            raise click.exceptions.Exit(code or ExitCode.FAILED)
        return self._latest.getvalue()

    def close(self, *, failed: bool) -> None:
        """Clear the progress line; after a failure, show the last command's output."""
        self._show_progress("")
        if failed and not self._verbose:
            click.echo(self._latest.getvalue(), file=self._errors, nl=False)

    def _announce(self, text: str, *, bold: bool | None = None) -> None:
        click.secho(text, bold=bold)
        if not self._verbose:
            self._show_progress("")
            click.secho(text, bold=bold, file=self._terminal)
            self._terminal.flush()

    def _show_progress(self, text: str) -> None:
        if not self._verbose and self._errors.isatty():
            line = text if len(text) < WIDTH else f"{text[: WIDTH - 2]}…"
            click.echo(f"{CLEAR_LINE}{line}", file=self._errors, nl=False)
            self._errors.flush()


@contextmanager
def open_stage(transcript: Path, *, verbose: bool) -> Iterator[Stage]:
    """Write stdout to the transcript too; in a short demo, stdout and stderr go only there."""
    terminal, errors = sys.stdout, sys.stderr
    latest = io.StringIO()
    failed = False
    with transcript.open("w", encoding="utf-8") as file:
        stage = Stage(latest, terminal, errors, verbose=verbose)
        sys.stdout = Transcript(file, latest, terminal if verbose else None)
        if not verbose:
            sys.stderr = Transcript(file, latest, None)
        try:
            yield stage
        except Exception:
            failed = True
            raise
        finally:
            sys.stdout, sys.stderr = terminal, errors
            stage.close(failed=failed)


def line_with(text: str, words: str) -> str:
    """Return the line of a command's output that contains `words`; if none does, the demo has failed."""
    for line in text.splitlines():
        if words in line:
            return line.strip()
    raise click.ClickException(f"demo: the command above did not print {words!r}")
