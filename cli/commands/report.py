"""``report``: what regulators require, from the record."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.flows.csv_out import emit_csv
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.command import Group
from cli.options.since import read_since
from cli.text.output import print_text, to_json
from cli.text.usage import Usage
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput
from render_service.runtime.files import write_file
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.reports.article_50 import Report


@click.group("report", cls=Group)
def report_command() -> None:
    """Report on what was published.

    \b
    Example:
      sora-ledger report article-50 --since 2026-12
    """


@report_command.command("article-50", short_help="Report marking and responsibility (EU AI Act).")
@click.option("--since", callback=read_since, metavar="TIME", help="Only files published since this time.")
@click.option("--until", callback=read_since, metavar="TIME", help="Only files published before this time.")
@click.option("--html", "as_html", is_flag=True, help="Print a page for people.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for spreadsheets.")
@click.option(
    "--envelope",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write it as a signed in-toto statement (DSSE).",
)
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Key that signs the statement.  [default: SORA_LEDGER_KEY]",
)
@common.invocation
def article_50_command(
    inv: Invocation,
    *,
    since: str | None,
    until: str | None,
    as_html: bool,
    as_csv: bool,
    envelope: Path | None,
    key: Path | None,
) -> None:
    """Report on every published file: how it is marked, who approved it, which model made it, when.

    Gaps come first, such as files without a mark or an approval. Reads only the ledger.

    \b
    Example:
      sora-ledger report article-50 --since 2026-12 --html
      sora-ledger report article-50 --envelope report.dsse.json --key signing.key
    """
    from render_service.reports.article_50 import article_50

    if as_html + as_csv + bool(inv.as_json or inv.json_out) > 1:
        raise Usage(
            "--html, --csv and JSON exclude each other; give one",
            param="csv",
            expected="one of --html, --csv and JSON",
            found="several",
        )
    signing = key or inv.settings.key_file
    if key and not envelope:
        raise Usage("--key is for --envelope FILE", param="key", expected="--envelope FILE", found="nothing")
    if envelope and signing is None:
        raise BadInput(
            "--envelope: add --key FILE, which signs it (`sora-ledger key new FILE` creates one)",
            param="key",
            expected="a key that signs",
            found="nothing",
        )
    with inv.reader() as ledger:
        report = article_50(ledger, since, until)
    if envelope and signing:
        _write_envelope(report, envelope, signing)
    if as_csv:
        emit_csv(report.table(), None, "file")
    elif as_html:
        from render_service.reports.article_50 import page

        print_text(page(report), newline=False)
    else:
        inv.emit(report.document(), lambda console: _show(console, report))


def _write_envelope(report: "Report", target: Path, key: Path) -> None:
    from render_service.evidence.envelope import envelope
    from render_service.evidence.keys import read_signer

    signed = envelope(report.statement(), read_signer(key))
    write_file(target, to_json(signed).encode() + b"\n")
    say(f"{target}: the report as an in-toto statement, signed")


def _show(console: "Console", report: "Report") -> None:
    from render_service.reports.article_50 import GAPS, person_words

    document = report.document()
    count = format_count(document["published"], "file")
    console.print(f"{count} published, {document['marked']} marked, {document['with_gaps']} with gaps")
    for row in report.rows:
        heading = f"{row['published_at'][:19]}Z {row['job_id']} to {row['target']} by {row['published_by']}"
        console.print(printable(heading), markup=False)
        for gap in row["gaps"]:
            console.print(f"  {gap}: {GAPS[gap]}", markup=False, style="red")
        by = f" by {row['signer']}" if row["signer"] else ""
        console.print(
            printable(f"  marking {row['marking']}{by}; {row['model']}, {row['purpose']}"), markup=False
        )
        people = [f"approved: {person_words(person)}" for person in row["approved_by"]]
        people += [f"reviewed: {person_words(person)}" for person in row["reviewed_by"]]
        for line in people:
            console.print(printable(f"  {line}"), markup=False)
