"""``approve``, ``reject`` and ``changes``: decide on held renders and proposed changes."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.flows.answer import answer_and_show, read_key
from cli.flows.propose import CHANGE, answer_change, change_document, change_lines
from cli.flows.submit import submit_and_show
from cli.invocation import Invocation
from cli.options import common
from cli.text.printable import printable
from ledger.job import State
from render_service.approvals.answer_changes import approve_change, reject_change
from render_service.approvals.approvals import approve, reject
from render_service.approvals.changes import PENDING, changes

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from ledger.tree.checkpoint import Signer
    from render_service.approvals.approvals import Answered
    from render_service.session.session import Session


@click.command("approve", short_help="Approve a held render or a proposed change.")
@common.job_id
@common.reason("Why it is approved; recorded with the answer.", old="--comment")
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
            raise click.UsageError("--submit is for a render; a change is carried out with its last approval")

        signer = read_key(key)
        answer_change(inv, lambda office: approve_change(office, name, reason, signer, moment))
        return

    async def follow(session: "Session", job: "Job", signer: "Signer | None") -> "Answered":
        return await approve(session, job, reason, signer, moment)

    job = answer_and_show(inv, name, key, follow, silent=submit)
    if submit and job.state is State.DECIDED:
        submit_and_show(inv, job.job_id)


@click.command("reject", short_help="Reject a held render or a proposed change.")
@common.job_id
@common.reason("Why it is rejected; recorded with the answer.", old="--comment", required=True)
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

    async def follow(session: "Session", job: "Job", signer: "Signer | None") -> "Answered":
        return await reject(session, job, reason, signer)

    answer_and_show(inv, name, key, follow)


@click.command("changes", short_help="List proposed changes of policy and budgets.")
@click.option("--all", "everything", is_flag=True, help="Include applied, rejected and cancelled changes.")
@common.invocation
def changes_command(inv: Invocation, *, everything: bool) -> None:
    """List changes of the policy and of budgets that wait for approval, with who proposed them and why.

    `approve`, `reject` and `cancel` take a change's name in the same way as a job's.

    \b
    Example:
      sora-ledger changes
      sora-ledger changes --all
    """
    with inv.ledger() as ledger:
        found = [one for one in changes(ledger) if everything or one.state == PENDING]
        document = {"changes": [change_document(ledger, one) for one in found]}

        def text(console: "Console") -> None:
            for one in found:
                for line in change_lines(ledger, one):
                    console.print(printable(line), markup=False)
            if not found:
                console.print("no change waits for approval")

        inv.emit(document, text)
