"""``character``: what the ledger and the server know about a character."""

from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from ledger.errors import LedgerUnusable
from render_service.adoption.characters import (
    KnownCharacter,
    character_document,
    find_character,
    profile_of,
    see_character,
)
from render_service.api.sessions import finished
from render_service.submission.preview import address

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.record import Record


@click.command("character", short_help="Show what is known about a character.")
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
    recorded = _recorded(inv, character_id)
    if dry_run:
        _preview(inv, character_id, recorded)
    elif offline:
        if recorded is None:
            raise click.UsageError(f"{character_id} is no character of this ledger; ask without --offline")
        show_character(inv, KnownCharacter(character_id, recorded, None))
    else:
        retired = inv.even_if_retired
        asking = see_character(inv.settings, inv.trace, character_id, recorded, even_if_retired=retired)
        show_character(inv, finished(asking))


def _recorded(inv: Invocation, character_id: str) -> "Record | None":
    """Return its record; a server is asked without a ledger too."""
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
