"""``init``: create a ledger explicitly."""

from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from render_service.maintenance.init import begin
from render_service.runtime.documents import counted

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.maintenance.init import Beginning


@click.command("init", short_help="Create a ledger, or grant a database role access to it.")
@click.option(
    "--role", metavar="NAME", help="PostgreSQL: the role that will use the ledger and owns nothing."
)
@click.option(
    "--apply/--print",
    "applies",
    default=False,
    help="Run the grants for --role, or print them as SQL.  [default: print]",
)
@common.invocation
def init_command(inv: Invocation, *, role: str | None, applies: bool) -> None:
    """Create the ledger that --ledger or SORA_LEDGER_URL names; an existing one is not changed.

    A role with the grants can append to the log and read it, but change, delete or truncate nothing. Run this
    as the owner of the database, and everything else as that role.

    \b
    Example:
      sora-ledger init --ledger ledger.db
      sora-ledger init --ledger postgresql://owner@db/renders --role app --apply
    """
    if applies and role is None:
        raise click.UsageError("--apply runs the grants of a role: add --role NAME")
    beginning = begin(inv.settings, inv.trace, role=role, applies=applies)
    inv.drain_spool()
    inv.emit(beginning.document(), lambda console: _text(console, beginning))
    if role is not None and not applies:
        say("run these as the owner of the tables, or repeat with --apply")


def _text(console: "Console", beginning: "Beginning") -> None:
    how = "begun" if beginning.begun else f"there already, {counted(beginning.size, 'record')}"
    line = f"{beginning.ledger}: {how}, origin {beginning.origin}"
    if beginning.grants and not beginning.applied:
        output.print_text(f"-- {line}\n{beginning.grants}", newline=False)  # as it is, for psql
        return
    console.print(line, markup=False)
    if beginning.applied:
        console.print("the role has its grants: it can append to the log, and change nothing there")
