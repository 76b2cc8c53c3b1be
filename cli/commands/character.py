"""``create-character`` and ``character``: create a character, and show what is known about it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.usage import Usage
from decision.request.validators import parse_label
from ledger.errors import LedgerUnusable
from render_service.adoption.characters import (
    KnownCharacter,
    character_document,
    check_film,
    create_character,
    find_character,
    profile_of,
    see_character,
)
from render_service.api.sessions import finished
from render_service.assets.inputs import read_source_file
from render_service.submission.preview import address, preview_character

if TYPE_CHECKING:
    from rich.console import Console

    from decision.request.request import SourceFile
    from ledger.record import Record
    from render_service.session.session import Session


NAME_CHARACTERS = 80
"""Limits of the Videos API (docs/servers.md, 3)."""


@click.command("create-character")
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
    name = parse_label("name", name, "--name Mossy", NAME_CHARACTERS)
    file = read_source_file(video_file)
    check_film(file)
    if dry_run:
        _preview_creation(inv, name, file, video_file)
        return

    async def make(session: "Session") -> "KnownCharacter":
        return await create_character(session, name, file, video_file)

    show_character(inv, inv.session(make, begins=True))


def _preview_creation(inv: Invocation, name: str, file: "SourceFile", path: Path) -> None:
    document = preview_character(inv.settings, name, file, path)
    inv.emit(document, lambda console: console.print_json(data=document["request"]))


@click.command("character")
@click.option("--id", "character_id", metavar="CHAR_ID", required=True, help="The id of the character.")
@click.option("--offline", is_flag=True, help="Show what the ledger knows; ask no server.")
@common.dry_run
@common.calling
@common.invocation
def character_command(inv: Invocation, *, character_id: str, offline: bool, dry_run: bool) -> None:
    """Show the record of a character, and what its server says now.

    \b
    Example:
      sora-ledger character --id char_123
    """
    recorded = _find_recorded(inv, character_id)
    if dry_run:
        _preview(inv, character_id, recorded)
    elif offline:
        if recorded is None:
            raise Usage(
                f"{character_id} is no character of this ledger; ask without --offline",
                param="character_id",
                expected="a character of this ledger",
                found=character_id,
            )
        show_character(inv, KnownCharacter(character_id, recorded, None))
    else:
        retired = inv.even_if_retired
        call = see_character(inv.settings, inv.trace, character_id, recorded, even_if_retired=retired)
        show_character(inv, finished(call))


def _find_recorded(inv: Invocation, character_id: str) -> "Record | None":
    """Return its record; a server is asked even without a ledger."""
    try:
        ledger = inv.ledger()
    except LedgerUnusable:
        if inv.settings.may_have_ledger:
            raise
        return None
    with ledger:
        return find_character(ledger, character_id)


def _preview(inv: Invocation, character_id: str, recorded: "Record | None") -> None:
    profile = profile_of(recorded) or inv.settings.chosen_profile()
    url = f"{address(inv.settings, profile)}/videos/characters/{character_id}"
    document = {"dry_run": True, "request": {"method": "GET", "url": url}}
    inv.emit(document, lambda console: console.print(f"GET {url}", markup=False))


def show_character(inv: Invocation, character: "KnownCharacter") -> None:
    """Emit a character."""
    document = character_document(character)

    def text(console: "Console") -> None:
        recorded = document["recorded"] or {}
        facts = {"character": document["id"], "name": document["name"] or "[erased]", **recorded}
        for name, value in facts.items():
            console.print(f"{name:<14} {value}", markup=False)
        console.print(f"next: sora-ledger create --character-id {document['id']} --prompt …", markup=False)

    inv.emit(document, text)
