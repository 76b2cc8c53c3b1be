"""``restore``: a ledger from a backup."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation
from cli.options import common
from cli.text import output
from cli.text.tables import show_findings
from ledger.log.urls import label_of
from render_service.maintenance.backup import restore
from render_service.runtime.documents import counted

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.verify import Report


@click.command("restore", short_help="Restore a ledger from a backup and verify it.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("target", metavar="TARGET")
@common.invocation
def restore_command(inv: Invocation, *, file: Path, target: str) -> None:
    """Restore the backup FILE to the new ledger TARGET, verify it and print its root.

    The backup of an SQLite ledger can be restored to a file or to PostgreSQL, that of a PostgreSQL ledger to
    the same schema of another database. Exit code 10 if verification has findings.

    \b
    Example:
      sora-ledger restore ledger-2026-11-20.backup restored.db
    """
    with output.progress("restored") as report_progress:
        report = restore(file, target, report_progress)
    document = {
        "file": str(file),
        "ledger": label_of(target),
        "clean": report.clean,
        "size": report.size,
        "root": report.root,
        "findings": [finding._asdict() for finding in report.findings],
        "more_findings": report.more_findings,
    }
    inv.emit(document, lambda console: _text(console, report, label_of(target)))
    if not report.clean:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _text(console: "Console", report: "Report", target: str) -> None:
    if report.clean:
        console.print(f"[green]restored and intact[/]: {counted(report.size, 'record')}, root {report.root}")
        console.print(f"next: set SORA_LEDGER_URL to the URL of {target}", markup=False)
        return
    show_findings(console, report)
    console.print("the backup is damaged: take another one")
