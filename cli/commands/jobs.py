"""``jobs``: what the ledger knows."""

from typing import TYPE_CHECKING

import click

from cli import options
from cli.invocation import Invocation
from ledger.job import State
from ledger.store.interface import JobFilter
from render_service.documents import job_document

if TYPE_CHECKING:
    from rich.console import Console


@click.command("jobs")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(list(State)), help="Only these; repeatable."
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@options.invocation
def jobs_command(inv: Invocation, *, states: tuple[State, ...], limit: int) -> None:
    """List the ledger's jobs, newest first; `list` lists the server's videos.

    \b
    Example:
      sora-ledger jobs --state running --state unknown
    """
    where = JobFilter(states=states or None)
    with inv.ledger() as ledger:
        jobs = ledger.jobs(where, limit)

    def text(console: "Console") -> None:
        from cli.views import show_jobs  # noqa: PLC0415  # rich: only for text

        show_jobs(console, jobs)

    inv.emit({"jobs": [job_document(job) for job in jobs]}, text)
