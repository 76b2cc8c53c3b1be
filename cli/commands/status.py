"""``status``: the state of a job; the server is asked only while it is running."""

from typing import TYPE_CHECKING

import click

from cli.flows.outcome import end
from cli.flows.video import job_of, show_get
from cli.invocation import Invocation
from cli.options import common
from cli.text.jobs import show_job, show_split
from ledger.terms import State
from render_service.session.splits import find_split_progress

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.session.session import Session


@click.command("status")
@common.job_id
@click.option("--offline", is_flag=True, help="Show what the ledger knows; ask no server.")
@common.dry_run
@common.calling
@common.invocation
def status_command(inv: Invocation, *, name: str, offline: bool, dry_run: bool) -> None:
    """Show the state of a job; a running job is refreshed from the server first.

    A video that only the server knows is adopted, as with `poll`, `download` and `delete`.

    \b
    Example:
      sora-ledger status --id job_01a2
    """
    if dry_run:
        show_get(inv, name)
        return
    job = _find_known(inv, name) if offline else job_of(inv, name)
    if job.state is State.RUNNING and not offline:
        job = inv.session(lambda session: _refreshed(session, job.job_id))
    with inv.ledger() as ledger:
        standing = find_split_progress(ledger, job)
    document = inv.job_document(job) | {"split": standing.document() if standing else None}

    def text(console: "Console") -> None:
        _show_state(console, inv, job)
        show_split(console, standing)

    inv.emit(document, text)
    end(inv, job)


def _find_known(inv: Invocation, name: str) -> "Job":
    with inv.ledger() as ledger:
        return ledger.job(name)


async def _refreshed(session: "Session", job_id: str) -> "Job":
    from render_service.settlement.settle import refresh  # only a running job

    return await refresh(session, await session.job(job_id))


def _show_state(console: "Console", inv: Invocation, job: "Job") -> None:
    show_job(console, job, inv.settings.place_url)
    if job.state in {State.RUNNING, State.COMPLETED}:
        console.print(f"next: sora-ledger poll --id {job.job_id}")
