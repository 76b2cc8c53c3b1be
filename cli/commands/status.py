"""``status`` and ``show``: the state of a job, and everything recorded about it."""

from typing import TYPE_CHECKING

import click

from cli.flows.outcome import end
from cli.flows.video import job_of, show_get
from cli.invocation import Invocation
from cli.options import common
from cli.text.jobs import show_job
from cli.text.printable import printable
from cli.text.record_lines import RecordLines
from ledger.events import RenderHeld
from ledger.job import State
from render_service.runtime.documents import job_document, record_document
from render_service.session.history import JobHistory

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from ledger.log.ledger import Ledger
    from render_service.reports.answers import Answer
    from render_service.session.session import Session


@click.command("status", short_help="Show the state of a job.")
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
    job = _known(inv, name) if offline else job_of(inv, name)
    if job.state is State.RUNNING and not offline:
        job = inv.session(lambda session: _refreshed(session, job.job_id))
    inv.emit(inv.job_document(job), lambda console: _show_state(console, inv, job))
    end(inv, job)


def _known(inv: Invocation, name: str) -> "Job":
    with inv.ledger() as ledger:
        return ledger.job(name)


async def _refreshed(session: "Session", job_id: str) -> "Job":
    from render_service.settlement.settle import refresh  # noqa: PLC0415  # only a running job

    return await refresh(session, await session.job(job_id))


def _show_state(console: "Console", inv: Invocation, job: "Job") -> None:
    show_job(console, job, inv.settings.place_url)
    if job.state in {State.RUNNING, State.COMPLETED}:
        console.print(f"next: sora-ledger poll --id {job.job_id}")


@click.command("show", short_help="Show a job and everything recorded about it.")
@common.job_id
@common.invocation
def show_command(inv: Invocation, *, name: str) -> None:
    """Show one job: the request, the decision and its reasons, and every record.

    \b
    Example:
      sora-ledger show job_01a2
    """
    with inv.ledger() as ledger:
        job = ledger.job(name)
        history = JobHistory.of(ledger, job)
        answered = _answers(ledger, history)
        about = job_document(job, ledger)
    document = {
        "job": about,
        "answers": [answer.document() for answer in answered],
        "records": [record_document(record) for record in history.records],
    }
    inv.emit(document, lambda console: _show_record(console, inv, job, history, answered))


def _answers(ledger: "Ledger", history: JobHistory) -> "list[Answer]":
    if not (history.answers or history.signed_request or history.overrides):
        return []
    from render_service.reports.answers import answers  # noqa: PLC0415  # the policy: only who answered

    return answers(ledger, history)


def _show_record(
    console: "Console", inv: Invocation, job: "Job", history: JobHistory, answered: "list[Answer]"
) -> None:
    from cli.text.decisions import show_ruling  # noqa: PLC0415

    show_job(console, job, inv.settings.place_url)
    for answer in answered:
        console.print(printable(answer.sentence), markup=False)
    if history.requested is not None:
        sent = history.requested.augmented_prompt or history.requested.prompt
        text = "[erased]" if sent.text is None else printable(sent.text)
        console.print(f"\n{text}", markup=False, style="italic")
    waits = job.state in {State.HELD, State.APPROVED}
    for decision in history.decisions:
        console.print()
        over = isinstance(decision.event, RenderHeld) and not waits
        show_ruling(console, decision.event, job_id=job.job_id, draft=job.source_job, answered=over)
    console.print()
    RecordLines(console, one_stream=True).show(history.records)
