"""``approve``, ``reject`` and ``changes``: decide on held renders and proposed changes."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.flows.propose import CHANGE, answer_change, change_document, change_lines
from cli.flows.submit import submit_and_show
from cli.invocation import Invocation, say
from cli.options import common
from cli.text.decisions import show_ruling
from cli.text.jobs import show_job, show_submitting
from cli.text.usage import Usage
from ledger.job import Job
from ledger.terms import State
from render_service.approvals.answer_changes import approve_change, reject_change
from render_service.approvals.approvals import approve, reject
from render_service.approvals.changes import PENDING, changes
from render_service.evidence.keys import read_signer
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable
from render_service.submission.preview import ruling_document

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.tree.checkpoint import Signer
    from render_service.approvals.approvals import AnswerResult
    from render_service.session.session import Session

    Answer = Callable[[Session, Job, Signer | None], Coroutine[Any, Any, AnswerResult]]


def read_key(key: Path | None) -> "Signer | None":
    """Return the signing key in a file, None without one."""
    if key is None:
        return None

    return read_signer(key)


def answer_and_show(
    inv: Invocation, name: str, key: Path | None, answer: "Answer", *, silent: bool = False
) -> Job:
    """Answer for the job called `name`, signed with `key` if there is one; return the job after it.

    The result is emitted, unless the job was allowed and `silent` leaves that to the caller.
    """
    signer = read_key(key)

    async def follow(session: "Session") -> "AnswerResult":
        return await answer(session, await session.job(name), signer)

    answered = inv.session(follow)
    job, ruling = answered.job, answered.ruling
    if silent and job.state is State.DECIDED:
        return job
    decision = ruling_document(ruling, job_id=job.job_id, draft=job.source_job) if ruling else None
    document = inv.job_document(job) | {"decision": decision, "approvals_needed": answered.needed}
    inv.emit(document, lambda console: _text(console, answered))
    if ruling and job.state in {State.DENIED, State.HELD}:
        again = (
            "denied" if job.state is State.DENIED else "held again, since it would not be what was approved"
        )
        say(f"Error: {job.job_id} was approved, and {again} when it was decided anew")
        raise click.exceptions.Exit(ExitCode.DENIED)
    return job


def _text(console: "Console", answered: "AnswerResult") -> None:
    job = answered.job
    if answered.ruling:
        show_ruling(console, answered.ruling, job_id=job.job_id, draft=job.source_job)
    show_job(console, job)
    if answered.needed:
        console.print(f"{format_count(answered.needed, 'more approval')} needed")
    if job.state is State.DECIDED:
        show_submitting(console, job)


@click.command("approve")
@common.job_id
@common.add_reason_option("Why it is approved; recorded with the answer.", old="--comment")
@click.option(
    "--until",
    metavar="TIME",
    callback=common.read_moment,
    help="When the approval expires.  [default: in a week]",
)
@common.answer_key
@click.option("--submit", is_flag=True, help="Also submit the job, if this was the last approval.")
@common.calling
@common.invocation
def approve_command(
    inv: Invocation, *, name: str, reason: str | None, until: str | None, key: Path | None, submit: bool
) -> None:
    """Approve a render that another person requested and that the policy holds.

    Approve under your own login, or sign with a key that the policy names as yours. A name from `--actor`
    does not count, nor does a signature under the requester's login unless the request is signed too. The
    last approval triggers a new decision; `resume` or a worker then submits the job. A proposed change of the
    policy or of a budget (`changes`) is approved the same way, and applied with the last approval.

    \b
    Example:
      sora-ledger approve job_01a2 --reason "within the budget of the pitch"
      sora-ledger approve job_01a2 --key maria.key --submit
    """
    moment = datetime.fromisoformat(until) if until else None
    if name.startswith(CHANGE):
        if submit:
            raise Usage(
                "--submit is for a render; a change is carried out with its last approval",
                param="submit",
                expected="a render",
                found="a change",
            )

        signer = read_key(key)
        answer_change(inv, lambda office: approve_change(office, name, reason, signer, moment))
        return

    async def follow(session: "Session", job: "Job", signer: "Signer | None") -> "AnswerResult":
        return await approve(session, job, reason, signer, moment)

    job = answer_and_show(inv, name, key, follow, silent=submit)
    if submit and job.state is State.DECIDED:
        submit_and_show(inv, job.job_id)


@click.command("reject")
@common.job_id
@common.add_reason_option("Why it is rejected; recorded with the answer.", old="--comment", required=True)
@common.answer_key
@common.invocation
def reject_command(inv: Invocation, *, name: str, reason: str, key: Path | None) -> None:
    """Reject a render that another person requested and that the policy holds; this closes it.

    A proposed change of the policy or of a budget (`changes`) is rejected the same way.

    \b
    Example:
      sora-ledger reject job_01a2 --reason "not before the client saw the draft"
    """
    if name.startswith(CHANGE):
        signer = read_key(key)
        answer_change(inv, lambda office: reject_change(office, name, reason, signer))
        return

    async def follow(session: "Session", job: "Job", signer: "Signer | None") -> "AnswerResult":
        return await reject(session, job, reason, signer)

    answer_and_show(inv, name, key, follow)


@click.command("changes")
@click.option("--all", "everything", is_flag=True, help="Include applied, rejected and cancelled changes.")
@common.invocation
def changes_command(inv: Invocation, *, everything: bool) -> None:
    """List proposed changes to the policy and budgets, with who proposed them and why.

    `approve`, `reject` and `cancel` accept the name of a change as they do that of a job.

    \b
    Example:
      sora-ledger changes
      sora-ledger changes --all
    """
    with inv.reader() as ledger:
        listed = [change for change in changes(ledger) if everything or change.state == PENDING]
        document = {"changes": [change_document(ledger, change) for change in listed]}

        def text(console: "Console") -> None:
            for change in listed:
                for line in change_lines(ledger, change):
                    console.print(printable(line), markup=False)
            if not listed:
                console.print("no change waits for approval")

        inv.emit(document, text)
