"""``show``: one job with everything that was recorded about it."""

from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.printable import printable
from ledger.events import (
    ApprovalGranted,
    ApprovalRefused,
    DecisionOverridden,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    RenderRequested,
    RequestSigned,
)
from ledger.job import State
from render_service.runtime.documents import job_document, record_document

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from ledger.log.ledger import Ledger
    from ledger.record import Record
    from render_service.reports.answers import Answer

ANSWERS = (ApprovalGranted, ApprovalRefused, DecisionOverridden, RequestSigned)


@click.command("show", short_help="Show one job and everything recorded about it.")
@common.job_id
@common.invocation
def show_command(inv: Invocation, *, name: str) -> None:
    """Show one job: what was asked, what was decided and why, and every record of it.

    \b
    Example:
      sora-ledger show job_01a2
    """
    with inv.ledger() as ledger:
        job = ledger.job(name)
        records = ledger.history(job.job_id)
        answered = _answers(ledger, records)
        about = job_document(job, ledger)
    document = {
        "job": about,
        "answers": [answer.document() for answer in answered],
        "records": [record_document(record) for record in records],
    }
    inv.emit(document, lambda console: _text(console, inv, job, records, answered))


def _answers(ledger: "Ledger", records: "list[Record]") -> "list[Answer]":
    if not any(isinstance(record.event, ANSWERS) for record in records):
        return []
    from render_service.reports.answers import answers  # noqa: PLC0415  # the policy: only who answered

    return list(answers(ledger, records))


def _text(
    console: "Console", inv: Invocation, job: "Job", records: "list[Record]", answered: "list[Answer]"
) -> None:
    from cli.text.decisions import show_ruling  # noqa: PLC0415
    from cli.text.jobs import show_job  # noqa: PLC0415
    from cli.text.record_lines import RecordLines  # noqa: PLC0415  # rich: only for text

    show_job(console, job, inv.settings.place_url)
    for answer in answered:
        console.print(printable(answer.sentence), markup=False)
    for record in records:
        event = record.event
        if isinstance(event, RenderRequested):
            sent = event.augmented_prompt or event.prompt
            text = "[erased]" if sent.text is None else printable(sent.text)
            console.print(f"\n{text}", markup=False, style="italic")
        if isinstance(event, RenderDecided | RenderDenied | RenderHeld):
            console.print()
            waits = job.state in {State.HELD, State.APPROVED}
            over = isinstance(event, RenderHeld) and not waits
            show_ruling(console, event, job_id=job.job_id, draft=job.source_job, answered=over)
    console.print()
    RecordLines(console, one_stream=True).show(records)
