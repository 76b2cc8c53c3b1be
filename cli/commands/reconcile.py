"""``reconcile``: find the outcome of a submission whose answer was lost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode
from cli.failures import Failure
from cli.invocation import Invocation
from cli.options import common
from cli.text.usage import Usage
from ledger.errors import argv_of
from render_service.recovery import reconcile
from render_service.recovery.attempts import GRACE_S
from render_service.recovery.verdict import settlements_document

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.recovery.verdict import Settlement
    from render_service.session.session import Session


@click.command("reconcile")
@common.maybe_job_id
@click.option("--all", "everything", is_flag=True, help="Every job whose submission was lost or cut off.")
@click.option(
    "--grace",
    "grace_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0.0),
    default=GRACE_S,
    show_default=True,
    help="Age from which an attempt counts as lost; 0 if nothing is being submitted. It does not shorten "
    "the wait for proof of absence.",
)
@click.option("--video-id", metavar="ID", help="Assign this video; the server is asked whether it matches.")
@click.option("--force", is_flag=True, help="Assign it even if the server describes it differently.")
@click.option(
    "--absent", is_flag=True, help="Declare that nothing was created; the request may be sent again."
)
@common.add_reason_option("How you know that; recorded with --absent.")
@common.calling
@common.invocation
def reconcile_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str | None,
    everything: bool,
    grace_s: float,
    video_id: str | None,
    force: bool,
    absent: bool,
    reason: str | None,
) -> None:
    """Look for the video of a submission whose answer was lost; nothing is ever sent a second time.

    A matching video is recovered. If there is none, and the server's list proves it, the request may be
    sent again. Anything uncertain is left to you, with the commands to choose from and exit code 6.

    \b
    Example:
      sora-ledger reconcile --all
      sora-ledger reconcile job_01a2 --video-id video_123
      sora-ledger reconcile job_01a2 --absent --reason "the operator sees none"
    """
    _check(name, video_id, reason, everything=everything, force=force, absent=absent)

    async def follow(session: "Session") -> "list[Settlement]":
        if name is None:
            return await reconcile.reconcile(session, await reconcile.open_jobs(session), grace_s=grace_s)
        job = await session.job(name)
        if video_id is not None:
            return [await reconcile.take_video(session, job, video_id, force=force)]
        if reason is not None:
            return [await reconcile.declare_absent(session, job, reason)]
        return [await reconcile.reconcile_job(session, job, grace_s=grace_s)]

    settlements = inv.session(follow)

    inv.emit(settlements_document(settlements), lambda console: _text(console, settlements))
    if left := [settlement for settlement in settlements if settlement.is_open]:
        Failure(
            "not_settled",
            ExitCode.UNKNOWN,
            "; ".join(f"{settlement.job.job_id} is not settled: {settlement.why}" for settlement in left),
            param="job",
            expected="a submission whose outcome is known",
            found=", ".join(settlement.verdict for settlement in left),
            next=[argv_of(command) for settlement in left for command in settlement.commands],
        ).report()
        raise click.exceptions.Exit(ExitCode.UNKNOWN)


def _check(
    name: str | None, video_id: str | None, reason: str | None, *, everything: bool, force: bool, absent: bool
) -> None:
    if (name is None) == (not everything):
        raise Usage(
            "give either a job or --all", param="job", expected="one of JOB and --all", found="none or both"
        )
    if name is None and (video_id or absent):
        raise Usage(
            "--video-id and --absent are about one job: name it",
            param="job",
            expected="one job",
            found="--all",
        )
    if video_id and absent:
        raise Usage(
            "give either --video-id or --absent",
            param="video_id",
            expected="one of --video-id and --absent",
            found="both",
        )
    if absent != (reason is not None) or (absent and not (reason or "").strip()):
        raise Usage(
            "--absent needs --reason TEXT, and --reason belongs to --absent",
            param="reason",
            expected="--absent and --reason together",
            found="one of them",
        )
    if force and not video_id:
        raise Usage("--force belongs to --video-id", param="force", expected="--video-id", found="nothing")


def _text(console: "Console", settlements: "Sequence[Settlement]") -> None:
    if not settlements:
        console.print("no submission is lost or under way")
    for settlement in settlements:
        style = "yellow" if settlement.is_open else "green"
        console.print(f"[{style}]{settlement.verdict.replace('_', ' ')}[/]  {settlement.job.job_id}")
        console.print(f"  {settlement.why}", markup=False)
        for command in settlement.commands:
            console.print(f"  → {command}", markup=False)
        if settlement.verdict == "recovered":
            console.print(f"  → sora-ledger poll --id {settlement.job.job_id}")
