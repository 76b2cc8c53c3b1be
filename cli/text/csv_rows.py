"""Records, and other tables, as rows for spreadsheets: CSV (RFC 4180).

A spreadsheet runs a cell that begins like a formula, and prompts, notes and servers' messages are text that
anyone may have written. Such a cell is prefixed with an apostrophe, which makes it text.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TextIO

import click
from msgspec.json import format as format_json

from cli.text.printable import escape_controls
from cli.text.usage import BadValue
from ledger.private_files import OPEN, NewFile
from ledger.record import Record
from render_service.reports.record_words import what
from render_service.runtime.documents import payload_json
from render_service.runtime.printable import escape_formula, printable

COLUMNS = (
    "position",
    "recorded_at",
    "occurred_at",
    "stream",
    "version",
    "type",
    "kind",
    "actor",
    "actor_source",
    "authority",
    "event_id",
    "causation_id",
    "trace_id",
)
_columns = attrgetter(*COLUMNS)
ONE_LINE = 0


def record_rows(records: Iterable[Record]) -> Iterator[Sequence[object]]:
    """Yield the header and a row for each of `records`, as they come."""
    yield (*COLUMNS, "what", "payload")
    for record in records:
        words = what(record.event)  # first, so that the payload is parsed once
        payload = escape_controls(format_json(payload_json(record), indent=ONE_LINE).decode())
        yield (*_columns(record.envelope), words, payload)


def print_rows(rows: Iterable[Sequence[object]], *, following: bool = False) -> None:
    """Write `rows` to stdout; if `following`, each as it comes."""
    _write(sys.stdout, rows, following=following)


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> int:
    """Write `rows` to the new file `path`, whole or not at all; return how many follow the header."""
    if path.exists():
        raise BadValue(
            f"{path}: it exists already; name a new file",
            param_hint="--out",
            expected="a new name",
            found="a file of this name",
        )
    try:
        with NewFile(path, mode=OPEN) as part:
            with part.path.open("w", encoding="utf-8-sig", newline="") as file:
                count = _write(file, rows)
            part.link()
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from error
    return count


def _write(file: TextIO, rows: Iterable[Sequence[object]], *, following: bool = False) -> int:
    shown = printable if file.isatty() else str
    writer = csv.writer(file)
    lines = 0  # the first is the heading
    for row in rows:
        writer.writerow([shown(str(escape_formula(cell))) for cell in row])
        if following:
            file.flush()
        lines += 1
    file.flush()
    return max(lines - 1, 0)
