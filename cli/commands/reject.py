"""``reject``: say no to what is held."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.answering import answer_and_show
from cli.invocation import Invocation

if TYPE_CHECKING:
    from ledger.checkpoint import Signer
    from ledger.job import Job
    from render_service.desk import Desk
    from render_service.governance.approvals import Answered


@click.command("reject", short_help="Say no to a render that is held.")
@options.job_id
@click.option(
    "--reason",
    "--comment",
    "reason",
    metavar="TEXT",
    required=True,
    help="Why it is rejected; recorded with the answer.",
)
@options.answer_key
@options.invocation
def reject_command(inv: Invocation, *, name: str, reason: str, key: Path | None) -> None:
    """Say no to a render that somebody else asked for and the policy holds; it is closed with that.

    \b
    Example:
      sora-ledger reject job_01a2 --reason "not before the client saw the draft"
    """

    async def follow(desk: "Desk", job: "Job", signer: "Signer | None") -> "Answered":
        from render_service.governance.approvals import reject  # noqa: PLC0415

        return await reject(desk, job, reason, signer)

    answer_and_show(inv, name, key, follow)
