"""``poll``: wait for a render, store its video, close the job."""

from typing import TYPE_CHECKING

import click

from cli.flows.finish import Finished, Wishes, finish, raise_trouble
from cli.flows.outcome import end
from cli.flows.video import check_variants, job_of, show_get
from cli.invocation import Invocation
from cli.options import common
from cli.options.copies import Copies, copying

if TYPE_CHECKING:
    from render_service.session.session import Session


@click.command("poll", short_help="Wait for a render and store its video.")
@common.job_id
@common.waiting
@click.option("--download", is_flag=True, help="Copy the file out of the asset store; --out implies it.")
@copying
@common.dry_run
@common.calling
@common.invocation
def poll_command(
    inv: Invocation,
    *,
    name: str,
    poll_interval: float,
    timeout: float,
    download: bool,
    copies: Copies,
    dry_run: bool,
) -> None:
    """Wait for a render and store its video; continues where an earlier command stopped.

    \b
    Example:
      sora-ledger poll --id job_01a2 --download --out clip.mp4
    """
    if dry_run:
        show_get(inv, name)
        return

    known = job_of(inv, name)
    job_id = known.job_id
    check_variants(inv.settings, known.profile, copies.not_stored(known))
    if download and known.video_id:
        copies.check(known)

    wishes = Wishes(copies if download or copies.out else None, poll_interval, timeout)

    async def follow(session: "Session") -> Finished:
        return await finish(session, await session.job(job_id), wishes)

    finished = inv.session(follow)
    inv.emit(finished.document(inv), lambda console: finished.show(console, inv))
    raise_trouble(finished)
    end(inv, finished.job)
