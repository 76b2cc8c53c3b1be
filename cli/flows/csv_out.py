"""Emit a table as CSV, to stdout or to a new file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from cli.invocation import Invocation, say
from cli.text.csv_rows import print_rows, write_rows
from render_service.runtime.documents import counted


def check_csv(inv: Invocation, *, as_csv: bool, out: Path | None) -> None:
    """Refuse CSV together with JSON, and a file without CSV."""
    if as_csv and (inv.as_json or inv.json_out):
        raise click.UsageError("--csv and JSON exclude each other; give one")
    if out and not as_csv:
        raise click.UsageError("--out is for --csv; --json-out FILE writes JSON")


def emit_csv(rows: Iterable[Sequence[object]], out: Path | None, thing: str) -> None:
    """Write `rows` to `out` and say how many of a `thing` they are, or to stdout."""
    if out:
        say(f"{counted(write_rows(out, rows), thing)} in {out}")
    else:
        print_rows(rows)
