"""``budget``: spending limits, and what is left."""

from typing import TYPE_CHECKING, Any

import click

from cli.flows.propose import propose
from cli.invocation import Invocation
from cli.options import common
from cli.options.command import Group
from cli.options.common import read_dollars
from cli.text.tables import columns
from decision.money import format_usd
from decision.rules.approvals import Change
from ledger.log.opening import open_or_create
from render_service.approvals.changes import propose_limit
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import list_remaining, set_limit
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.rules.budgets import RemainingBudget

LIFTED = "none"


@click.group("budget", cls=Group)
def budget_command() -> None:
    """Set spending limits and show what is left.

    The name of a budget says what it covers: all, team_WORD, project_WORD, purpose_WORD, or several of these
    joined by two underscores; or actor_NAME, for one person or program. Every budget that covers a render
    pays for it; the render is denied if one of them has too little left.

    \b
    Example:
      sora-ledger budget set all --limit 250 --period month
      sora-ledger budget list
    """


@budget_command.command("set", short_help="Set or lift the limit of a budget.")
@click.argument("name")
@click.option(
    "--limit", required=True, metavar="USD", help="Dollars, such as 250 or 2.50; none lifts the limit."
)
@click.option(
    "--period",
    metavar="WORD",
    type=click.Choice(["none", "month", "day"]),
    default="none",
    show_default=True,
    help="Apply the limit to each month or day (UTC).",
)
@common.add_reason_option("Why the limit is set; recorded.")
@common.signed_request
@common.invocation
def set_command(inv: Invocation, *, name: str, limit: str, period: str, reason: str | None) -> None:
    """Set or lift the limit of a budget.

    If the active policy requires approval, the limit is proposed and waits; `changes` lists it.

    \b
    Example:
      sora-ledger budget set team_film --limit 500 --period month
      sora-ledger budget set project_spring__purpose_final --limit 120
    """
    _set(inv, name, None if limit == LIFTED else read_dollars("--limit", limit), period, reason)


@budget_command.command("list", short_help="List the budgets and what is left of each.")
@click.option("--past", is_flag=True, help="Include past months and days.")
@common.unused_key
@common.invocation
def list_command(inv: Invocation, *, past: bool) -> None:
    """List the budgets and what is left of each.

    \b
    Example:
      sora-ledger budget list --past
    """
    with inv.reader() as ledger:
        _show(inv, ledger, past=past)


def _set(inv: Invocation, name: str, usd_micros: int | None, period: str, why: str | None) -> None:
    budget, now, who = read_name(name, Period(period)), utc_now(), inv.settings.provenance(inv.trace)
    if inv.rules.policy.rules_for(Change.BUDGET):
        propose(inv, lambda office: propose_limit(office, budget, usd_micros, why))
        return
    inv.drain_spool()
    with open_or_create(inv.settings.ledger_url, who, now) as ledger:
        set_limit(ledger, budget, usd_micros, why, now, who)
        _show(inv, ledger)


def _show(inv: Invocation, ledger: Any, *, past: bool = False) -> None:
    budgets = list_remaining(ledger, utc_now(), past=past)
    inv.emit({"budgets": [left.document() for left in budgets]}, lambda console: _text(console, budgets))


def _text(console: "Console", budgets: "list[RemainingBudget]") -> None:
    def usd(amount: int | None) -> str:
        return "no limit" if amount is None else format_usd(amount)

    rows = [
        (left.budget, usd(left.usd_micros), usd(left.limit_usd_micros), usd(left.held_usd_micros))
        for left in budgets
    ]
    if rows:
        columns(console, ("budget", "left", "limit", "reserved and settled"), rows)
    else:
        console.print("no budget has a limit: sora-ledger budget set all --limit 100 --period month")
