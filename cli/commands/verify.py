"""``verify``: say whether the record is intact."""

from typing import TYPE_CHECKING

import click

from cli import options
from cli.exit_codes import ExitCode
from cli.invocation import Invocation

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.verify import Report


@click.command("verify", short_help="Say whether the record is intact.")
@options.invocation
def verify_command(inv: Invocation) -> None:
    """Recompute every digest, leaf, root, transition and job row from the stored bytes.

    Exit code 0 if all is as it must be, 10 with findings.

    \b
    Example:
      sora-ledger verify --ledger demo-output/ledger.db
    """
    from ledger.ledger import open_snapshot  # noqa: PLC0415
    from ledger.verify import verify  # noqa: PLC0415

    inv.ledger().close()  # says what is wrong if there is no ledger
    with open_snapshot(inv.settings.ledger_url) as snapshot:
        report = verify(snapshot)
    document = {
        "clean": report.clean,
        "size": report.size,
        "root": report.root,
        "jobs": report.jobs,
        "findings": [finding._asdict() for finding in report.findings],
        "more_findings": report.more_findings,
    }
    inv.emit(document, lambda console: _text(console, report))
    if not report.clean:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _text(console: "Console", report: "Report") -> None:
    from rich.markup import escape  # noqa: PLC0415

    if report.clean:
        said = f"{report.size} records, {report.jobs} jobs, root {report.root}"
        console.print(f"[green]intact[/]: {said}", soft_wrap=True)
        return
    for finding in report.findings:
        where = "the ledger" if finding.position is None else f"position {finding.position}"
        console.print(f"[red]{finding.code}[/] at {where}, {escape(finding.subject)}")
        told = f"    expected {finding.expected}\n    found    {finding.found}"
        console.print(told, markup=False, soft_wrap=True)
    more = f" and {report.more_findings} more" if report.more_findings else ""
    console.print(f"{len(report.findings)}{more} findings in {report.size} records; keep this file as it is")
