"""``cancel``: withdraw a job that was not submitted."""

from typing import TYPE_CHECKING

import click

from cli.flows.propose import CHANGE, answer_change
from cli.invocation import Invocation
from cli.options import common
from cli.text.jobs import show_job
from render_service.approvals.answer_changes import cancel_change
from render_service.submission.resume import cancel

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.session.session import Session


@click.command("cancel", short_help="Withdraw a job that was not submitted.")
@common.job_id
@click.option("--why", metavar="TEXT", help="Recorded with it.")
@common.invocation
def cancel_command(inv: Invocation, *, name: str, why: str | None) -> None:
    """Withdraw a job that waits for approval or to be submitted; its money is free again.

    A proposed change of the policy or of a budget (`changes`) is withdrawn too. A video that the server
    has is not withdrawn by this: `delete` has it deleted.

    \b
    Example:
      sora-ledger cancel job_01a2 --why "the client chose another concept"
    """
    if name.startswith(CHANGE):
        if why:
            raise click.UsageError("--why is for a job; a change is cancelled without it")

        answer_change(inv, lambda office: cancel_change(office, name))
        return

    async def follow(session: "Session") -> "Job":
        return await cancel(session, await session.job(name), why)

    job = inv.session(follow)

    def text(console: "Console") -> None:
        show_job(console, job, inv.settings.place_url)

    inv.emit(inv.job_document(job), text)
