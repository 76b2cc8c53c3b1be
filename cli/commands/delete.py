"""``delete``: have the server delete a video; what is recorded and stored here stays."""

from typing import TYPE_CHECKING

import click

from cli import options
from cli.adopting import job_of
from cli.invocation import Invocation

if TYPE_CHECKING:
    from ledger.job import Job
    from render_service.desk import Desk


@click.command("delete", short_help="Have the server delete a video.")
@options.job_id
@click.option("--reason", metavar="TEXT", help="Why; recorded.")
@options.dry_run
@options.calling
@options.invocation
def delete_command(inv: Invocation, *, name: str, reason: str | None, dry_run: bool) -> None:
    """Have the server delete a video; the record, and the file if it is stored here, stay.

    \b
    Example:
      sora-ledger delete --id job_01a2 --reason "campaign was withdrawn"
    """
    if dry_run:
        from cli.commands.status import show_get  # noqa: PLC0415

        show_get(inv, name, method="DELETE")
        return
    from render_service.documents import job_document  # noqa: PLC0415
    from render_service.taking_in.library import delete  # noqa: PLC0415

    job_id = job_of(inv, name).job_id

    async def follow(desk: "Desk") -> "Job":
        return await delete(desk, await desk.job(job_id), reason)

    job = inv.desk(follow)
    document = job_document(job) | {"deleted": True}
    inv.emit(document, lambda console: console.print(f"{job.video_id} is gone from the server", markup=False))
