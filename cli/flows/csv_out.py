"""Emit a table as CSV, to stdout or to a new file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cli.invocation import Invocation, say
from cli.text.csv_rows import print_rows, write_rows
from cli.text.usage import Usage
from render_service.runtime.documents import format_count


def check_csv(inv: Invocation, *, as_csv: bool, out: Path | None) -> None:
    """Refuse CSV together with JSON, and a file without CSV."""
    if as_csv and (inv.as_json or inv.json_out):
        raise Usage(
            "--csv and JSON exclude each other; give one",
            param="csv",
            expected="one of --csv and JSON",
            found="both",
        )
    if out and not as_csv:
        raise Usage(
            "--out is for --csv; --json-out FILE writes JSON", param="out", expected="--csv", found="nothing"
        )


def emit_csv(
    rows: Iterable[Sequence[object]], out: Path | None, thing: str, *, following: bool = False
) -> None:
    """Write `rows` to `out` and print the number of `thing`, or write them to stdout."""
    if out:
        say(f"{format_count(write_rows(out, rows), thing)} in {out}")
    else:
        print_rows(rows, following=following)
