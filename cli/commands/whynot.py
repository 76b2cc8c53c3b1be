"""``whynot``: why a request was refused, and what to type now."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common

if TYPE_CHECKING:
    from rich.console import Console


@click.command("whynot", short_help="Say why a job was refused or failed, and what now.")
@common.job_id
@common.invocation
def whynot_command(inv: Invocation, *, name: str) -> None:
    """Say what stood in the way of a job: each candidate with its gates, and the commands to type instead.

    For a failed render it shows the reason and the command that requests it again; for an allowed job,
    why no other model was chosen.

    \b
    Example:
      sora-ledger whynot job_01a2
    """
    from render_service.reports.explain import why_not  # noqa: PLC0415

    with inv.ledger() as ledger:
        document = why_not(ledger, name).document
    inv.emit(document, lambda console: _text(console, document))


def _text(console: "Console", document: dict[str, Any]) -> None:
    from cli.text.decisions import show_why_not  # noqa: PLC0415  # rich: only for text

    show_why_not(console, document)
