"""``resume``: submit a job that was decided before."""

import click

from cli.flows.submit import submit_and_show
from cli.invocation import Invocation
from cli.options import common


@click.command("resume", short_help="Submit a job that was decided but not sent.")
@common.job_id
@common.calling
@common.invocation
def resume_command(inv: Invocation, *, name: str) -> None:
    """Submit a job that was decided but not sent: queued, approved, or known to have created nothing.

    The request is built from the record alone. A job that may have been submitted is never submitted again.

    \b
    Example:
      sora-ledger resume job_01a2
    """
    submit_and_show(inv, name)
