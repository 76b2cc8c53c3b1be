"""Records as rows for spreadsheets: CSV (RFC 4180).

A spreadsheet runs a cell that begins like a formula, and prompts, notes and servers' messages are text that
anyone may have written. Such a cell is prefixed with an apostrophe, which makes it text.
"""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import click

from cli.text.output import to_json
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


def print_rows(records: Iterable[Record]) -> None:
    """Write `records` to stdout as they come."""
    _write(sys.stdout, records)


def write_rows(path: Path, records: Iterable[Record]) -> int:
    """Write `records` to the new file `path`, whole or not at all; return how many there were."""
    if path.exists():
        raise click.BadParameter(f"{path}: it exists already; name a new file", param_hint="--out")
    try:
        with NewFile(path, mode=OPEN) as part:
            with part.path.open("w", encoding="utf-8-sig", newline="") as file:
                count = _write(file, records)
            part.link()
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from error
    return count


def _write(file: TextIO, records: Iterable[Record]) -> int:
    shown = printable if file.isatty() else str
    writer = csv.writer(file)
    writer.writerow([*COLUMNS, "what", "payload"])
    count = 0
    for record in records:
        count += 1
        document = record_document(record)
        payload = to_json(document["payload"], indent=None)
        cells = [document[name] for name in COLUMNS] + [what(record.event), payload]
        writer.writerow([shown(str(guarded(cell))) for cell in cells])
        file.flush()
    return count
