"""``show``: one job with everything that was recorded about it."""

from typing import TYPE_CHECKING

import click

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
    inv.emit(document, lambda console: _text(console, inv, job, history, answered))


def _answers(ledger: "Ledger", history: JobHistory) -> "list[Answer]":
    if not (history.answers or history.signed_request or history.overrides):
        return []
    from render_service.reports.answers import answers  # noqa: PLC0415  # the policy: only who answered

    return answers(ledger, history)


def _text(
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
