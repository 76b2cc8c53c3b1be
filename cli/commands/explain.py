"""``explain``: the four questions of a reviewer, on one screen."""

from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation
from cli.options import common
from cli.text.decisions import show_explanation
from render_service.reports.explain import explain

if TYPE_CHECKING:
    from rich.console import Console


@click.command("explain", short_help="Explain a decision, and check its record.")
@common.job_id
@common.invocation
def explain_command(inv: Invocation, *, name: str) -> None:
    """Explain what was decided on a job, why, by whose authority, and whether the record can be trusted.

    Digests, leaves and the path to the root of every record of the job are recomputed from the stored bytes;
    exit code 10 if one is wrong. `verify` checks the whole ledger.

    \b
    Example:
      sora-ledger explain job_01a2
    """
    with inv.ledger() as ledger:
        document = explain(ledger, name).document
    inv.emit(document, lambda console: _text(console, document))
    if not document["record"]["trusted"]:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _text(console: "Console", document: dict[str, Any]) -> None:
    show_explanation(console, document)
