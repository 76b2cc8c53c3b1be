"""Records, and other tables, as rows for spreadsheets: CSV (RFC 4180).

A spreadsheet runs a cell that begins like a formula, and prompts, notes and servers' messages are text that
anyone may have written. Such a cell is prefixed with an apostrophe, which makes it text.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import click

from cli.text.output import to_json
from cli.text.usage import BadValue
from ledger.private_files import OPEN, NewFile
from ledger.record import Record
from render_service.reports.record_words import what
from render_service.runtime.documents import record_document
from render_service.runtime.printable import guarded, printable

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


def record_rows(records: Iterable[Record]) -> Iterator[Sequence[object]]:
    """Yield the header and a row for each of `records`, as they come."""
    yield (*COLUMNS, "what", "payload")
    for record in records:
        document = record_document(record)
        payload = to_json(document["payload"], indent=None)
        yield [document[name] for name in COLUMNS] + [what(record.event), payload]


def print_rows(rows: Iterable[Sequence[object]]) -> None:
    """Write `rows` to stdout as they come."""
    _write(sys.stdout, rows)


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


def _write(file: TextIO, rows: Iterable[Sequence[object]]) -> int:
    shown = printable if file.isatty() else str
    writer = csv.writer(file)
    lines = 0  # the first is the heading
    for row in rows:
        writer.writerow([shown(str(guarded(cell))) for cell in row])
        file.flush()
        lines += 1
    return max(lines - 1, 0)
