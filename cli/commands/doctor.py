"""``doctor``: check everything that a render needs, and suggest fixes."""

from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation
from cli.options import common
from cli.text.printable import escape, printable
from render_service.api.sessions import finished
from render_service.maintenance.doctor import Found, checkup

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.maintenance.doctor import Finding

INDENT = " " * 17
_STYLES = {"ok": "green", "wrong": "bold red", "skipped": "bright_black"}


@click.command("doctor", short_help="Check the setup and suggest fixes.")
@common.dry_run
@common.calling
@common.invocation
def doctor_command(inv: Invocation, *, dry_run: bool) -> None:
    """Check profile, key, server, clock, ledger, storage and sandbox; say what to fix.

    Costs nothing and records nothing. Exit code 0 if nothing is wrong, else 1.

    \b
    Example:
      sora-ledger doctor
      sora-ledger doctor --profile sandbox --json
    """

    async def collect() -> "list[Finding]":
        looking = checkup(inv.settings, inv.trace, asks=not dry_run, even_if_retired=inv.even_if_retired)
        return [finding async for finding in looking]

    findings = finished(collect())
    healthy = all(finding.found is not Found.WRONG for finding in findings)
    document = {"healthy": healthy, "dry_run": dry_run, "findings": [each.document() for each in findings]}
    inv.emit(document, lambda console: _text(console, findings))
    if not healthy:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _text(console: "Console", findings: "list[Finding]") -> None:
    for finding in findings:
        style = _STYLES[finding.found.value]
        says = escape(printable(finding.says))
        console.print(f"[{style}]{finding.found:<8}[/]{finding.check:<9}{says}")
        if finding.fix:
            first, *more = printable(finding.fix).splitlines()
            console.print(f"{INDENT}[bold]→[/] {escape(first.strip())}")
            for line in more:
                console.print(f"{INDENT}  {line.removeprefix('  ')}", markup=False)
