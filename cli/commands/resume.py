"""``resume``: submit what was decided before."""

from typing import TYPE_CHECKING

import click

from cli.flows.outcome import end
from cli.flows.submit import placed_document, show_placed
from cli.invocation import Invocation
from cli.options import common
from render_service.submission.resume import resume

if TYPE_CHECKING:
    from render_service.session.session import Session
    from render_service.submission.result import Placed


@click.command("resume", short_help="Submit a job that was decided but not sent.")
@common.job_id
@common.calling
@common.invocation
def resume_command(inv: Invocation, *, name: str) -> None:
    """Submit a job that was decided and not sent yet: queued, approved, or known to have created nothing.

    What is sent comes from the record alone. A job that may have been submitted is never submitted again.

    \b
    Example:
      sora-ledger resume job_01a2
    """
    submit_and_show(inv, name)


def submit_and_show(inv: Invocation, name: str) -> None:
    """Submit the job called `name` from its record, and emit what came of it."""

    async def follow(session: "Session") -> "Placed":
        return await resume(session, await session.job(name))

    placed = inv.session(follow)
    inv.emit(placed_document(inv, placed), lambda console: show_placed(console, placed))
    end(inv, placed.job)
