"""Wait for every render that is under way, store the videos, and show what became of each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode, of_error, of_job, worst
from cli.flows.finish import Wishes
from cli.invocation import Invocation, say
from cli.text import output
from cli.text.jobs import show_jobs
from ledger.job import Job
from ledger.store.filters import JobFilter
from ledger.terms import State, Variant
from render_service.recovery.attempts import OPEN
from render_service.runtime.documents import Json
from render_service.settlement.observe import ON_PURPOSE
from render_service.settlement.sweep import settle_every

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session
    from render_service.settlement.sweep import Watch

UNDER_WAY = (State.RUNNING, State.COMPLETED)


@dataclass(frozen=True)
class Ended:
    """A job as the command leaves it, the copies that were made, and the error that stopped it."""

    job: Job
    copies: Sequence[Path] = ()
    error: Exception | None = None

    def document(self, inv: Invocation) -> Json:
        """Return the job's document with its copies and its error."""
        more = {"files": [str(path) for path in self.copies], "trouble": self.error and str(self.error)}
        return inv.job_document(self.job) | more

    @property
    def code(self) -> ExitCode:
        """The exit code that it alone would give the command."""
        if self.error is None or self.job.state is State.LOST:
            return of_job(self.job)
        return of_error(self.error) or ExitCode.FAILED


def poll_all(inv: Invocation, wishes: Wishes) -> None:
    """Wait for every render that is under way, and emit what became of each, newest first."""

    async def follow(session: "Session") -> tuple[list[Ended], list[Job]]:
        jobs = session.ledger.jobs(JobFilter(states=UNDER_WAY))
        with _progress(jobs) as watch:
            ends = await settle_every(
                session, jobs, interval_s=wishes.interval_s, timeout_s=wishes.timeout_s, watch=watch
            )
        ended = [Ended(ends[job.job_id].job, (), ends[job.job_id].error) for job in jobs]
        copied = [await _copied(session, outcome, wishes) for outcome in ended]
        return copied, session.ledger.jobs(JobFilter(states=OPEN))

    ended, unsettled = inv.session(follow)

    def text(console: "Console") -> None:
        if not ended:
            console.print("no render is under way")
            return
        show_jobs(console, [outcome.job for outcome in ended])
        for path in (path for outcome in ended for path in outcome.copies):
            console.print(f"wrote {path}", markup=False)

    inv.emit({"jobs": [outcome.document(inv) for outcome in ended]}, text)
    for outcome in ended:
        if outcome.code is not ExitCode.DONE:
            say(
                f"Error: {outcome.job.job_id} is {outcome.job.state}"
                + (f": {outcome.error}" if outcome.error else "")
            )
    for job in unsettled:
        say(f"{job.job_id} is {job.state}, and may be billed: `sora-ledger reconcile {job.job_id}` finds out")
    code = worst([*(outcome.code for outcome in ended), *map(of_job, unsettled)])
    if code is not ExitCode.DONE:
        raise click.exceptions.Exit(code)


async def _copied(session: "Session", ended: Ended, wishes: Wishes) -> Ended:
    if wishes.copies is None or Variant.VIDEO not in ended.job.assets:
        return ended
    try:
        job, copies = await wishes.copies.make(session, ended.job)
    except ON_PURPOSE as error:  # the copies of the others are made
        return replace(ended, error=error)
    return replace(ended, job=job, copies=copies)


@contextmanager
def _progress(jobs: Sequence[Job]) -> "Iterator[Watch | None]":
    """Show on a terminal how many of `jobs` are done; elsewhere the log reports it."""
    if not jobs or not output.shows_progress():
        yield None
        return
    from rich.progress import Progress

    done: set[str] = set()
    with Progress(console=output.console(stderr=True)) as bar:
        task = bar.add_task(f"0 of {len(jobs)}", total=len(jobs))

        def watch(job: Job) -> None:
            if job.state not in UNDER_WAY:
                done.add(job.job_id)
                bar.update(task, completed=len(done), description=f"{len(done)} of {len(jobs)}")

        yield watch
