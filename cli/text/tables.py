"""Rows under a header, aligned and never folded; and the findings of a check."""

import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from cli.text.printable import NOTHING, escape
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable, shorten

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.verify import Report

GAP = "  "
LEAST_ROOM = 12
"""Minimum width for folding text."""


def columns(
    console: "Console",
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Sequence[str] = (),
    *,
    cuts: bool = False,
) -> None:
    """Print aligned columns that are never folded; `styles` colours the second cell of each row.

    With `cuts`, the last column is cut at the terminal's width.
    """
    from rich.cells import cell_len

    if cuts and console.is_terminal:
        rows = _cut(rows, header, console.width)
    widths = [max(map(cell_len, cells)) for cells in zip(header, *rows, strict=True)]
    console.print(f"[bold]{escape(_line(header, widths))}[/]")
    if not rows:
        console.print(NOTHING)
    for row, style in zip_longest(rows, styles, fillvalue=""):
        cells = _pad(row, widths)
        if style:
            cells[1] = f"[{style}]{cells[1]}[/]"
        console.print(GAP.join(cells))


def _cut(rows: Sequence[Sequence[str]], header: Sequence[str], width: int) -> list[list[str]]:
    from rich.cells import cell_len

    others = zip(header[:-1], *(row[:-1] for row in rows), strict=True)
    room = max(width - sum(max(map(cell_len, cells)) + len(GAP) for cells in others), len(header[-1]))
    return [[*row[:-1], cut(row[-1], room)] for row in rows]


def cut(text: str, room: int) -> str:
    """Return `text` on one line that takes at most `room` columns; a Chinese character takes two."""
    from rich.cells import cell_len, set_cell_size

    line = shorten(text, len(text))
    return line if cell_len(line) <= room else f"{set_cell_size(line, room - 1).rstrip()}…"[:room]


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    from rich.cells import cell_len

    widths = [*widths[:-1], cell_len(row[-1])]
    return [escape(cell) + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def fold(console: "Console", text: str, beside: int = 0) -> list[str]:
    """Return a sentence as the lines that fit a terminal next to `beside` columns; elsewhere it is one line.

    It is folded between words, so that an id, a path or a digest can be copied.
    """
    if not console.is_terminal or not text:
        return [text]
    room = max(console.width - beside, LEAST_ROOM)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)


def show_findings(console: "Console", report: "Report") -> None:
    """Print the findings of a check of the record, and their number."""
    for finding in report.findings:
        where = "" if finding.position is None else f"position {finding.position}, "
        console.print(f"[red]{finding.code}[/]", end="")
        line = f" at {where}{finding.subject}\n    expected {finding.expected}\n    found    {finding.found}"
        console.print(printable(line), markup=False)
    first = report.first_cause()
    if first:
        finding, others = first
        explained = format_count(others, "other finding")
        line = f"begin with {finding.code} at position {finding.position}: it may explain {explained}"
        console.print(line, markup=False)
    found = format_count(len(report.findings) + report.more_findings, "finding")
    hidden = f", {report.more_findings:,} of them not shown" if report.more_findings else ""
    console.print(f"{found} in {format_count(report.size, 'record')}{hidden}")
