"""``audit``: check that every attempt, video and dollar is accounted for."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode
from cli.flows import all_ledgers
from cli.invocation import Invocation
from cli.options import common
from cli.options.job_names import JOB
from cli.options.since import read_since
from cli.text.tables import fold
from cli.text.usage import Usage
from decision.money import format_usd
from render_service.api.sessions import finished
from render_service.recovery.attempts import GRACE_S
from render_service.recovery.audit import Scope, audit, count_attempts_at
from render_service.recovery.findings import deal_with
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput
from render_service.runtime.printable import printable
from render_service.runtime.settings import ALERTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from render_service.alerts.targets import Targets
    from render_service.recovery.attempt_counts import Attempts
    from render_service.recovery.audit import Audit
    from render_service.recovery.findings import Finding
    from render_service.session.session import Session


@click.command("audit")
@click.option("--since", callback=read_since, metavar="TIME", help="Ignore anything that began earlier.")
@click.option("--offline", is_flag=True, help="Ask no server; videos that only the server has are not found.")
@click.option(
    "--grace",
    "grace_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0.0),
    default=GRACE_S,
    show_default=True,
    help="Minimum age at which an open attempt is a finding.",
)
@click.option(
    "--as-of",
    metavar="POSITION",
    type=click.IntRange(min=1),
    help="Only count the attempts up to this position of the ledger.",
)
@click.option(
    "--dealt-with",
    "dealt_with",
    metavar="JOB",
    type=JOB,
    help="Record that the findings of this job are dealt with.",
)
@all_ledgers.option
@common.add_reason_option("What was done about them; recorded with --dealt-with.")
@click.option("--alert", is_flag=True, help="Notify the people in SORA_LEDGER_ALERTS of new findings.")
@common.calling
@common.invocation
def audit_command(
    inv: Invocation,
    *,
    since: str | None,
    offline: bool,
    grace_s: float,
    as_of: int | None,
    dealt_with: str | None,
    all_in: Path | None,
    reason: str | None,
    alert: bool,
) -> None:
    """Check that every attempt has an outcome, every video a job, and every dollar a file.

    Exit code 0 without findings, 11 with findings; each says what to do. A finding that cannot be changed any
    more, such as a failed render that was billed, is settled with --dealt-with.

    \b
    Example:
      sora-ledger audit
      sora-ledger audit --since 2026-11-01 --offline --json
      sora-ledger audit --alert
      sora-ledger audit --all ledgers
      sora-ledger audit --dealt-with job_01a2 --reason "it was not billed"
    """
    if all_in:
        all_ledgers.refuse({"--alert": alert, "--as-of": as_of, "--dealt-with": dealt_with})
    if (dealt_with is None) != (not (reason or "").strip()):
        raise Usage(
            "--dealt-with needs --reason TEXT, and --reason belongs to --dealt-with",
            param="reason",
            expected="--dealt-with and --reason together",
            found="one of them",
        )
    if dealt_with is not None and reason is not None:
        _deal_with(inv, dealt_with, reason)
        return
    if as_of is not None:
        _count(inv, as_of)
        return

    targets = _targets(inv) if alert else None
    scope = Scope(since, grace_s, offline)
    if all_in:
        all_ledgers.check_all(
            inv, all_in, lambda ledger: _run_audit(ledger, scope).document(), ExitCode.AUDIT
        )
        return
    done = _run_audit(inv, scope)
    inv.emit(done.document(), lambda console: _text(console, done))
    if targets and done.findings:
        inv.session(lambda session: _alert(session, targets, done.findings), calls=False)
    if done.findings:
        raise click.exceptions.Exit(ExitCode.AUDIT)


def _run_audit(inv: Invocation, scope: Scope) -> "Audit":
    with inv.ledger() as ledger:
        return finished(audit(ledger, inv.settings, inv.trace, scope))


def _targets(inv: Invocation) -> "Targets":
    from render_service.alerts.targets import read_targets

    if inv.settings.alerts_file is None:
        raise BadInput(
            f"--alert: set {ALERTS} to a file of alerts; docs/notifications.md shows one",
            param=ALERTS,
            expected="a file of alerts",
            found="nothing",
        )
    return read_targets(inv.settings.alerts_file)


async def _alert(session: "Session", targets: "Targets", findings: "Sequence[Finding]") -> None:
    from render_service.alerts.alerter import Alerter

    async with Alerter(session, targets) as alerter:
        await alerter.announce(findings)


def _deal_with(inv: Invocation, name: str, reason: str) -> None:
    async def follow(session: "Session") -> "list[Finding]":
        return await deal_with(session, name, reason)

    findings = inv.session(follow)

    def text(console: "Console") -> None:
        for finding in findings:
            console.print("[green]dealt with[/]", end="  ")
            console.print(f"{finding.code} {printable(finding.subject)}", markup=False)

    inv.emit({"dealt_with": [finding.document() for finding in findings]}, text)


def _count(inv: Invocation, position: int) -> None:
    with inv.ledger() as ledger:
        attempts = count_attempts_at(ledger, position)
    document = {"clean": attempts.adds_up, "position": position, "attempts": attempts.document()}
    inv.emit(document, lambda console: _equation(console, attempts))
    if not attempts.adds_up:
        raise click.exceptions.Exit(ExitCode.AUDIT)


NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps a number beside its name where a line is folded."""


def _equation(console: "Console", attempts: "Attempts") -> None:
    numbers = attempts.document()
    intended = numbers.pop("intended")
    parts = " + ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers.items())
    together = parts.replace(" ", NO_BREAK).replace(f"{NO_BREAK}+{NO_BREAK}", " + ")
    equation = f"{format_count(intended, 'attempt')} up to position {attempts.position} = {together}"
    for line in fold(console, equation):
        console.print(line.replace(NO_BREAK, " "), markup=False)


def _text(console: "Console", done: "Audit") -> None:
    _equation(console, done.attempts)
    for attempt in done.document()["open"]:
        console.print(f"open: {attempt['job_id']} is {attempt['state']}, begun {attempt['age_s']} s ago")
    spent, held = format_usd(done.settled_usd_micros), format_usd(done.reserved_usd_micros)
    console.print(f"spent {spent}, reserved {held}")
    for server in done.servers:
        status = server.because or f"{server.listed} listed"
        if server.listed is None and not status.startswith("not asked"):
            status = f"not searched: {status}"
        status += f", and perhaps more: {server.doubt}" if server.doubt else ""
        at = f" at {server.server}" if server.server else ""
        console.print(f"{server.profile}{at}: {status}", markup=False)
    for finding in done.findings:
        console.print(f"[red]{finding.code}[/]", end=" ")
        console.print(printable(f"{finding.subject}\n  {finding.found}\n  → {finding.do}"), markup=False)
    if done.dealt_with:
        console.print(f"{len(done.dealt_with)} more dealt with before: --json has them")
    if not done.findings:
        console.print("[green]no findings[/]")
