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
@common.reason("Why it is withdrawn; recorded.")
@common.invocation
def cancel_command(inv: Invocation, *, name: str, reason: str | None) -> None:
    """Withdraw a job that waits for approval or submission; its reservation is released.

    It also withdraws a proposed change of the policy or of a budget (`changes`). It does not remove a video
    from the server; `delete` does.

    \b
    Example:
      sora-ledger cancel job_01a2 --reason "the client chose another concept"
    """
    if name.startswith(CHANGE):
        if reason:
            raise click.UsageError("--reason is for a job; a change is cancelled without it")

        answer_change(inv, lambda office: cancel_change(office, name))
        return

    async def follow(session: "Session") -> "Job":
        return await cancel(session, await session.job(name), reason)

    job = inv.session(follow)

    def text(console: "Console") -> None:
        show_job(console, job, inv.settings.place_url)

    inv.emit(inv.job_document(job), text)
