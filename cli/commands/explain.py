"""``explain``, ``whynot`` and ``what-if``: why a decision was made, and what another policy would change."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.since import read_since
from cli.text.decisions import show_explanation, show_why_not
from cli.text.jobs import shorten_id
from cli.text.tables import columns
from decision.money import format_usd
from render_service.reports.explain import explain, explain_denial
from render_service.reports.redecide import what_if
from render_service.rules.policies import read_rules
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.reports.redecide import ChangedDecision, Outlook, Tally


@click.command("explain")
@common.job_id
@common.invocation
def explain_command(inv: Invocation, *, name: str) -> None:
    """Explain what was decided on a job, why, by whose authority, and whether the record can be trusted.

    Digests, leaves and the path to the root of every record of the job are recomputed from the stored bytes;
    exit code 10 if one is wrong. `verify` checks the whole ledger.

    \b
    Example:
      sora-ledger explain job_01a2
    """
    with inv.reader() as ledger:
        document = explain(ledger, name).document
    inv.emit(document, lambda console: _show_answers(console, document))
    if not document["record"]["trusted"]:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _show_answers(console: "Console", document: dict[str, Any]) -> None:
    show_explanation(console, document)


@click.command("whynot")
@common.job_id
@common.invocation
def whynot_command(inv: Invocation, *, name: str) -> None:
    """Explain why a job was denied: each candidate with its gates, and the commands to type instead.

    For a failed render it shows the reason and the command that requests it again; for an allowed job, why
    no other model was chosen.

    \b
    Example:
      sora-ledger whynot job_01a2
    """
    with inv.reader() as ledger:
        document = explain_denial(ledger, name).document
    inv.emit(document, lambda console: _show_reasons(console, document))


def _show_reasons(console: "Console", document: dict[str, Any]) -> None:
    show_why_not(console, document)


LISTED = 20


@click.command("what-if")
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
    help="A catalog to try with it.  [default: each decision's own]",
)
@click.option(
    "--guardrails",
    "guardrails_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Terms and moderation rules to try with it.  [default: its own, else the active ones]",
)
@click.option("--since", callback=read_since, metavar="TIME", help="Only decisions since this time.")
@common.invocation
def what_if_command(
    inv: Invocation,
    *,
    policy_file: Path,
    catalog_file: Path | None,
    guardrails_file: Path | None,
    since: str | None,
) -> None:
    """Show which past decisions another policy would change, and what that costs.

    Every job counts once, with its first decision. Nothing is recorded and nothing changes.

    \b
    Example:
      sora-ledger what-if --policy team.toml --since 2026-11-01
    """
    rules = read_rules(policy_file, catalog_file, lambda: inv.rules, guardrails_file)
    for warning in rules.warnings:
        say(f"warning: {warning}")
    with inv.reader() as ledger:
        tally = what_if(ledger, rules.policy, rules.catalog if catalog_file else None, since)
    document = _tally_document(tally) | {"policy_sha256": rules.policy.digest}
    inv.emit(document, lambda console: _show_tally(console, tally))


def _tally_document(tally: "Tally") -> dict[str, Any]:
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
        "jobs": [_job_document(row) for row in tally.shown],
    }


def _job_document(differing: "ChangedDecision") -> dict[str, Any]:
    return {
        "job_id": differing.record.stream,
        "position": differing.record.position,
        "at": differing.record.recorded_at,
        "operation": differing.inputs.operation.value,
        "purpose": differing.inputs.purpose,
        "before": _outlook_document(differing.before),
        "after": _outlook_document(differing.after),
        "difference_usd_micros": differing.difference_usd_micros,
    }


def _outlook_document(outlook: "Outlook") -> dict[str, Any]:
    return {
        "decision": outlook.decision,
        "model": outlook.model,
        "cost_usd_micros": outlook.cost_usd_micros,
        "why": outlook.why,
    }


def _show_tally(console: "Console", tally: "Tally") -> None:
    console.print(f"{tally.different} of {tally.decisions} decisions would come out differently")
    rows = [
        (
            shorten_id(console, row.record.stream),
            _short(row.before),
            _short(row.after),
            _format_difference(row.difference_usd_micros),
        )
        for row in tally.shown[:LISTED]
    ]
    if rows:
        columns(console, ("job", "then", "now", "cost"), rows)
    if tally.different > LISTED:
        console.print(f"… and {tally.different - LISTED} more: --json lists them")
    before, after = tally.before_usd_micros, tally.after_usd_micros
    difference = _format_difference(after - before)
    console.print(f"allowed: {format_usd(before)} then, {format_usd(after)} now ({difference})", markup=False)
    if tally.held_before_usd_micros or tally.held_after_usd_micros:
        then, now = format_usd(tally.held_before_usd_micros), format_usd(tally.held_after_usd_micros)
        console.print(f"waiting for a person: {then} then, {now} now")
    if tally.unreadable:
        console.print(f"{tally.unreadable} decisions cannot be read any more; `replay --decisions` says why")


def _short(outlook: "Outlook") -> str:
    what = outlook.model or outlook.why or ""
    return printable(f"{outlook.decision} {what}".strip())


def _format_difference(micros: int) -> str:
    return f"{'-' if micros < 0 else '+'}{format_usd(abs(micros))}"
