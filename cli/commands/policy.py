"""``policy``: the rules that decide, and activating others."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.flows.propose import propose
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.command import Group
from cli.text import output
from decision.money import format_usd
from decision.rules.approvals import Change
from render_service.approvals.changes import propose_activation
from render_service.rules.opening import activate
from render_service.rules.policies import read_rules
from render_service.runtime.documents import counted
from render_service.runtime.printable import printable
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.rules.policies import Rules


_catalog = click.option(
    "--catalog",
    "catalog_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The catalog to use with it.  [default: the active one]",
)


@click.group("policy", cls=Group, short_help="Show, check or activate the policy.")
def policy_command() -> None:
    """Show the policy and catalog that decide, check the files of others, or activate them.

    \b
    Example:
      sora-ledger policy show
      sora-ledger policy check team.toml
      sora-ledger policy activate team.toml --reason "Maria approves finals"
    """


@policy_command.command("show", short_help="Show the active policy and catalog.")
@click.option(
    "--packaged",
    metavar="NAME",
    type=click.Choice(["policy", "catalog"]),
    help="Print the policy or catalog file of the package, as a starting point for your own.",
)
@common.unused_key
@common.invocation
def show_command(inv: Invocation, *, packaged: str | None) -> None:
    """Show the active policy and catalog.

    \b
    Example:
      sora-ledger policy show
      sora-ledger policy show --packaged policy
    """
    if packaged:
        text = files("decision").joinpath(f"{packaged}.toml").read_text(encoding="utf-8")
        output.print_text(text, newline=False)
        return
    rules = inv.rules
    inv.emit(_document(rules), lambda console: _text(console, rules))


@policy_command.command("check", short_help="Check a policy file; change nothing.")
@click.argument("file", type=click.Path(path_type=Path))
@_catalog
@common.unused_key
@common.invocation
def check_command(inv: Invocation, *, file: Path, catalog_file: Path | None) -> None:
    """Check a policy file; change nothing.

    Unknown keys, negative prices, two prices for one date and weights that are not numbers are errors, with
    line and key. Rules that can never match are warnings.

    \b
    Example:
      sora-ledger policy check team.toml
    """
    rules = _read(inv, file, catalog_file)
    inv.emit(_document(rules), lambda console: _checked(console, rules))


@policy_command.command("activate", short_help="Activate a policy, or propose it for approval.")
@click.argument("file", type=click.Path(path_type=Path))
@_catalog
@common.reason("Why it becomes active; required, and recorded.")
@common.signed_request
@common.invocation
def activate_command(inv: Invocation, *, file: Path, catalog_file: Path | None, reason: str | None) -> None:
    """Activate a policy.

    If the active policy requires approval, the new one is proposed and waits; `changes` lists what waits.

    \b
    Example:
      sora-ledger policy activate team.toml --reason "Maria approves finals"
    """
    why = (reason or "").strip()
    if not why:
        raise click.UsageError('say why it becomes active: --reason "…"; it is recorded with your name')
    rules = _read(inv, file, catalog_file)
    if inv.rules.policy.rules_for(Change.POLICY):
        propose(inv, lambda office: propose_activation(office, rules, why))
        return
    inv.drain_spool()
    record = activate(inv.settings, inv.trace, utc_now(), rules, why)
    document = _document(rules) | {"activated": _activated(record)}
    inv.emit(document, lambda console: console.print(f"{_named(rules)} decides from now on", markup=False))


def _read(inv: Invocation, file: Path, catalog_file: Path | None) -> "Rules":
    rules = read_rules(file, catalog_file, lambda: inv.rules)
    for warning in rules.warnings:
        say(f"warning: {warning}")
    return rules


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
    lines.append(f"roles of access keys: {', '.join(policy.roles_in_force) or 'none'}")
    lines += [f"warning: {warning}" for warning in rules.warnings]
    return [
        *lines,
        "all of it: sora-ledger policy show --json",
        "one of your own: sora-ledger policy show --packaged policy > FILE; change it; policy check FILE",
    ]
