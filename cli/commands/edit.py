"""``edit``: change a video the server has, or one that is in a file."""

from pathlib import Path
from typing import Any

import click

from cli.flows.advise import advised_request
from cli.flows.derive import derive
from cli.flows.submit import place_and_show
from cli.invocation import Invocation
from cli.options import common
from cli.options.command import RequestCommand
from cli.options.placement import Placing, placing
from cli.options.prompt import prompting, require_prompt
from decision.request.request import RenderRequest
from render_service.assets.inputs import Material, read_source_file


@click.command("edit", cls=RequestCommand, short_help="Change a video, by its id or from a file.")
@common.maybe_job_id
@click.option(
    "--video",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An MP4 to upload and change, instead of --id.",
)
@prompting
@click.option("--model", metavar="NAME", help="For --video; a video on the server keeps its model.")
@common.render
@placing
@common.dry_run
@common.calling
@common.invocation
def edit_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str | None,
    video: Path | None,
    prompt: str | None,
    dry_run: bool,
    how: Placing,
    **asked: Any,
) -> None:
    """Change a completed video, or one in a file; unlike a remix, an edit may change several things.

    \b
    Example:
      sora-ledger edit --id job_01a2 --prompt "Make it dusk, with headlights on"
      sora-ledger edit --video clip.mp4 --prompt "Make it dusk"
    """
    if (name is None) == (video is None):
        which = "neither was" if name is None else "both were"
        raise click.UsageError(f"name a video with --id, or give its file with --video; {which} given")
    asked["prompt"] = require_prompt(prompt)

    if name is not None:
        derive(inv, name, "edit", asked, dry_run=dry_run, how=how)
    elif video is not None:
        place_and_show(inv, *_of_file(inv, video, asked), dry_run=dry_run, how=how)


def _of_file(inv: Invocation, video: Path, asked: dict[str, Any]) -> tuple[RenderRequest, Material]:
    file = read_source_file(video)
    request = advised_request(inv, "edit", source_file=file, profile=inv.settings.chosen_profile(), **asked)
    return request, Material(video=video)
