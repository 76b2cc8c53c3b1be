"""``list``: what the server has."""

from typing import TYPE_CHECKING, Literal

import click

from cli import options
from cli.invocation import Invocation

if TYPE_CHECKING:
    from rich.console import Console

    from sora_adapter.observation import Page

MOST = 100


@click.command("list")
@click.option(
    "--limit", type=click.IntRange(0, MOST), default=20, show_default=True, help="How many at most."
)
@click.option("--after", metavar="VIDEO_ID", help="Begin after this video.")
@click.option(
    "--order", type=click.Choice(["asc", "desc"]), default="desc", show_default=True, help="By creation."
)
@options.dry_run
@options.calling
@options.invocation
def list_command(
    inv: Invocation, *, limit: int, after: str | None, order: Literal["asc", "desc"], dry_run: bool
) -> None:
    """List the server's videos; `jobs` lists the ledger's.

    \b
    Example:
      sora-ledger list --limit 5 --order asc
    """
    from render_service.library import list_videos, page_document  # noqa: PLC0415

    if dry_run:
        _preview(inv, limit, after, order)
        return
    page = inv.desk(lambda desk: list_videos(desk, limit=limit, after=after, order=order))
    inv.emit(page_document(page), lambda console: _text(console, page))


def _preview(inv: Invocation, limit: int, after: str | None, order: str) -> None:
    from render_service.preview import address  # noqa: PLC0415

    query = f"limit={limit}" + (f"&after={after}" if after else "") + f"&order={order}"
    url = f"{address(inv.settings, inv.settings.chosen_profile())}/videos?{query}"
    document = {"dry_run": True, "request": {"method": "GET", "url": url}}
    inv.emit(document, lambda console: console.print(f"GET {url}", markup=False))


def _text(console: "Console", page: "Page") -> None:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("video", "status", "%", "model", "size", "s", "prompt"):
        table.add_column(column, overflow="fold")
    for seen in page.observations:
        progress = "" if seen.progress is None else str(seen.progress)
        prompt = (seen.prompt or "")[:50]
        row = (seen.video_id, seen.status.value, progress, seen.model, seen.size, seen.seconds, prompt)
        table.add_row(*(str(cell or "").replace("[", "\\[") for cell in row))
    console.print(table)
    if page.has_more:
        console.print(f"more: --after {page.last_id}", markup=False)
