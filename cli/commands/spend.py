"""``spend``: what was spent, what is reserved, what is left."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.printable import printable
from decision.money import format_usd
from render_service.reports.spending import By, spending
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.reports.spending import Spending, Spent

BAR = 32
BY = ("model", "purpose", "actor", "day", "budget")


@click.command("spend", short_help="Show what was spent and what is left.")
@click.option(
    "--by",
    metavar="WORD",
    type=click.Choice(BY),
    default="model",
    show_default=True,
    help=f"In parts: {', '.join(BY)}.",
)
@click.option("--since", callback=common.read_moment, metavar="TIME", help="Only of renders asked for since.")
@common.invocation
def spend_command(inv: Invocation, *, by: str, since: str | None) -> None:
    """Show what is reserved and settled, and what the budgets have left. Reads the ledger only.

    Settled is what was reported, or the estimate where nobody reported; reserved may still be spent.

    \b
    Example:
      sora-ledger spend
      sora-ledger spend --by day --since 2026-11-01
    """
    with inv.ledger() as ledger:
        found = spending(ledger, By(by), utc_now(), since)
    document = {
        "by": by,
        "since": since,
        "parts": [_document(part) for part in found.parts],
        "total": _document(found.total),
        "budgets": [left.document() for left in found.budgets],
    }
    inv.emit(document, lambda console: _text(console, found))


def _document(spent: "Spent") -> dict[str, Any]:
    return {
        "name": spent.name,
        "jobs": spent.jobs,
        "reserved_usd_micros": spent.reserved_usd_micros,
        "settled_usd_micros": spent.settled_usd_micros,
        "settled_estimated_usd_micros": spent.estimated_usd_micros,
    }


def _text(console: "Console", found: "Spending") -> None:
    from rich.table import Table  # rich: only for text

    if not found.parts:
        console.print("nothing was spent or reserved")
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(str(found.by), no_wrap=True)
    for name in ("settled", "reserved", "jobs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max((part.usd_micros for part in found.parts), default=0)
    for part in (*found.parts, found.total):
        bar = "" if part is found.total else _bar(part, most)
        amounts = map(format_usd, (part.settled_usd_micros, part.reserved_usd_micros))
        table.add_row(_plain(printable(part.name)), *amounts, str(part.jobs), bar)
    console.print(table)
    if found.total.estimated_usd_micros:
        estimated = format_usd(found.total.estimated_usd_micros)
        console.print(f"of what is settled, {estimated} is estimated: no server reported it")
    console.print("[green]█[/] settled  [yellow]░[/] reserved", style="bright_black")
    for left in found.budgets:
        console.print(f"{left.budget}: {_left(left.usd_micros, left.limit_usd_micros)}", markup=False)


def _left(usd_micros: int | None, limit_usd_micros: int | None) -> str:
    if usd_micros is None or limit_usd_micros is None:
        return "no limit"
    return f"{format_usd(usd_micros)} left of {format_usd(limit_usd_micros)}"


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _bar(part: "Spent", most: int) -> Any:
    """Return a bar as long as the part's share of the dearest; what is not nothing shows a little."""
    settled, reserved = (
        max(1, amount * BAR // most) if amount else 0
        for amount in (part.settled_usd_micros, part.reserved_usd_micros)
    )
    text = _plain("█" * settled + "░" * reserved)
    text.stylize("green", 0, settled)
    text.stylize("yellow", settled)
    return text
