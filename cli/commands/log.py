"""``log``: the records, in order."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from cli.text.record_lines import RecordLines
from cli.text.spreadsheet import print_rows, write_rows
from ledger.events import EVENT_TYPES
from ledger.record import Record
from ledger.store.interface import RecordFilter
from render_service.runtime.documents import counted, record_document

if TYPE_CHECKING:
    from rich.console import Console

AT_ONCE = 1_000  # records whose columns are aligned together
LAST = 2**53 - 1  # no ledger has a position after this one


@click.command("log", short_help="Show the records of the ledger, in order.")
@click.option("--job", metavar="ID", help="Only this job (job id, video id or prefix).")
@click.option("--stream", metavar="NAME", help="Only this stream, such as ledger.")
@click.option(
    "--type",
    "type_",
    metavar="EVENT",
    type=click.Choice(sorted(EVENT_TYPES)),
    help="Only this event, such as submission.accepted.",
)
@common.by_actor("Only records of this actor.")
@click.option("--trace", metavar="TRACE_ID", help="Only this trace.")
@click.option("--since", callback=common.read_moment, metavar="TIME", help="Recorded at or after this time.")
@click.option("--until", callback=common.read_moment, metavar="TIME", help="Recorded before this time.")
@click.option(
    "--after", type=click.IntRange(0, LAST), default=0, metavar="POSITION", help="Begin after this position."
)
@click.option("--limit", metavar="N", type=click.IntRange(1, LAST), help="Maximum number.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new records; one JSON document per line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for spreadsheets.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the CSV to this file.")
@common.invocation
def log_command(  # one parameter per option
    inv: Invocation,
    *,
    job: str | None,
    stream: str | None,
    type_: str | None,
    by_actor: str | None,
    trace: str | None,
    since: str | None,
    until: str | None,
    after: int,
    limit: int | None,
    follow: bool,
    as_csv: bool,
    out: Path | None,
) -> None:
    """Show the records of the ledger, in order.

    With --csv, each record is a row for spreadsheets: a cell that looks like a formula begins with an
    apostrophe, and a FILE begins with a byte order mark.

    \b
    Example:
      sora-ledger log --job job_01a2
      sora-ledger log --follow --type submission.unknown
      sora-ledger log --csv --out november.csv --since 2026-11-01
    """
    _check_csv(inv, as_csv=as_csv, out=out, follow=follow)
    with inv.ledger() as ledger:
        stream = ledger.job(job).job_id if job else stream
        where = RecordFilter(
            stream=stream, type=type_, actor=by_actor, trace_id=trace, since=since, until=until
        )
        records = islice((ledger.follow if follow else ledger.read)(where, after=after), limit)
        if as_csv:
            _csv(records, out)
        elif follow:
            _follow(inv, records, one_stream=bool(stream))
        else:
            _emit(inv, records, one_stream=bool(stream))


def _check_csv(inv: Invocation, *, as_csv: bool, out: Path | None, follow: bool) -> None:
    if as_csv and (inv.as_json or inv.json_out):
        raise click.UsageError("--csv and JSON exclude each other; give one")
    if out and not as_csv:
        raise click.UsageError("--out is for --csv; --json-out FILE writes JSON")
    if out and follow:
        raise click.UsageError("--follow never ends, so --out would never be whole; leave one out")


def _csv(records: Iterable[Record], out: Path | None) -> None:
    if out:
        say(f"{counted(write_rows(out, records), 'record')} in {out}")
    else:
        print_rows(records)


def _follow(inv: Invocation, records: Iterable[Record], *, one_stream: bool) -> None:
    if inv.prints_json:
        for record in records:
            output.print_document(record_document(record), indent=None)
        return
    lines = RecordLines(inv.console, one_stream=one_stream, following=True)
    for record in records:
        lines.show([record])


def _emit(inv: Invocation, records: Iterable[Record], *, one_stream: bool) -> None:
    def text(console: "Console", passing: Iterable[Record]) -> None:
        lines = RecordLines(console, one_stream=one_stream)
        coming = iter(passing)
        lines.show(list(islice(coming, AT_ONCE)))
        while some := list(islice(coming, AT_ONCE)):
            lines.show(some)

    inv.emit_each("records", records, record_document, text)
