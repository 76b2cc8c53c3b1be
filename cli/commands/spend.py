"""``spend``: spent and reserved money, and the budgets' remainders."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.options.since import read_since
from cli.text.printable import escape
from cli.text.tables import GAP
from decision.money import format_usd
from render_service.reports.spending import Grouping, spending
from render_service.runtime.printable import shorten
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from render_service.reports.spending import Spending, SpentMoney

BAR = 32
SHORTEST_BAR = 8
BY = ("model", "purpose", "actor", "team", "day", "budget")


@click.command("spend")
@click.option(
    "--by",
    metavar="WORD",
    type=click.Choice(BY),
    default="model",
    show_default=True,
    help=f"Group by {', '.join(BY)}.",
)
@click.option("--since", callback=read_since, metavar="TIME", help="Only renders requested since this time.")
@common.invocation
def spend_command(inv: Invocation, *, by: str, since: str | None) -> None:
    """Show reserved and settled money, and what the budgets have left. Reads the ledger only.

    Settled is the reported cost, or the estimate if none was reported; reserved may still be spent.

    \b
    Example:
      sora-ledger spend
      sora-ledger spend --by day --since 2026-11-01
    """
    with inv.reader() as ledger:
        spending_ = spending(ledger, Grouping(by), utc_now(), since)
    document = {
        "by": by,
        "since": since,
        "parts": [_document(part) for part in spending_.parts],
        "total": _document(spending_.total),
        "budgets": [left.document() for left in spending_.budgets],
    }
    inv.emit(document, lambda console: print_spending(console, spending_))


def _document(spent: "SpentMoney") -> dict[str, Any]:
    return {
        "name": spent.name,
        "jobs": spent.jobs,
        "reserved_usd_micros": spent.reserved_usd_micros,
        "settled_usd_micros": spent.settled_usd_micros,
        "settled_estimated_usd_micros": spent.estimated_usd_micros,
    }


def print_spending(console: "Console", found: "Spending") -> None:
    """Print the spending as a table with bars, then the remainders of the budgets."""
    if not found.parts:
        console.print("nothing was spent or reserved")
    for line in _table(found, console.width if console.is_terminal else None):
        console.print(line)
    if found.total.estimated_usd_micros:
        estimated = format_usd(found.total.estimated_usd_micros)
        console.print(f"of what is settled, {estimated} is estimated: no server reported it")
    console.print("[green]█[/] settled  [yellow]░[/] reserved", style="bright_black")
    for left in found.budgets:
        console.print(
            f"{left.budget}: {_format_remaining(left.usd_micros, left.limit_usd_micros)}", markup=False
        )


def _table(found: "Spending", width: int | None) -> "Iterator[str]":
    """Yield the table line by line; on a terminal of `width` the names and the bars are cut to fit."""
    parts = (*found.parts, found.total)
    rows = [
        (part.name, format_usd(part.settled_usd_micros), format_usd(part.reserved_usd_micros), str(part.jobs))
        for part in parts
    ]
    header = (str(found.by), "settled", "reserved", "jobs")
    name_width, *widths = (max(map(len, cells)) for cells in zip(header, *rows, strict=True))
    numbers = sum(widths) + len(GAP) * len(widths)
    if width is not None:
        name_width = min(name_width, width - numbers - len(GAP) - SHORTEST_BAR)
    room = BAR if width is None else min(BAR, width - numbers - name_width - len(GAP))
    most = max((part.usd_micros for part in found.parts), default=0)
    bars = ["", *("" if part is found.total else _bar(part, most, room) for part in parts)]
    for (name, *amounts), bar in zip((header, *rows), bars, strict=True):
        cells = [amount.rjust(size) for amount, size in zip(amounts, widths, strict=True)]
        line = GAP.join([escape(shorten(name, name_width).ljust(name_width)), *cells, bar]).rstrip()
        yield line if bar or name != header[0] else f"[bold]{line}[/]"


def _format_remaining(usd_micros: int | None, limit_usd_micros: int | None) -> str:
    if usd_micros is None or limit_usd_micros is None:
        return "no limit"
    return f"{format_usd(usd_micros)} left of {format_usd(limit_usd_micros)}"


def _bar(part: "SpentMoney", most: int, room: int) -> str:
    """Return a bar as long as the part's share of the largest; any amount shows at least a little."""
    if not part.usd_micros:
        return ""
    least_settled, least_reserved = bool(part.settled_usd_micros), bool(part.reserved_usd_micros)
    length = max(least_settled + least_reserved, part.usd_micros * room // most)
    share = part.settled_usd_micros * length // part.usd_micros
    settled = min(max(share, least_settled), length - least_reserved)
    return f"[green]{'█' * settled}[/][yellow]{'░' * (length - settled)}[/]"
