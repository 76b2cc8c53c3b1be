"""``schema``: JSON Schemas of printed and recorded documents."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.schemas import DOCUMENTS, schema_of
from cli.text.tables import columns
from cli.text.usage import Usage
from ledger.events import EVENT_TYPES

if TYPE_CHECKING:
    from rich.console import Console


@click.command("schema")
@click.argument("name", required=False, metavar="[DOCUMENT|EVENT]")
@common.invocation
def schema_command(inv: Invocation, *, name: str | None) -> None:
    """Print the JSON Schema of a document, or of an event's payload; without a name, list them.

    Fields are only ever added to a version. An error is the document `error`, whatever the command.

    \b
    Example:
      sora-ledger schema
      sora-ledger schema job
      sora-ledger schema render.requested
    """
    if name is None:
        listed = {"documents": _documents(), "events": _events()}
        inv.emit(listed, lambda console: _list(console, listed))
        return
    schema = schema_of(name)
    if schema is None:
        near = get_close_matches(name, [*DOCUMENTS, *EVENT_TYPES], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise Usage(
            f"no document or event is called {name!r}; {hint}`sora-ledger schema` lists them",
            param="document",
            expected="a name that `sora-ledger schema` lists",
            found=name,
        )
    inv.emit(schema, lambda console: console.print_json(data=schema))


def _documents() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "version": document.version,
            "title": document.title,
            "printed_by": document.printed_by,
        }
        for name, document in DOCUMENTS.items()
    ]


def _events() -> list[dict[str, Any]]:
    return [{"name": name, "version": event.schema_version} for name, event in EVENT_TYPES.items()]


def _list(console: "Console", listed: dict[str, Any]) -> None:
    rows = [
        (listing["name"], str(listing["version"]), listing["title"], listing["printed_by"])
        for listing in listed["documents"]
    ]
    columns(console, ("document", "version", "what it is", "printed by"), rows, cuts=True)
    events = [(listing["name"], str(listing["version"])) for listing in listed["events"]]
    columns(console, ("event", "version"), events, cuts=True)
