"""``cancel``, ``resume``, ``retry`` and ``give-up``: a job that was not submitted, failed or never ends."""

from typing import TYPE_CHECKING

import click

from cli.flows.propose import CHANGE, answer_change
from cli.flows.submit import document_placement, end_placed, show_placed, submit_and_show
from cli.invocation import Invocation
from cli.options import common
from cli.options.placement import PlacementOptions, add_placement_options
from cli.text.jobs import show_job, show_split
from cli.text.usage import Usage
from render_service.approvals.answer_changes import cancel_change
from render_service.session.splits import find_split_progress
from render_service.settlement.overdue import give_up
from render_service.submission.request_again import request_again, retried_job
from render_service.submission.resume import cancel

if TYPE_CHECKING:
    from rich.console import Console

    from decision.request.request import RenderRequest
    from ledger.job import Job
    from render_service.session.session import Session
    from render_service.session.splits import SplitProgress
    from render_service.submission.result import Placed


@click.command("cancel")
@common.job_id
@common.add_reason_option("Why it is withdrawn; recorded.")
@common.invocation
def cancel_command(inv: Invocation, *, name: str, reason: str | None) -> None:
    """Withdraw a job that waits for approval or submission; its reservation is released.

    For a submitted remix of a split, it withdraws the remixes that were to follow. It also withdraws a
    proposed change of the policy or of a budget (`changes`). It does not remove a video from the server;
    `delete` does.

    \b
    Example:
      sora-ledger cancel job_01a2 --reason "the client chose another concept"
    """
    if name.startswith(CHANGE):
        if reason:
            raise Usage(
                "--reason is for a job; a change is cancelled without it",
                param="reason",
                expected="a job",
                found="a change",
            )

        answer_change(inv, lambda office: cancel_change(office, name))
        return

    async def follow(session: "Session") -> "tuple[Job, SplitProgress | None]":
        job = await cancel(session, await session.job(name), reason)
        return job, find_split_progress(session.ledger, job)

    job, standing = inv.session(follow)

    def text(console: "Console") -> None:
        show_job(console, job, inv.settings.place_url)
        show_split(console, standing)

    inv.emit(inv.job_document(job) | {"split": standing.document() if standing else None}, text)


@click.command("resume")
@common.job_id
@common.calling
@common.invocation
def resume_command(inv: Invocation, *, name: str) -> None:
    """Submit a job that was decided but not sent: queued, approved, or known to have created nothing.

    The request is built from the record alone. A job that may have been submitted is never submitted again.

    \b
    Example:
      sora-ledger resume job_01a2
    """
    submit_and_show(inv, name)


@click.command("retry")
@common.job_id
@click.option("--attest", "attested", is_flag=True, help="Confirm the guardrails; recorded.")
@add_placement_options
@common.calling
@common.invocation
def retry_command(inv: Invocation, *, name: str, attested: bool, how: PlacementOptions) -> None:
    """Request again a render that failed, was lost, rejected, denied or withdrawn, as a new job.

    Everything in the request comes from its record. A job is retried once: the same command again shows the
    new job. Jobs that may still be billed are never retried.

    \b
    Example:
      sora-ledger retry job_01a2
    """

    async def follow(session: "Session") -> "tuple[Placed, RenderRequest]":
        job = await session.job(name)
        return await request_again(session, job, attested=attested, queue=how.queue, override=how.override)

    placed, request = inv.session(follow)
    with inv.ledger() as ledger:
        standing = find_split_progress(ledger, placed.job)
    document = document_placement(inv, placed, request) | {"retry_of": retried_job(request)}
    document |= {"split": standing.document() if standing else None}

    def text(console: "Console") -> None:
        console.print(f"{'retried before' if placed.repeated else 'retries'}: {retried_job(request)}")
        show_placed(inv, console, placed)
        show_split(console, standing)

    inv.emit(document, text)
    end_placed(inv, placed)


@click.command("give-up")
@common.job_id
@click.option("--reason", metavar="TEXT", required=True, help="Why it is given up; recorded.")
@common.invocation
def give_up_command(inv: Invocation, *, name: str, reason: str) -> None:
    """End a job whose render never finishes, or whose file never comes; no server is asked.

    The estimate counts as spent, because the server may bill it, and the job no longer counts as running. If
    the video appears later, `download` still stores it.
    For an attempt whose outcome is unknown use `reconcile`; for a job that was not submitted, `cancel`.

    \b
    Example:
      sora-ledger give-up job_01a2 --reason "the machine is gone"
    """
    if not reason.strip():
        raise Usage(
            "--reason must not be empty: the record explains the money with it",
            param="reason",
            expected="a reason",
            found="nothing",
        )

    async def follow(session: "Session") -> "Job":
        return await give_up(session, await session.job(name), reason)

    job = inv.session(follow, calls=False)

    def text(console: "Console") -> None:
        show_job(console, job, inv.settings.place_url)

    inv.emit(inv.job_document(job), text)
