"""``queue``: the jobs that wait for a worker, and the leases."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.tables import columns

if TYPE_CHECKING:
    from rich.console import Console


@click.command("queue", short_help="Show the jobs that wait for a worker.")
@common.invocation
def queue_command(inv: Invocation) -> None:
    """Show how many jobs are due, the age of the oldest, and the workers' leases.

    \b
    Example:
      sora-ledger queue
    """
    from render_service.worker.worker import queue_document  # noqa: PLC0415  # loads the whole worker

    with inv.ledger() as ledger:
        document = queue_document(ledger)
    inv.emit(document, lambda console: print_queue(document, console))


def print_queue(document: dict[str, Any], console: "Console") -> None:
    """Print the depth of the queue and its leases."""
    console.print(
        f"{document['due']} due (the oldest for {document['oldest_due_s']:g} s), "
        f"{document['waiting']} due later, {document['leased']} leased"
    )
    rows = [(lease["job_id"], _time(lease["until_ms"]), lease["holder"]) for lease in document["leases"]]
    if rows:
        columns(console, ("job", "until", "worker"), rows, cuts=True)


def _time(unix_ms: int) -> str:
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%H:%M:%S}Z"
