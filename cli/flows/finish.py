"""Shared by commands that follow a render: wait, store its files, and show the result."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import code_of_job
from cli.invocation import Invocation, say
from cli.options.copies import Copies
from cli.text import output
from cli.text.jobs import show_job
from ledger.job import Job
from ledger.terms import State, Variant
from render_service.rules.measurements import Duration
from render_service.runtime.documents import Json
from render_service.runtime.errors import ServiceError
from render_service.settlement.settle import settle
from sora_adapter.errors import AdapterError

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session
    from render_service.settlement.settle import Watch


_ROOM_FOR_BOTH = 80
"""Minimum terminal width for a progress bar with both parts of an expected duration."""


@contextmanager
def progress(job: Job, expected: Duration | None) -> "Iterator[Watch | None]":
    """Show a progress bar on a terminal, with the `expected` duration; elsewhere the log reports progress."""
    if not output.shows_progress() or job.outcome is not None:
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = output.console(stderr=True)
    usual = f"expected: {expected.words if expected else 'unknown'}"
    if console.width < _ROOM_FOR_BOTH:  # otherwise there is no room for the bar
        usual = usual.partition(",")[0]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn(usual, markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(job.status or "queued", total=100, completed=job.progress or 0)

        def watch(now: Job, observation: object) -> None:
            percent = getattr(observation, "progress", None) or 0
            done = 100 if now.state is State.COMPLETED else percent
            bar.update(task, completed=done, description=str(now.status))

        yield watch


@dataclass(frozen=True)
class Wishes:
    """How long to wait for a video, and which of its files to copy, if any."""

    copies: Copies | None
    interval_s: float
    timeout_s: float


def raise_trouble(finished: "FinishResult") -> None:
    """Raise the error that stopped a job; if its video was lost, print that and exit with 4."""
    if finished.trouble is None:
        return
    if finished.job.state is State.LOST:
        say(f"Error: {finished.trouble}")
        raise click.exceptions.Exit(code_of_job(finished.job))
    raise finished.trouble


@dataclass(frozen=True)
class FinishResult:
    """A job as the command leaves it, its copies, and the error that stopped it."""

    job: Job
    copies: Sequence[Path]
    trouble: Exception | None = None

    def document(self, inv: Invocation) -> Json:
        """Return the job's document with the names of its copies."""
        return inv.job_document(self.job) | {"files": [str(path) for path in self.copies]}

    def show(self, console: "Console", inv: Invocation) -> None:
        """Print the job and the paths of its copies."""
        show_job(console, self.job, inv.settings.place_url)
        for path in self.copies:
            console.print(f"wrote {path}", markup=False)


async def finish(session: "Session", job: Job, wishes: Wishes) -> FinishResult:
    """Wait for `job`, store its video, and make the copies.

    A timeout or any other error is returned with the job in its current state: it was paid for, and the
    caller needs its id.
    """
    interval_s, timeout_s = wishes.interval_s, wishes.timeout_s
    copies: list[Path] = []
    try:
        expected = await asyncio.to_thread(session.measuring.expected_of, job, session.clock())
        with progress(job, expected) as watch:
            job = await settle(session, job, interval_s=interval_s, timeout_s=timeout_s, watch=watch)
        if wishes.copies and Variant.VIDEO in job.assets:
            job, copies = await wishes.copies.make(session, job)
    except (AdapterError, ServiceError) as trouble:
        return FinishResult(await session.job(job.job_id), copies, trouble)
    return FinishResult(job, copies)
