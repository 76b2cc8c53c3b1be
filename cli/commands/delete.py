"""``delete``: delete a video from the server; the record and the stored file stay."""

import sys
from typing import TYPE_CHECKING

import click

from cli.flows.video import job_of, show_get
from cli.invocation import Invocation
from cli.options import common
from ledger.terms import Variant
from render_service.adoption.server_library import delete

if TYPE_CHECKING:
    from ledger.job import Job
    from render_service.session.session import Session


@click.command("delete")
@common.job_id
@click.option("--reason", metavar="TEXT", help="Why it is deleted; recorded.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation on a terminal.")
@common.dry_run
@common.calling
@common.invocation
def delete_command(inv: Invocation, *, name: str, reason: str | None, yes: bool, dry_run: bool) -> None:
    """Delete a video from the server; the record and the stored file stay.

    On a terminal it asks for confirmation, because this cannot be undone.

    \b
    Example:
      sora-ledger delete --id job_01a2 --reason "campaign was withdrawn"
    """
    if dry_run:
        show_get(inv, name, method="DELETE")
        return

    found = job_of(inv, name)
    job_id = found.job_id
    if not yes:
        _confirm(found)

    async def follow(session: "Session") -> "Job":
        return await delete(session, await session.job(job_id), reason)

    job = inv.session(follow)
    confirmed = {"id": job.video_id, "object": "video.deleted", "deleted": True}
    inv.emit(
        confirmed | (inv.job_document(job) | confirmed),
        lambda console: console.print(f"{job.video_id} is gone from the server", markup=False),
    )


def _confirm(job: "Job") -> None:
    """Ask for confirmation before a deletion if a person can answer; scripts are not asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    warning = "its file is stored here" if Variant.VIDEO in job.assets else "its file is NOT stored here"
    if not click.confirm(f"Delete {job.video_id} ({job.state}) from the server? {warning}", err=True):
        raise click.ClickException("nothing was deleted")
