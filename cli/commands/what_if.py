"""``what-if``: which past decisions another policy would have made differently."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text.printable import printable
from cli.text.tables import columns
from decision.money import format_usd
from render_service.reports.what_if import what_if
from render_service.rules.policies import read_rules

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.reports.what_if import Differing, Outlook, Tally

LISTED = 20


@click.command("what-if", short_help="Show which past decisions another policy would change.")
@click.option(
    "--policy",
    "policy_file",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The policy to try; it is not activated.",
)
@click.option(
    "--catalog",
    "catalog_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A catalog to try with it.  [default: the one of each decision]",
)
@click.option("--since", callback=common.read_moment, metavar="TIME", help="Only decisions since this time.")
@common.invocation
def what_if_command(
    inv: Invocation, *, policy_file: Path, catalog_file: Path | None, since: str | None
) -> None:
    """Show which past decisions another policy would change, and what that costs.

    Every job counts once, with its first decision. Nothing is recorded and nothing changes.

    \b
    Example:
      sora-ledger what-if --policy team.toml --since 2026-11-01
    """
    rules = read_rules(policy_file, catalog_file, lambda: inv.rules)
    for warning in rules.warnings:
        say(f"warning: {warning}")
    with inv.ledger() as ledger:
        tally = what_if(ledger, rules.policy, rules.catalog if catalog_file else None, since)
    document = _document(tally) | {"policy_sha256": rules.policy.digest}
    inv.emit(document, lambda console: _text(console, tally))


def _document(tally: "Tally") -> dict[str, Any]:
    return {
        "decisions": tally.decisions,
        "different": tally.different,
        "not_recomputable": tally.unreadable,
        "kinds": dict(sorted(tally.kinds.items())),
        "before_usd_micros": tally.before_usd_micros,
        "after_usd_micros": tally.after_usd_micros,
        "difference_usd_micros": tally.after_usd_micros - tally.before_usd_micros,
        "held_before_usd_micros": tally.held_before_usd_micros,
        "held_after_usd_micros": tally.held_after_usd_micros,
        "jobs": [_job(one) for one in tally.shown],
    }


def _job(one: "Differing") -> dict[str, Any]:
    return {
        "job_id": one.record.stream,
        "position": one.record.position,
        "at": one.record.recorded_at,
        "operation": one.inputs.operation.value,
        "purpose": one.inputs.purpose,
        "before": _outlook(one.before),
        "after": _outlook(one.after),
        "difference_usd_micros": one.difference_usd_micros,
    }


def _outlook(outlook: "Outlook") -> dict[str, Any]:
    return {
        "decision": outlook.decision,
        "model": outlook.model,
        "cost_usd_micros": outlook.cost_usd_micros,
        "why": outlook.why,
    }


def _text(console: "Console", tally: "Tally") -> None:
    console.print(f"{tally.different} of {tally.decisions} decisions would come out differently")
    rows = [
        (one.record.stream, _short(one.before), _short(one.after), f"{_signed(one.difference_usd_micros)}")
        for one in tally.shown[:LISTED]
    ]
    if rows:
        columns(console, ("job", "then", "now", "cost"), rows)
    if tally.different > LISTED:
        console.print(f"… and {tally.different - LISTED} more: --json lists them")
    before, after = tally.before_usd_micros, tally.after_usd_micros
    difference = _signed(after - before)
    console.print(f"allowed: {format_usd(before)} then, {format_usd(after)} now ({difference})", markup=False)
    if tally.held_before_usd_micros or tally.held_after_usd_micros:
        then, now = format_usd(tally.held_before_usd_micros), format_usd(tally.held_after_usd_micros)
        console.print(f"waiting for a person: {then} then, {now} now")
    if tally.unreadable:
        console.print(f"{tally.unreadable} decisions cannot be read any more; `replay --decisions` says why")


def _short(outlook: "Outlook") -> str:
    what = outlook.model or outlook.why or ""
    return printable(f"{outlook.decision} {what}".strip())


def _signed(micros: int) -> str:
    return f"{'-' if micros < 0 else '+'}{format_usd(abs(micros))}"
