"""``queue``: what waits for a worker, and who works on what."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from render_service.worker.worker import queue_document

if TYPE_CHECKING:
    from rich.console import Console


@click.command("queue", short_help="Show the jobs that wait for a worker.")
@common.invocation
def queue_command(inv: Invocation) -> None:
    """Show how many jobs are due, for how long the oldest has been, and who works on what.

    \b
    Example:
      sora-ledger queue
    """
    with inv.ledger() as ledger:
        document = queue_document(ledger)
    inv.emit(document, lambda console: _print(document, console))


def _print(document: dict[str, Any], console: "Console") -> None:
    console.print(
        f"{document['due']} due (the oldest for {document['oldest_due_s']:g} s), "
        f"{document['waiting']} due later, {document['leased']} in hand"
    )
    for lease in document["leases"]:
        until = datetime.fromtimestamp(lease["until_ms"] / 1000, UTC)
        console.print(f"{lease['job_id']}  {lease['holder']}  until {until:%H:%M:%S}Z", markup=False)
