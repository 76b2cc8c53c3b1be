"""``jobs``: the ledger's jobs."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.options.job_filters import filter_of, job_filters
from cli.options.job_names import JOB
from cli.text.jobs import show_jobs
from cli.text.printable import escape
from render_service.reports.jobs import each_found, source_of, trees
from render_service.runtime.documents import job_document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.tree import Tree

    from ledger.job import Job

MOST = 1_000_000


@click.command("jobs", short_help="List the ledger's jobs.")
@job_filters
@click.option(
    "--of", metavar="JOB", type=JOB, help="Only this job, its sources, and the jobs derived from it."
)
@click.option("--tree", is_flag=True, help="Draw the jobs as a tree of sources and derived jobs.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="Maximum number.",
)
@common.invocation
def jobs_command(  # one parameter per option
    inv: Invocation,
    *,
    tree: bool,
    of: str | None,
    limit: int,
    **where: Any,
) -> None:
    """List the ledger's jobs, newest first; `list` lists the server's videos.

    \b
    Example:
      sora-ledger jobs --state running --state unknown
      sora-ledger jobs --since 2026-11-01 --by-actor ana --model sora-2-pro
      sora-ledger jobs --of job_01a2 --tree
    """
    described = filter_of(**where)
    with inv.ledger() as ledger:

        def document(job: "Job") -> dict[str, Any]:
            return job_document(job, ledger) | {"source_job": source_of(ledger, job)}

        def text(console: "Console", passing: "Iterable[Job]") -> None:
            if tree:
                for drawn in _drawn(list(passing)):
                    console.print(drawn)
            else:
                show_jobs(console, passing)

        inv.emit_each("jobs", each_found(ledger, described, limit, of=of), document, text)


def _drawn(jobs: "list[Job]") -> "list[Tree]":
    """Draw each job that has no source among the others, with the jobs derived from it."""
    from rich.tree import Tree

    roots: list[Tree] = []
    path: list[Tree] = []
    for depth, job in trees(jobs):
        render = " ".join(str(part) for part in (job.operation or "adopted", job.model, job.size) if part)
        label = f"{job.job_id}  {job.state}  {escape(render)}"
        del path[depth:]
        path.append(path[-1].add(label) if path else Tree(label))
        if depth == 0:
            roots.append(path[0])
    return roots
