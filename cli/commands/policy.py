"""``policy``: the rules that decide, and the activation of others."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.flows.propose import propose
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.command import Group
from cli.text import output
from cli.text.tables import fold
from cli.text.usage import Usage
from decision.rules.approvals import Change
from render_service.approvals.changes import propose_activation
from render_service.rules.opening import activate
from render_service.rules.policies import read_rules
from render_service.rules.policy_words import activations, describe_policy, rules_differences
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from render_service.rules.policies import Rules
    from render_service.rules.policy_words import Activation, Difference


_catalog = click.option(
    "--catalog",
    "catalog_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The catalog to use with it.  [default: the active one]",
)


_guardrails = click.option(
    "--guardrails",
    "guardrails_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Terms and moderation rules to use with it.  [default: its own, else the active ones]",
)


@click.group("policy", cls=Group)
def policy_command() -> None:
    """Show the active policy and catalog; check or activate other files.

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
    type=click.Choice(["policy", "catalog", "guardrails"]),
    help="Print this packaged file, as a starting point for your own.",
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
@_guardrails
@common.unused_key
@common.invocation
def check_command(
    inv: Invocation, *, file: Path, catalog_file: Path | None, guardrails_file: Path | None
) -> None:
    """Check a policy file; change nothing.

    Unknown keys, negative prices, two prices for one date and weights that are not numbers are errors, with
    line and key. Rules that can never match are warnings.

    \b
    Example:
      sora-ledger policy check team.toml
    """
    rules = _read(inv, file, catalog_file, guardrails_file)
    inv.emit(_document(rules), lambda console: _print_check(console, rules))


@policy_command.command("activate", short_help="Activate a policy, or propose it for approval.")
@click.argument("file", type=click.Path(path_type=Path))
@_catalog
@_guardrails
@common.add_reason_option("Why it becomes active; required, and recorded.")
@common.signed_request
@common.invocation
def activate_command(
    inv: Invocation,
    *,
    file: Path,
    catalog_file: Path | None,
    guardrails_file: Path | None,
    reason: str | None,
) -> None:
    """Activate a policy.

    If the active policy requires approval, the new one is proposed and waits; `changes` lists it.

    \b
    Example:
      sora-ledger policy activate team.toml --reason "Maria approves finals"
      sora-ledger policy activate team.toml --guardrails words.toml --reason "…"
    """
    why = (reason or "").strip()
    if not why:
        raise Usage(
            'say why it becomes active: --reason "…"; it is recorded with your name',
            param="reason",
            expected="a reason",
            found="nothing",
        )
    rules = _read(inv, file, catalog_file, guardrails_file)
    if inv.rules.policy.rules_for(Change.POLICY):
        propose(inv, lambda office: propose_activation(office, rules, why))
        return
    inv.drain_spool()
    record = activate(inv.settings, inv.trace, utc_now(), rules, why)
    document = _document(rules) | {"activated": _describe_activation(record)}
    inv.emit(
        document, lambda console: console.print(f"{_name_rules(rules)} decides from now on", markup=False)
    )


@policy_command.command("list", short_help="List the policies that were in force, with their changes.")
@common.unused_key
@common.invocation
def list_command(inv: Invocation) -> None:
    """List the policies that were activated, newest first: who, when, why, and what each of them changed.

    \b
    Example:
      sora-ledger policy list
    """
    with inv.reader() as ledger:
        activations_ = activations(ledger)[::-1]
    document = {"activations": [_activation(activation) for activation in activations_]}
    inv.emit(document, lambda console: _print_activations(console, activations_))


@policy_command.command("diff", short_help="Compare a policy file with the active policy.")
@click.argument("file", type=click.Path(path_type=Path))
@_catalog
@_guardrails
@common.unused_key
@common.invocation
def diff_command(
    inv: Invocation, *, file: Path, catalog_file: Path | None, guardrails_file: Path | None
) -> None:
    """Show what a policy file would change, setting by setting; change nothing.

    \b
    Example:
      sora-ledger policy diff team.toml
    """
    changes = rules_differences(inv.rules, _read(inv, file, catalog_file, guardrails_file))
    document = {"changes": [change._asdict() for change in changes]}
    inv.emit(document, lambda console: _print_changes(console, changes, ""))


def _activation(activation: "Activation") -> dict[str, Any]:
    rules = activation.rules
    return {
        "policy": rules.policy.name,
        "policy_sha256": rules.policy.digest,
        "catalog_sha256": rules.catalog.digest,
        "activated": _describe_activation(activation.record),
        "changes": [change._asdict() for change in activation.changes],
    }


def _print_activations(console: "Console", found: "list[Activation]") -> None:
    for activation in found:
        record = activation.record
        who = f"{record.actor} ({record.envelope.actor_source})"
        why = activation.why or "erased"
        when = f"{record.recorded_at[:16]}Z  "
        text = printable(f"{activation.rules.policy.name}, activated by {who}: {why}")
        for line in fold(console, text, beside=len(when)):
            console.print(when + line, markup=False)
            when = " " * len(when)
        _print_changes(console, activation.changes, "  ")
    first = (
        "the policy of the package was in force before" if found else "the policy of the package is in force"
    )
    console.print(first, markup=False)


def _print_changes(console: "Console", changes: "Sequence[Difference]", indent: str) -> None:
    for setting, before, after in changes:
        text = f"{indent}{setting}: {before or 'not set'} → {after or 'not set'}"
        for line in fold(console, printable(text.strip()), beside=len(indent)):
            console.print(indent + line, markup=False)
    if not changes:
        console.print(f"{indent}no setting differs", markup=False)


def _read(inv: Invocation, file: Path, catalog_file: Path | None, guardrails_file: Path | None) -> "Rules":
    rules = read_rules(file, catalog_file, lambda: inv.rules, guardrails_file)
    for warning in rules.warnings:
        say(f"warning: {warning}")
    return rules


def _document(rules: "Rules") -> dict[str, Any]:
    return {
        "policy_sha256": rules.policy.digest,
        "catalog_sha256": rules.catalog.digest,
        "activated": _describe_activation(rules.activated),
        "warnings": list(rules.warnings),
        "policy": rules.policy.model_dump(mode="json", by_alias=True, exclude_none=True),
        "catalog": rules.catalog.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _describe_activation(record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    keys = ("position", "recorded_at", "actor", "actor_source")
    return {key: getattr(record.envelope, key) for key in keys} | {
        "why": record.event.why and record.event.why.text
    }


def _name_rules(rules: "Rules") -> str:
    policy, catalog = rules.policy, rules.catalog
    return (
        f"policy {policy.name} ({policy.digest[:12]}…) with catalog {catalog.name} ({catalog.digest[:12]}…)"
    )


def _print_check(console: "Console", rules: "Rules") -> None:
    count = len(rules.warnings)
    console.print(
        f"{_name_rules(rules)} can be used" + (f"; {format_count(count, 'warning')}" if count else ""),
        markup=False,
    )


def _text(console: "Console", rules: "Rules") -> None:
    for line in _lines(rules):
        indent = len(line) - len(line.lstrip())
        text = printable(line.strip())
        is_command = "sora-ledger " in line  # not folded, so that it can be copied
        for part in [text] if is_command else fold(console, text, beside=indent):
            console.print(" " * indent + part, markup=False)


def _lines(rules: "Rules") -> list[str]:
    policy, made = rules.policy, _describe_activation(rules.activated)
    since = "the one that comes with the package; none was activated in this ledger"
    if made:
        who = f"{made['actor']} ({made['actor_source']})"
        since = f"activated by {who} at {made['recorded_at'][:16]}Z: {made['why']}"
    lines = [_name_rules(rules), since, ""]
    for topic, text, details in describe_policy(policy):
        lines += [f"{topic}: {text}", *(f"  {detail}" for detail in details)]
    lines += [f"warning: {warning}" for warning in rules.warnings]
    return [
        *lines,
        "all of it: sora-ledger policy show --json",
        "one of your own: sora-ledger policy show --packaged policy > FILE; change it; policy check FILE",
    ]
