"""``poll``: wait for a render, keep its video, close the job."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.adopting import job_of
from cli.finishing import Finished, Wishes, check_targets, check_variants, end, finish, wanted
from cli.invocation import Invocation

if TYPE_CHECKING:
    from render_service.desk import Desk


@click.command("poll", short_help="Wait for a render and keep its video.")
@options.job_id
@options.waiting
@click.option("--download", is_flag=True, help="Copy the file out of the asset store; --out implies it.")
@options.downloading
@options.dry_run
@options.calling
@options.invocation
def poll_command(  # noqa: PLR0913  # one parameter per option
    inv: Invocation,
    *,
    name: str,
    poll_interval: float,
    timeout: float,
    download: bool,
    variants: tuple[str, ...],
    out: Path | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Wait for a render and keep its video; goes on wherever an earlier command stopped.

    \b
    Example:
      sora-ledger poll --id job_01a2 --download --out clip.mp4
    """
    names = wanted(variants, out, force=force)
    if dry_run:
        from cli.commands.status import show_get  # noqa: PLC0415

        show_get(inv, name)
        return

    known = job_of(inv, name)
    job_id = known.job_id
    check_variants(inv.settings, known.profile, [variant for variant in names if variant not in known.assets])
    if download and known.video_id:
        check_targets(known, names, out, force=force)

    wishes = Wishes(names if download or out else [], out, force, poll_interval, timeout)

    async def follow(desk: "Desk") -> Finished:
        return await finish(inv, desk, await desk.job(job_id), wishes)

    finished = inv.desk(follow)
    inv.emit(finished.document(), finished.show)
    if finished.trouble:
        raise finished.trouble
    end(inv, finished.job)
