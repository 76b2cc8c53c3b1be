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


MOST = 1_000_000


@click.command("jobs", short_help="List the ledger's jobs.")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    type=click.Choice([state.value for state in State]),
    help="Only jobs in this state; repeatable.",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="How many at most.",
)
@options.invocation
def jobs_command(inv: Invocation, *, states: tuple[str, ...], limit: int) -> None:
    """List the ledger's jobs, newest first; `list` lists the server's videos.

    \b
    Example:
      sora-ledger jobs --state running --state unknown
    """
    where = JobFilter(states=tuple(State(name) for name in states) or None)
    with inv.ledger() as ledger:
        jobs = ledger.jobs(where, limit)

    def text(console: "Console") -> None:
        from cli.views import show_jobs  # noqa: PLC0415  # rich: only for text

        show_jobs(console, jobs)

    inv.emit({"jobs": [job_document(job) for job in jobs]}, text)
