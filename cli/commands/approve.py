"""``approve``: approve a held render or a proposed change."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.flows.answer import answer_and_show, read_key
from cli.flows.propose import CHANGE, answer_change
from cli.flows.submit import submit_and_show
from cli.invocation import Invocation
from cli.options import common
from ledger.job import State
from render_service.approvals.answer_changes import approve_change
from render_service.approvals.approvals import approve

if TYPE_CHECKING:
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
