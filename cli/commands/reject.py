"""``reject``: reject a held render or a proposed change."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.flows.answer import answer_and_show, read_key
from cli.flows.propose import CHANGE, answer_change
from cli.invocation import Invocation
from cli.options import common
from render_service.approvals.answer_changes import reject_change
from render_service.approvals.approvals import reject

if TYPE_CHECKING:
    from ledger.job import Job
    from ledger.tree.checkpoint import Signer
    from render_service.approvals.approvals import Answered
    from render_service.session.session import Session


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
