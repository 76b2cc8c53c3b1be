"""``create-character``: create a character from a short video, for later renders."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.commands.character import show_character
from cli.invocation import Invocation
from cli.options import common
from decision.request.validators import label
from render_service.adoption.characters import check_film, create_character
from render_service.assets.inputs import read_source_file
from render_service.submission.preview import preview_character

if TYPE_CHECKING:
    from decision.request.request import SourceFile
    from render_service.adoption.characters import KnownCharacter
    from render_service.session.session import Session

NAME_CHARACTERS = 80
"""What the Videos API takes (docs/servers.md, 3)."""


@click.command("create-character", short_help="Create a character from a short video.")
@click.option("--name", metavar="NAME", required=True, help="The name prompts use.")
@click.option(
    "--video-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="An MP4 that shows it: 2 to 4 seconds, 16:9 or 9:16, 720p to 1080p.",
)
@common.dry_run
@common.calling
@common.invocation
def create_character_command(inv: Invocation, *, name: str, video_file: Path, dry_run: bool) -> None:
    """Create a character from a short video; `create --character-id` uses it.

    \b
    Example:
      sora-ledger create-character --name Mossy --video-file mossy.mp4
    """
    name = label("name", name, "--name Mossy", NAME_CHARACTERS)
    file = read_source_file(video_file)
    check_film(file)
    if dry_run:
        _preview(inv, name, file, video_file)
        return

    async def make(session: "Session") -> "KnownCharacter":
        return await create_character(session, name, file, video_file)

    show_character(inv, inv.session(make, begins=True))


def _preview(inv: Invocation, name: str, file: "SourceFile", path: Path) -> None:
    document = preview_character(inv.settings, name, file, path)
    inv.emit(document, lambda console: console.print_json(data=document["request"]))
