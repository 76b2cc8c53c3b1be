"""``whynot``: why a request was denied, and what to type now."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.decisions import show_why_not
from render_service.reports.explain import why_not

if TYPE_CHECKING:
    from rich.console import Console


@click.command("whynot", short_help="Explain why a job was denied or failed, with the fix.")
@common.job_id
@common.invocation
def whynot_command(inv: Invocation, *, name: str) -> None:
    """Explain why a job was denied: each candidate with its gates, and the commands to type instead.

    For a failed render it shows the reason and the command that requests it again; for an allowed job, why
    no other model was chosen.

    \b
    Example:
      sora-ledger whynot job_01a2
    """
    with inv.ledger() as ledger:
        document = why_not(ledger, name).document
    inv.emit(document, lambda console: _text(console, document))


def _text(console: "Console", document: dict[str, Any]) -> None:
    show_why_not(console, document)
