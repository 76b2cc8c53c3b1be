"""``budget``: limits of what may be spent, and what is left."""

from typing import TYPE_CHECKING, Any

import click

from cli.flows.propose import propose
from cli.invocation import Invocation
from cli.options import common
from cli.options.common import read_dollars
from cli.text.tables import columns
from decision.money import format_usd
from decision.rules.approvals import Change
from ledger.log.ledger import Ledger
from render_service.approvals.changes import propose_limit
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import set_limit, standing
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.rules.budgets import Left

LIFTED = "none"


@click.command("budget", short_help="Set spending limits and show what is left.")
@click.argument("action", metavar="set|list", type=click.Choice(["set", "list"]))
@click.argument("name", required=False)
@click.option("--limit", metavar="USD", help="Dollars, such as 250 or 2.50; none lifts the limit.")
@click.option(
    "--period",
    metavar="WORD",
    type=click.Choice(["none", "month", "day"]),
    help="The limit is for each month or day (UTC), or for ever.  [default: none]",
)
@click.option("--why", metavar="TEXT", help="Recorded with it.")
@click.option("--past", is_flag=True, help="With list: the months and days that are over too.")
@common.signed_request
@common.invocation
def budget_command(  # one parameter per option
    inv: Invocation,
    *,
    action: str,
    name: str | None,
    limit: str | None,
    period: str | None,
    why: str | None,
    past: bool,
) -> None:
    """Limit what may be spent, and see what is left.

    A budget is called after what it is for: all, team_WORD, project_WORD, purpose_WORD, or several of these
    joined by two underscores. A render is paid from every budget that fits it, and denied where one has too
    little left. If the active policy requires approval, the limit is proposed and waits;
    `changes` lists what waits.

    \b
    Example:
      sora-ledger budget set team_film --limit 500 --period month --why "agreed"
      sora-ledger budget set project_spring__purpose_final --limit 120
      sora-ledger budget list
    """
    if action == "list":
        if name or limit or period or why:
            raise click.UsageError("budget list takes no more; `budget set NAME --limit USD` sets one")
        with inv.ledger() as ledger:
            _show(inv, ledger, past=past)
        return
    if past:
        raise click.UsageError("--past is for `budget list`")
    if name is None or limit is None:
        raise click.UsageError("say which and how much: sora-ledger budget set NAME --limit USD")
    _set(
        inv,
        name,
        None if limit == LIFTED else read_dollars("--limit", limit),
        period or "none",
        why,
    )


def _set(inv: Invocation, name: str, usd_micros: int | None, period: str, why: str | None) -> None:
    budget, now, who = read_name(name, Period(period)), utc_now(), inv.settings.provenance(inv.trace)
    if inv.rules.policy.rules_for(Change.BUDGET):
        propose(inv, lambda office: propose_limit(office, budget, usd_micros, why))
        return
    with Ledger.open_or_create(inv.settings.ledger_url, who, now) as ledger:
        set_limit(ledger, budget, usd_micros, why, now, who)
        _show(inv, ledger)


def _show(inv: Invocation, ledger: Any, *, past: bool = False) -> None:
    found = standing(ledger, utc_now(), past=past)
    inv.emit({"budgets": [left.document() for left in found]}, lambda console: _text(console, found))


def _text(console: "Console", found: "list[Left]") -> None:
    def usd(amount: int | None) -> str:
        return "no limit" if amount is None else format_usd(amount)

    rows = [
        (left.budget, usd(left.usd_micros), usd(left.limit_usd_micros), usd(left.held_usd_micros))
        for left in found
    ]
    if rows:
        columns(console, ("budget", "left", "limit", "reserved and settled"), rows)
    else:
        console.print("no budget has a limit: sora-ledger budget set all --limit 100 --period month")
