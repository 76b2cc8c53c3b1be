"""``log`` and ``show``: the records, in order, and everything recorded about one job."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.flows.csv_out import check_csv, emit_csv
from cli.invocation import Invocation
from cli.options import common
from cli.options.job_names import JOB
from cli.options.since import read_since
from cli.text import output
from cli.text.csv_rows import record_rows
from cli.text.jobs import show_job, show_split
from cli.text.record_lines import RecordLines
from cli.text.usage import Usage
from ledger.events import EVENT_TYPES, RenderHeld
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.terms import State
from render_service.reports.jobs import find_retried, find_retry
from render_service.runtime.documents import job_document, record_document, record_json
from render_service.runtime.printable import printable
from render_service.session.history import JobHistory
from render_service.session.splits import find_split_progress

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from ledger.log.ledger import Ledger
    from render_service.reports.answers import Answer


AT_ONCE = 1_000  # records whose columns are aligned together
LAST = 2**53 - 1  # no ledger has a position after this one


@click.command("log")
@click.option("--job", metavar="JOB", type=JOB, help="Only this job.")
@click.option("--stream", metavar="NAME", help="Only this stream, such as ledger.")
@click.option(
    "--type",
    "type_",
    metavar="EVENT",
    type=click.Choice(sorted(EVENT_TYPES)),
    help="Only this event, such as submission.accepted.",
)
@common.add_by_actor_option("Only records of this actor.")
@click.option("--trace", metavar="TRACE_ID", help="Only this trace.")
@click.option("--since", callback=read_since, metavar="TIME", help="Recorded at or after this time.")
@click.option("--until", callback=read_since, metavar="TIME", help="Recorded before this time.")
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
    check_csv(inv, as_csv=as_csv, out=out)
    if out and follow:
        raise Usage(
            "--follow never ends, so --out would never be whole; leave one out",
            param="follow",
            expected="--follow or --out",
            found="both",
        )
    with inv.reader() as ledger:
        stream = ledger.job(job).job_id if job else stream
        where = RecordFilter(
            stream=stream, type=type_, actor=by_actor, trace_id=trace, since=since, until=until
        )
        records = islice((ledger.follow if follow else ledger.read)(where, after=after), limit)
        if as_csv:
            emit_csv(record_rows(records), out, "record", following=follow)
        elif follow:
            _follow(inv, records, one_stream=bool(stream))
        else:
            _emit(inv, records, one_stream=bool(stream))


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

    inv.emit_each("records", records, record_json, text)


@click.command("show")
@common.job_id
@common.invocation
def show_command(inv: Invocation, *, name: str) -> None:
    """Show one job: the request, the decision and its reasons, and every record.

    \b
    Example:
      sora-ledger show job_01a2
    """
    with inv.reader() as ledger:
        job = ledger.job(name)
        history = JobHistory.of(ledger, job)
        answered = _answers(ledger, history)
        about = job_document(job, ledger)
        retries, retried = find_retried(ledger, history.first), find_retry(ledger, job.job_id)
        standing = find_split_progress(ledger, job)
    document = {
        "job": about,
        "retry_of": retries,
        "retried_as": retried,
        "split": standing.document() if standing else None,
        "answers": [answer.document() for answer in answered],
        "records": [record_document(record) for record in history.records],
    }

    def text(console: "Console") -> None:
        _show_record(console, inv, job, history, answered)
        for words, other in (("retries", retries), ("retried as", retried)):
            if other:
                console.print(f"{words} {other}")
        show_split(console, standing)

    inv.emit(document, text)


def _answers(ledger: "Ledger", history: JobHistory) -> "list[Answer]":
    if not (history.answers or history.signed_request or history.overrides):
        return []
    from render_service.reports.answers import answers  # the policy: only who answered

    return answers(ledger, history)


def _show_record(
    console: "Console", inv: Invocation, job: "Job", history: JobHistory, answered: "list[Answer]"
) -> None:
    from cli.text.decisions import show_ruling

    show_job(console, job, inv.settings.place_url)
    for answer in answered:
        console.print(printable(answer.sentence), markup=False)
    if history.requested is not None:
        sent = history.requested.augmented_prompt or history.requested.prompt
        text = "[erased]" if sent.text is None else printable(sent.text)
        console.print(f"\n{text}", markup=False, style="italic")
    waits = job.state in {State.HELD, State.APPROVED}
    for decision in history.decisions:
        console.print()
        over = isinstance(decision.event, RenderHeld) and not waits
        show_ruling(console, decision.event, job_id=job.job_id, draft=job.source_job, answered=over)
    console.print()
    RecordLines(console, one_stream=True).show(history.records)
