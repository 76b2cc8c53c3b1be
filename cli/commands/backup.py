"""``backup``, ``restore`` and ``copy``: move a whole ledger to a file or another store."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from cli.text.tables import show_findings
from ledger.log.urls import label_of
from render_service.maintenance.backup import back_up, restore
from render_service.maintenance.copy import copy_ledger
from render_service.runtime.documents import format_count

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.verify import Report
    from render_service.maintenance.backup import Backup
    from render_service.maintenance.copy import Copy


@click.command("backup")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@common.invocation
def backup_command(inv: Invocation, *, file: Path) -> None:
    """Write the whole ledger to the new FILE, while others keep recording.

    A SQLite ledger is backed up to a ledger, a PostgreSQL ledger to an archive made by pg_dump,
    which must be installed in the server's version or newer. FILE contains the private texts: protect it like
    the ledger, and delete it if texts erased since then must be gone. Stored videos are not included.

    \b
    Example:
      sora-ledger backup ledger-2026-11-20.backup
    """
    with output.progress("pages") as report_progress:
        made = back_up(inv.settings.ledger_url, file, report_progress)
    inv.emit(made.document(), lambda console: _show_backup(console, made))


def _show_backup(console: "Console", made: "Backup") -> None:
    what = f"{format_count(made.bytes, 'byte')}, {format_count(made.size, 'record')}, root {made.root}"
    console.print(f"[green]backed up[/]: {what}")
    console.print(f"next: sora-ledger restore {made.file} NEW-LEDGER", markup=False)


@click.command("restore")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("target", metavar="TARGET")
@common.invocation
def restore_command(inv: Invocation, *, file: Path, target: str) -> None:
    """Restore the backup FILE to the new ledger TARGET, verify it and print its root.

    A backup of a SQLite ledger can be restored to a file or to PostgreSQL, a backup of a PostgreSQL ledger to
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
    inv.emit(document, lambda console: _show_report(console, report, label_of(target)))
    if not report.clean:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _show_report(console: "Console", report: "Report", target: str) -> None:
    if report.clean:
        console.print(
            f"[green]restored and intact[/]: {format_count(report.size, 'record')}, root {report.root}"
        )
        console.print(f"next: set SORA_LEDGER_URL to the URL of {target}", markup=False)
        return
    show_findings(console, report)
    console.print("the backup is damaged: take another one")


@click.command("copy")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@common.invocation
def copy_command(inv: Invocation, *, source: str, target: str) -> None:
    """Copy the ledger SOURCE to TARGET, each a file, sqlite:///… or postgresql://…, and compare the roots.

    Records, private texts and documents are copied unchanged; job rows follow from them. Leases, due times
    and stored files are not copied. After an interruption, run it again: it continues where it stopped. The
    next run also copies what was appended to SOURCE meanwhile. A TARGET with another ledger is refused.

    \b
    Example:
      sora-ledger copy ledger.db postgresql://ana@db.example.org/renders
      sora-ledger copy postgresql://ana@db.example.org/renders copy.db
    """
    with output.progress("records") as report_progress:
        copied = copy_ledger(source, target, report_progress)
    inv.emit(copied.document(), lambda console: _show_copy(console, copied))
    if copied.grown:
        grown = format_count(copied.grown, "record")
        say(f"{grown} were appended to {copied.source} meanwhile; run the same command again to copy them")


def _show_copy(console: "Console", copied: "Copy") -> None:
    console.print(
        f"[green]same root[/] {copied.root} of {format_count(copied.size, 'record')} in both; "
        f"new were {format_count(copied.copied, 'record')} and {format_count(copied.documents, 'document')}",
    )
    console.print(f"next: set SORA_LEDGER_URL to the URL of {copied.target}", markup=False)
