"""``download``: the video, a thumbnail or a spritesheet of a completed job."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.adopting import job_of
from cli.finishing import Finished, check_variants, copy_out, wanted
from cli.invocation import Invocation

if TYPE_CHECKING:
    from render_service.desk import Desk


@click.command("download", short_help="Copy the files of a completed job.")
@options.job_id
@options.downloading
@options.dry_run
@options.calling
@options.invocation
def download_command(  # one parameter per option
    inv: Invocation, *, name: str, variants: tuple[str, ...], out: Path | None, force: bool, dry_run: bool
) -> None:
    """Copy the files of a completed job; what is not stored yet is fetched, checked and stored first.

    \b
    Example:
      sora-ledger download --id job_01a2 --variant thumbnail --out thumb.webp
    """
    names = wanted(variants, out, force=force)
    if dry_run:
        from cli.commands.status import show_get  # noqa: PLC0415

        show_get(inv, name, suffix=f"/content?variant={names[0]}")
        return

    known = job_of(inv, name)
    job_id = known.job_id
    check_variants(inv.settings, known.profile, [variant for variant in names if variant not in known.assets])

    async def follow(desk: "Desk") -> Finished:
        return Finished(*await copy_out(desk, await desk.job(job_id), names, out, force=force))

    finished = inv.desk(follow)
    inv.emit(finished.document(), finished.show)
