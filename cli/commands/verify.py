"""``verify``: check that the record is intact."""

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands.checkpoint import NOT_CHECKED
from cli.exit_codes import ExitCode
from cli.flows import all_ledgers
from cli.invocation import Invocation, say
from cli.options import common
from cli.text.tables import fold, show_findings
from cli.text.usage import Usage
from render_service.evidence.verify import Scope, check
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.evidence.verify import VerifyResult
    from render_service.session.session import Session


@click.command("verify")
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A checkpoint kept elsewhere; finds a removed or rewritten tail too.",
)
@common.verifier
@common.by_policy
@common.tsa_chain
@click.option(
    "--since",
    metavar="POSITION",
    type=int,
    help="Check only the records after this position, and the jobs that continue there.",
)
@click.option(
    "--processes",
    metavar="COUNT",
    type=click.IntRange(1, 64),
    help="Processes that read the ledger.  [default: one per processor; one for a short ledger]",
)
@common.add_with_assets_option("Also check the digest of every stored file.")
@all_ledgers.option
@click.option("--record", is_flag=True, help="Record that the ledger was found intact, and by whom.")
@common.invocation
def verify_command(
    inv: Invocation,
    *,
    against: Path | None,
    verifier: tuple[str, ...],
    witnesses: Path | None,
    tsa_chain: Path | None,
    since: int | None,
    processes: int | None,
    with_assets: bool,
    all_in: Path | None,
    record: bool,
) -> None:
    """Recompute every digest, leaf, root, transition and job row from the stored bytes.

    Exit code 0 if the record is intact, 10 with findings. A ledger that was rebuilt from scratch is intact as
    well; only --against a checkpoint kept elsewhere shows that it was replaced.

    --record adds one record to the ledger, which the console's page Operations shows; with findings it adds
    nothing.

    \b
    Example:
      sora-ledger verify --ledger demo-output/ledger.db
      sora-ledger verify --against checkpoint.txt --with-assets
      sora-ledger verify --record
      sora-ledger verify --all ledgers
    """
    if all_in:
        all_ledgers.refuse({"--against": against, "--since": since is not None, "--record": record})
        scope = Scope(None, (), None, with_assets, processes)
        all_ledgers.check_all(
            inv, all_in, lambda ledger: _document(check(ledger.settings, scope)), ExitCode.INTEGRITY
        )
        return
    scope = Scope(against, verifier, since, with_assets, processes, witnesses, tsa_chain)
    _refuse_contradictions(scope, record=record)
    checked = check(inv.settings, scope)
    report = checked.report
    if record and report.clean:
        inv.session(partial(_record, checked=checked), calls=False)
    inv.emit(_document(checked), lambda console: _text(console, checked))
    if checked.held and not (checked.signed_by or verifier or checked.cosigned_by):
        say(NOT_CHECKED)
    if checked.since:
        say(f"positions 1 to {checked.since} were taken as they are; `sora-ledger verify` reads them too")
    if not report.clean:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _refuse_contradictions(scope: Scope, *, record: bool) -> None:
    """Refuse options that contradict each other."""
    if (scope.witnesses or scope.tsa_chain) and not scope.against:
        raise Usage(
            "--witnesses and --tsa-chain are about a checkpoint; add --against FILE",
            param="against",
            expected="--against FILE",
            found="nothing",
        )
    if scope.verifiers and not scope.against:
        raise Usage(
            "--verifier checks the signature of a checkpoint; add --against FILE",
            param="against",
            expected="--against FILE",
            found="nothing",
        )
    if record and scope.since is not None:
        raise Usage(
            "--record is for a verification of all records; leave out --since",
            param="record",
            expected="a verification of all records",
            found="--since",
        )
    if scope.processes and scope.since is not None:
        raise Usage(
            "--since is read by one process; leave --processes out",
            param="processes",
            expected="--since without --processes",
            found="both",
        )


def _document(checked: "VerifyResult") -> dict[str, Any]:
    report = checked.report
    return {
        "clean": report.clean,
        "size": report.size,
        "root": report.root,
        "jobs": report.jobs,
        "since": checked.since,
        "against": checked.held.size if checked.held else None,
        "signed_by": list(checked.signed_by),
        "cosigned_by": list(checked.cosigned_by),
        "stamped_at": checked.stamped_at,
        "files": checked.files,
        "findings": [finding._asdict() for finding in report.findings],
        "more_findings": report.more_findings,
    }


async def _record(session: "Session", checked: "VerifyResult") -> None:
    from render_service.evidence.recorded_checks import record_verified

    await asyncio.to_thread(record_verified, session, checked)


def _text(console: "Console", checked: "VerifyResult") -> None:
    report = checked.report
    if report.clean:
        what = f"intact after position {checked.since}" if checked.since else "intact"
        size = f"{format_count(report.size, 'record')}, {format_count(report.jobs, 'job')}"
        first, *further = fold(console, f"{what}: {size}, root {report.root}")
        console.print(f"[green]{what}[/]{first.removeprefix(what)}")
        for line in further:
            console.print(line, markup=False)
        if checked.held:
            by = f", signed by {printable(', '.join(checked.signed_by))}" if checked.signed_by else ""
            held = format_count(checked.held.size, "record")
            console.print(f"extends the checkpoint of {held}{by}", markup=False)
        if checked.cosigned_by:
            console.print(f"cosigned by {printable(', '.join(checked.cosigned_by))}", markup=False)
        if checked.stamped_at:
            console.print(f"dated {checked.stamped_at}", markup=False)
        if checked.files is not None:
            files = format_count(checked.files, "stored file")
            console.print(f"{files} checked: each as recorded, or let go as recorded")
        return
    show_findings(console, report)
    console.print("keep this file unchanged: it is the evidence")
