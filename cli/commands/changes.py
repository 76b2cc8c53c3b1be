"""``changes``: proposed changes of the policy and of budgets."""

from typing import TYPE_CHECKING

import click

from cli.flows.propose import change_document, change_lines
from cli.invocation import Invocation
from cli.options import common
from cli.text.printable import printable
from render_service.approvals.changes import PENDING, changes

if TYPE_CHECKING:
    from rich.console import Console


@click.command("changes", short_help="List proposed changes of policy and budgets.")
@click.option("--all", "everything", is_flag=True, help="Include applied, rejected and cancelled changes.")
@common.invocation
def changes_command(inv: Invocation, *, everything: bool) -> None:
    """List changes of the policy and of budgets that wait for approval, with who proposed them and why.

    `approve`, `reject` and `cancel` take a change's name in the same way as a job's.

    \b
    Example:
      sora-ledger changes
      sora-ledger changes --all
    """
    with inv.ledger() as ledger:
        found = [one for one in changes(ledger) if everything or one.state == PENDING]
        document = {"changes": [change_document(ledger, one) for one in found]}

        def text(console: "Console") -> None:
            for one in found:
                for line in change_lines(ledger, one):
                    console.print(printable(line), markup=False)
            if not found:
                console.print("no change waits for approval")

        inv.emit(document, text)
