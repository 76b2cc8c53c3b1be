"""``jobs``: the ledger's jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.flows.csv_out import check_csv, emit_csv
from cli.invocation import Invocation
from cli.options import common
from cli.options.job_filters import filter_of, job_filters
from cli.options.job_names import JOB
from cli.text.jobs import job_rows, shorten_id, show_jobs
from cli.text.printable import escape
from cli.text.tables import cut, fold
from render_service.reports.find import poster_of
from render_service.reports.jobs import iterate_matches, prompt_of, source_of, trees
from render_service.reports.lineage import MOST_WORDS, step_of
from render_service.runtime.documents import job_document
from render_service.runtime.printable import shorten
from render_service.session.splits import Progress, find_split_progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.tree import Tree

    from ledger.job import Job
    from ledger.log.ledger import Ledger

MOST = 1_000_000


@click.command("jobs")
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
@click.option("--posters", is_flag=True, help="Also print the path of each job's thumbnail.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for spreadsheets, one row for each job.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the CSV to this file.")
@common.invocation
def jobs_command(  # one parameter per option
    inv: Invocation,
    *,
    tree: bool,
    posters: bool,
    as_csv: bool,
    out: Path | None,
    of: str | None,
    limit: int,
    **where: Any,
) -> None:
    """List the ledger's jobs, newest first; `list` lists the server's videos.

    A narrow terminal shows only the end of each id; every command accepts it in place of the whole id.

    \b
    Example:
      sora-ledger jobs --state running --state unknown
      sora-ledger jobs --since 7d --by-actor ana --model sora-2-pro
      sora-ledger jobs --since 2026-10 --until 2026-11 --csv --out october.csv
      sora-ledger jobs --of job_01a2 --tree
    """
    described = filter_of(**where)
    check_csv(inv, as_csv=as_csv, out=out)
    with inv.reader() as ledger:
        matches = iterate_matches(ledger, described, limit, of=of)

        def document(job: "Job") -> dict[str, Any]:
            poster = {"poster": poster_of(job, inv.settings)}
            return job_document(job, ledger) | {"source_job": source_of(ledger, job)} | poster

        def text(console: "Console", passing: "Iterable[Job]") -> None:
            if tree:
                for drawn in _draw_trees(console, ledger, list(passing)):
                    console.print(drawn)
                return
            listed = list(passing)
            show_jobs(console, listed, lambda job: prompt_of(ledger, job))
            if posters:
                for path in filter(None, (poster_of(job, inv.settings) for job in listed)):
                    console.print(path, markup=False)

        if as_csv:
            emit_csv(job_rows(matches, ledger, inv.settings), out, "job")
        else:
            inv.emit_each("jobs", matches, document, text)


INDENT = 4
"""Columns per level of a tree."""


def _draw_trees(console: "Console", ledger: "Ledger", jobs: "list[Job]") -> "list[Tree]":
    """Draw each job that has no source among the others, with the jobs derived from it and their changes.

    On a narrow terminal, a job is shown by its handle, and a derived one without the values of its source.
    """
    from rich.tree import Tree

    roots: list[Tree] = []
    path: list[Tree] = []
    for depth, job in trees(jobs):
        name = shorten_id(console, job.job_id)
        shape = () if depth and name != job.job_id else (job.model, job.size)
        render = " ".join(str(part) for part in (job.operation or "adopted", *shape) if part)
        words = step_of(ledger, job).label if depth else shorten(prompt_of(ledger, job) or "", MOST_WORDS)
        begun = f"{name}  {job.state}  {render}"
        if console.is_terminal:
            words = cut(words, max(console.width - depth * INDENT - len(f"{begun}  "), 0))
        label = escape(begun) + (f"  {escape(words)}" if words else "")
        standing = find_split_progress(ledger, job)
        if standing and standing.job_id == job.job_id and standing.progress is not Progress.DONE:
            here = standing.sentence.replace(f" ({job.job_id})", "")
            folded = "\n".join(fold(console, f"split: {here}", beside=(depth + 1) * INDENT))
            label += f"\n[yellow]{escape(folded)}[/]"
        del path[depth:]
        path.append(path[-1].add(label) if path else Tree(label))
        if depth == 0:
            roots.append(path[0])
    return roots
