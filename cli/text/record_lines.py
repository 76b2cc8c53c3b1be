"""Records in text: one line each under a header, grouped by day."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from cli.text.printable import NOTHING
from ledger.record import Record
from render_service.reports.record_words import what
from render_service.runtime.printable import printable, shorten

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {
    "#": "bright_black",
    "time": "",
    "stream": "bright_black",
    "event": "bold",
    "by": "bright_black",
    "what": "",
}
LIKELY = {"#": 4, "time": 8, "stream": 13, "event": 20, "by": 4}
"""The usual widths, used while following, when later records are not known yet."""
GAP = "  "
WIDE = 100
LEAST_ROOM = 12  # minimum width for folding the last column


class RecordLines:
    """Prints records as they arrive; records of `one_stream` are shown without the stream."""

    def __init__(self, console: "Console", *, one_stream: bool = False, following: bool = False) -> None:
        self._console = console
        self._columns = [name for name in STYLES if not (one_stream and name == "stream")]
        self._widths = dict(LIKELY) if following else {}
        self._day = ""
        is_narrow = console.is_terminal and console.width < WIDE
        self._actor_width = 8 if is_narrow else 16
        self._begun = False

    def show(self, records: Sequence[Record]) -> None:
        """Print `records`, with the header before the first; columns only grow."""
        rows = [_cells(record, self._actor_width) for record in records]
        header = {name: name for name in STYLES}
        for name in self._columns:
            widest = max(cell_len(row[name]) for row in (header, *rows))
            self._widths[name] = max(self._widths.get(name, 0), widest)
        if not self._begun:
            self._print(header, dict.fromkeys(STYLES, "bold"))
            self._begun = True
            if not rows:
                self._console.print(NOTHING)
        for record, row in zip(records, rows, strict=True):
            self._begin_day(record.recorded_at[:10])
            self._print(row, STYLES)

    def _begin_day(self, day: str) -> None:
        if day != self._day:
            self._console.print(f"{day} UTC", style="bright_black")
            self._day = day

    def _print(self, row: dict[str, str], styles: dict[str, str]) -> None:
        from rich.text import Text  # slow to load, and JSON needs none

        line = Text(row["#"].rjust(self._widths["#"]) + GAP, styles["#"])
        for name in self._columns[1:-1]:
            line.append(set_cell_size(row[name], self._widths[name]) + GAP, styles[name])
        indent = Text(" " * line.cell_len)
        for part in self._fold(Text(row["what"], styles["what"]), line.cell_len):
            self._console.print(line + part)
            line = indent

    def _fold(self, text: "Text", indent: int) -> "Iterable[Text]":
        """Wrap the last column on a terminal; elsewhere a record is one line."""
        room = self._console.width - indent
        if not self._console.is_terminal or room < LEAST_ROOM:
            return [text]
        parts = text.wrap(self._console, room)
        for part in parts:
            part.rstrip()
        return parts


def _cells(record: Record, actor_width: int) -> dict[str, str]:
    return {
        "#": str(record.position),
        "time": record.recorded_at[11:19],
        "stream": _short_stream(record.stream),
        "event": record.type,
        "by": shorten(record.actor, actor_width),
        "what": printable(what(record.event)),
    }


def _short_stream(stream: str) -> str:
    """Return a short stream name: the end of an id, which differs between simultaneous jobs."""
    kind, _, digits = stream.partition("_")
    return f"{kind}_…{digits[-8:]}" if kind in {"job", "whe"} else stream
