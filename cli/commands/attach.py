"""``attach``: attach an output to a workflow."""

from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from render_service.adoption.external import attach

if TYPE_CHECKING:
    from ledger.job import Job
    from render_service.session.session import Session


@click.command("attach", short_help="Attach an output to a workflow.")
@common.job_id
@click.option(
    "--workflow",
    metavar="NAME",
    required=True,
    help="Name of the workflow: distribution, QA review, an edit suite …",
)
@click.option("--uri", metavar="URI", required=True, help="Its address in the workflow.")
@common.invocation
def attach_command(inv: Invocation, *, name: str, workflow: str, uri: str) -> None:
    """Attach the output of a job to a workflow; repeating it records nothing.

    \b
    Example:
      sora-ledger attach job_01a2 --workflow qa --uri https://qa.example/7
    """

    async def follow(session: "Session") -> "tuple[Job, bool]":
        return await attach(session, await session.job(name), workflow, uri)

    job, now = inv.session(follow)
    document = inv.job_document(job) | {"workflow": workflow, "uri": uri, "attached": now}
    words = "is now attached" if now else "was attached before"
    inv.emit(
        document,
        lambda console: console.print(f"{job.job_id} {words} to {workflow}: {uri}", markup=False),
    )
