"""``status``: where a job stands; asks the server only while it is running."""

from typing import TYPE_CHECKING

import click

from cli.flows.adopt import job_of
from cli.flows.capabilities import check_offered
from cli.flows.outcome import end
from cli.invocation import Invocation
from cli.options import common
from ledger.errors import JobNotFound, LedgerUnusable
from ledger.job import JOB_PREFIX, State

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.session.session import Session


@click.command("status", short_help="Say where a job stands.")
@common.job_id
@click.option("--offline", is_flag=True, help="Say what the ledger knows; ask no server.")
@common.dry_run
@common.calling
@common.invocation
def status_command(inv: Invocation, *, name: str, offline: bool, dry_run: bool) -> None:
    """Say where a job stands; a running one is looked at on the server first.

    A video that only the server knows is adopted, as by `poll`, `download` and `delete`.

    \b
    Example:
      sora-ledger status --id job_01a2
    """
    if dry_run:
        show_get(inv, name)
        return
    job = _known(inv, name) if offline else job_of(inv, name)
    if job.state is State.RUNNING and not offline:
        job = inv.session(lambda session: _refreshed(session, job.job_id))
    inv.emit(inv.job_document(job), lambda console: _text(console, inv, job))
    end(inv, job)


def _known(inv: Invocation, name: str) -> "Job":
    with inv.ledger() as ledger:
        return ledger.job(name)


async def _refreshed(session: "Session", job_id: str) -> "Job":
    from render_service.settlement.settle import refresh  # noqa: PLC0415

    return await refresh(session, await session.job(job_id))


def _text(console: "Console", inv: Invocation, job: "Job") -> None:
    from cli.text.jobs import show_job  # noqa: PLC0415  # rich: only for text

    show_job(console, job, inv.settings.place_url)
    if job.state in {State.RUNNING, State.COMPLETED}:
        console.print(f"next: sora-ledger poll --id {job.job_id}")


def show_get(inv: Invocation, name: str, *, method: str = "GET", suffix: str = "") -> None:
    """Emit the request that would be made for one video; an unknown video id is taken as it is."""
    from render_service.session.servers import check_server  # noqa: PLC0415
    from render_service.submission.preview import address  # noqa: PLC0415
    from render_service.submission.sources import video_in  # noqa: PLC0415

    video_id, profile = name, inv.settings.chosen_profile()
    try:
        with inv.ledger() as ledger:
            job = ledger.job(name)
            video_id, profile = video_in(job)
            check_server(inv.settings, ledger, job)
    except (JobNotFound, LedgerUnusable):  # a preview needs no ledger, unless it is the one who knows the id
        if name.startswith(JOB_PREFIX):
            raise
    check_offered(inv.settings, profile, "delete" if method == "DELETE" else "retrieve")
    url = f"{address(inv.settings, profile)}/videos/{video_id}{suffix}"
    document = {"dry_run": True, "request": {"method": method, "url": url}}
    inv.emit(document, lambda console: console.print(f"{method} {url}", markup=False))
