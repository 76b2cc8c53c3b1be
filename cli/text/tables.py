"""Rows under a header, in columns that are aligned and never folded."""

from collections.abc import Sequence
from itertools import zip_longest

from rich.console import Console
from rich.text import Text

from cli.text.printable import NOTHING


def columns(
    console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()
) -> None:
    """Print aligned columns that are never folded; `styles` colours the second cell of each row."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    console.print(Text(_line(header, widths), style="bold"))
    if not rows:
        console.print(NOTHING)
    for row, style in zip_longest(rows, styles, fillvalue=""):
        line = Text(_line(row, widths))
        line.stylize(style, widths[0] + 2, widths[0] + 2 + len(row[1]))
        console.print(line)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
