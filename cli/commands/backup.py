"""``backup``: a whole ledger in one file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text import output
from render_service.maintenance.backup import back_up
from render_service.runtime.documents import counted

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.maintenance.backup import Backup


@click.command("backup", short_help="Write the whole ledger to a new file.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@common.invocation
def backup_command(inv: Invocation, *, file: Path) -> None:
    """Write the whole ledger to the new FILE, while others keep recording.

    The backup of an SQLite ledger is a ledger; that of a PostgreSQL ledger is an archive made by pg_dump,
    which must be installed in the server's version or newer. FILE contains the private texts: protect it like
    the ledger, and delete it when texts erased since then must be gone. Stored videos are not included.

    \b
    Example:
      sora-ledger backup ledger-2026-11-20.backup
    """
    with output.progress("pages") as report_progress:
        made = back_up(inv.settings.ledger_url, file, report_progress)
    inv.emit(made.document(), lambda console: _text(console, made))


def _text(console: "Console", made: "Backup") -> None:
    what = f"{counted(made.bytes, 'byte')}, {counted(made.size, 'record')}, root {made.root}"
    console.print(f"[green]backed up[/]: {what}")
    console.print(f"next: sora-ledger restore {made.file} NEW-LEDGER", markup=False)
