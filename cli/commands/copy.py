"""``copy``: move a ledger to another store."""

from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from render_service.maintenance.copy import copy_ledger
from render_service.runtime.documents import counted

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.maintenance.copy import Copy


@click.command("copy", short_help="Copy a ledger to SQLite or PostgreSQL.")
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
    inv.emit(copied.document(), lambda console: _text(console, copied))
    if copied.grown:
        grown = counted(copied.grown, "record")
        say(f"{grown} were appended to {copied.source} meanwhile; run the same command again to copy them")


def _text(console: "Console", copied: "Copy") -> None:
    console.print(
        f"[green]same root[/] {copied.root} of {counted(copied.size, 'record')} in both; "
        f"new were {counted(copied.copied, 'record')} and {counted(copied.documents, 'document')}",
    )
    console.print(f"next: set SORA_LEDGER_URL to the URL of {copied.target}", markup=False)
