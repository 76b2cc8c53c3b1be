"""``cancel``: withdraw a job that was not submitted."""

from typing import TYPE_CHECKING

import click

from cli import options
from cli.invocation import Invocation
from render_service.documents import job_document

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.desk import Desk


@click.command("cancel", short_help="Withdraw a job that was not submitted.")
@options.job_id
@click.option("--why", metavar="TEXT", help="Recorded with it.")
@options.invocation
def cancel_command(inv: Invocation, *, name: str, why: str | None) -> None:
    """Withdraw a job that waits for approval or to be submitted; its money is free again.

    A video the server has already is not withdrawn by this: `delete` has it deleted.

    \b
    Example:
      sora-ledger cancel job_01a2 --why "the client chose another concept"
    """
    from render_service.asking.withdrawing import cancel  # noqa: PLC0415

    async def follow(desk: "Desk") -> "Job":
        return await cancel(desk, await desk.job(name), why)

    job = inv.desk(follow)

    def text(console: "Console") -> None:
        from cli.text.jobs import show_job  # noqa: PLC0415  # rich: only for text

        show_job(console, job)

    inv.emit(job_document(job), text)
