"""``policy``: by which rules is decided, and bringing others."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.flows.propose import propose
from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from cli.text.printable import printable
from decision.money import format_usd
from decision.rules.approvals import Change
from render_service.approvals.changes import propose_activation
from render_service.rules.policies import activate, read_rules
from render_service.runtime.documents import counted
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.rules.policies import Rules


@click.command("policy", short_help="Show, check or activate the policy.")
@click.argument("action", metavar="show|check|activate", type=click.Choice(["show", "check", "activate"]))
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--catalog",
    "catalog_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A catalog to go with it.  [default: the active one]",
)
@click.option("--why", metavar="TEXT", help="Why it becomes active; recorded. Needed to activate.")
@click.option(
    "--packaged",
    metavar="NAME",
    type=click.Choice(["policy", "catalog"]),
    help="With show: print the policy or catalog file that comes with the package, to begin yours from.",
)
@common.signed_request
@common.invocation
def policy_command(
    inv: Invocation,
    *,
    action: str,
    file: Path | None,
    catalog_file: Path | None,
    why: str | None,
    packaged: str | None,
) -> None:
    """Show the policy and catalog that decide, check the files of others, or make these the active ones.

    A file is checked whole: unknown keys, negative prices, two prices for one date and weights that are no
    numbers are errors with line and key; rules that can never match are warnings. Where the active policy
    wants it, activating another is proposed and waits for approval; `changes` lists what waits.

    \b
    Example:
      sora-ledger policy show --packaged policy
      sora-ledger policy check team.toml
      sora-ledger policy activate team.toml --why "clients are approved by Maria"
    """
    if action == "show":
        if file or catalog_file or why:
            raise click.UsageError("policy show takes no file; `policy check FILE` looks at one")
        _show(inv, packaged)
        return
    if packaged:
        raise click.UsageError("--packaged is for `policy show`")
    if file is None:
        raise click.UsageError(f"name the policy file: sora-ledger policy {action} FILE")
    if action == "check" and why:
        raise click.UsageError("--why is for `policy activate`; checking changes nothing")
    if action == "activate" and not (why or "").strip():
        raise click.UsageError('say why it becomes active: --why "…"; it is recorded with your name')
    _take(inv, action, file, catalog_file, why or "")


def _show(inv: Invocation, packaged: str | None) -> None:
    if packaged:
        output.print_text(
            files("decision").joinpath(f"{packaged}.toml").read_text(encoding="utf-8"), newline=False
        )
        return
    rules = inv.rules
    inv.emit(_document(rules), lambda console: _text(console, rules))


def _take(inv: Invocation, action: str, file: Path, catalog_file: Path | None, why: str) -> None:
    rules = read_rules(file, catalog_file, lambda: inv.rules)
    for warning in rules.warnings:
        say(f"warning: {warning}")
    document = _document(rules)
    if action == "check":
        inv.emit(document, lambda console: _checked(console, rules))
        return
    if inv.rules.policy.rules_for(Change.POLICY):
        propose(inv, lambda office: propose_activation(office, rules, why))
        return
    record = activate(inv.settings, inv.trace, utc_now(), rules, why)
    document["activated"] = _activated(record)
    inv.emit(document, lambda console: console.print(f"{_named(rules)} decides from now on", markup=False))


def _document(rules: "Rules") -> dict[str, Any]:
    return {
        "policy_sha256": rules.policy.digest,
        "catalog_sha256": rules.catalog.digest,
        "activated": _activated(rules.activated),
        "warnings": list(rules.warnings),
        "policy": rules.policy.model_dump(mode="json", by_alias=True, exclude_none=True),
        "catalog": rules.catalog.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _activated(record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    keys = ("position", "recorded_at", "actor", "actor_source")
    return {key: record.envelope[key] for key in keys} | {"why": record.event.why and record.event.why.text}


def _named(rules: "Rules") -> str:
    policy, catalog = rules.policy, rules.catalog
    return (
        f"policy {policy.name} ({policy.digest[:12]}…) with catalog {catalog.name} ({catalog.digest[:12]}…)"
    )


def _checked(console: "Console", rules: "Rules") -> None:
    count = len(rules.warnings)
    console.print(
        f"{_named(rules)} can be used" + (f"; {counted(count, 'warning')}" if count else ""),
        markup=False,
    )


def _text(console: "Console", rules: "Rules") -> None:
    for line in _lines(rules):
        console.print(printable(line), markup=False)


def _lines(rules: "Rules") -> list[str]:
    policy, made = rules.policy, _activated(rules.activated)
    since = "the one that comes with the package; none was activated in this ledger"
    if made:
        who = f"{made['actor']} ({made['actor_source']})"
        since = f"activated by {who} at {made['recorded_at'][:16]}Z: {made['why']}"
    lines = [_named(rules), since, ""]
    for rule in policy.approvals or ():
        who = f" signed by {' or '.join(rule.signed_by)}" if rule.signed_by else ""
        lines.append(
            f"approval {rule.code}: {counted(rule.people, 'person', 'people')}"
            f"{who or (', signed' if rule.wants_signature else '')}"
        )
        matches = rule.model_dump(exclude_none=True, exclude={"code", "people", "signed", "signed_by"})
        least = matches.pop("min_cost_usd_micros", None)
        lines += [f"  {name}: {', '.join(map(str, values))}" for name, values in matches.items()]
        lines += [f"  from {format_usd(least)}"] if least is not None else []
    lines.append(f"may be overridden: {', '.join(policy.overridable or ()) or 'nothing'}")
    lines.append(f"need an approved draft: {', '.join(policy.require_approved_draft or ()) or 'nothing'}")
    lines.append(f"need the guardrails attested: {'everything' if policy.require_attestation else 'nothing'}")
    lines.append(f"may sign approvals: {', '.join(policy.approvers or ()) or 'nobody'}")
    lines += [f"warning: {warning}" for warning in rules.warnings]
    return [
        *lines,
        "all of it: sora-ledger policy show --json",
        "one of your own: sora-ledger policy show --packaged policy > FILE; change it; policy check FILE",
    ]
