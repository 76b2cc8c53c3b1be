"""``give-up``: end a render that its server will never finish, or whose file never comes."""

from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.jobs import show_job
from render_service.settlement.overdue import give_up

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.session.session import Session


@click.command("give-up", short_help="Close a job whose render never finishes.")
@common.job_id
@click.option("--reason", metavar="TEXT", required=True, help="Why it is given up; recorded.")
@common.invocation
def give_up_command(inv: Invocation, *, name: str, reason: str) -> None:
    """End a job whose render never finishes, or whose file never comes; no server is asked.

    The estimate counts as spent, because the server may bill it, and the job no longer counts as running. If
    the video appears later, `download` still stores it.
    For an attempt whose outcome is unknown use `reconcile`; for a job that was not submitted, `cancel`.

    \b
    Example:
      sora-ledger give-up job_01a2 --reason "the machine is gone"
    """
    if not reason.strip():
        raise click.UsageError("--reason must not be empty: the record explains the money with it")

    async def follow(session: "Session") -> "Job":
        return await give_up(session, await session.job(name), reason)

    job = inv.session(follow, calls=False)

    def text(console: "Console") -> None:
        show_job(console, job, inv.settings.place_url)

    inv.emit(inv.job_document(job), text)
