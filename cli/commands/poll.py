"""``poll`` and ``download``: wait for a render, store its video, and copy its files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode, choose_worst, code_of_error, code_of_job
from cli.flows.finish import FinishResult, Wishes, finish, raise_trouble
from cli.flows.outcome import end
from cli.flows.video import check_variants, job_of, show_get
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.copies import Copies, add_copy_options
from cli.options.job_names import last_job
from cli.text import output
from cli.text.jobs import show_jobs
from cli.text.usage import Usage
from ledger.job import Job
from ledger.store.filters import JobFilter
from ledger.terms import State, Variant
from render_service.recovery.attempts import OPEN
from render_service.runtime.documents import Json
from render_service.settlement.observe import ON_PURPOSE
from render_service.settlement.sweep import settle_every
from sora_adapter.errors import ContentUnavailable, VideoNotFound

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session
    from render_service.settlement.sweep import Watch


UNDER_WAY = (State.RUNNING, State.COMPLETED)


@dataclass(frozen=True)
class PollResult:
    """A job as the command leaves it, its copies, and the error that stopped it."""

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
            return code_of_job(self.job)
        return code_of_error(self.error) or ExitCode.FAILED


def poll_all(inv: Invocation, wishes: Wishes) -> None:
    """Wait for all renders in progress, and emit the result of each, newest first."""

    async def follow(session: "Session") -> tuple[list[PollResult], list[Job]]:
        jobs = session.ledger.jobs(JobFilter(states=UNDER_WAY))
        with _progress(jobs) as watch:
            ends = await settle_every(
                session, jobs, interval_s=wishes.interval_s, timeout_s=wishes.timeout_s, watch=watch
            )
        ended = [PollResult(ends[job.job_id].job, (), ends[job.job_id].error) for job in jobs]
        copied = [await _copy(session, outcome, wishes) for outcome in ended]
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
    code = choose_worst([*(outcome.code for outcome in ended), *map(code_of_job, unsettled)])
    if code is not ExitCode.DONE:
        raise click.exceptions.Exit(code)


async def _copy(session: "Session", ended: PollResult, wishes: Wishes) -> PollResult:
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


@click.command("poll")
@common.maybe_job_id
@click.option("--all", "everything", is_flag=True, help="Wait for all running renders.")
@common.waiting
@click.option("--download", is_flag=True, help="Copy the file out of the asset store; --out implies it.")
@add_copy_options
@common.dry_run
@common.calling
@common.invocation
def poll_command(
    inv: Invocation,
    *,
    name: str | None,
    everything: bool,
    poll_interval: float,
    timeout: float,
    download: bool,
    copies: Copies,
    dry_run: bool,
) -> None:
    """Wait for a render and store its video; continues where an earlier command stopped.

    Without JOB it waits for your last job that was sent to a server.

    \b
    Example:
      sora-ledger poll
      sora-ledger poll job_01a2 --download --out clip.mp4
      sora-ledger poll --all
    """
    wishes = Wishes(copies if download or copies.out else None, poll_interval, timeout)
    if everything:
        _check_all(name, copies, dry_run=dry_run)
        poll_all(inv, wishes)
        return
    name = name or _last_job(inv)
    if dry_run:
        show_get(inv, name)
        return

    known = job_of(inv, name)
    job_id = known.job_id
    check_variants(inv.settings, known.profile, copies.find_not_stored(known))
    if download and known.video_id:
        copies.check(known)

    async def follow(session: "Session") -> FinishResult:
        return await finish(session, await session.job(job_id), wishes)

    finished = inv.session(follow)
    inv.emit(finished.document(inv), lambda console: finished.show(console, inv))
    raise_trouble(finished)
    end(inv, finished.job)


def _last_job(inv: Invocation) -> str:
    job_id = last_job(inv.settings)
    say(f"your last submitted job is {job_id}")
    return job_id


def _check_all(name: str | None, copies: Copies, *, dry_run: bool) -> None:
    if name:
        raise Usage(
            f"--all waits for every render, so leave out {name}",
            param="all",
            expected=f"--all without {name}",
            found="both",
        )
    if copies.out:
        raise Usage(
            "--out names one file; with --all, --download copies each into this folder",
            param="out",
            expected="--download",
            found="--out",
        )
    if dry_run:
        raise Usage(
            "--dry-run shows the request for one job; leave out --all",
            param="dry_run",
            expected="one job",
            found="--all",
        )


@click.command("download")
@common.job_id
@add_copy_options
@common.dry_run
@common.calling
@common.invocation
def download_command(inv: Invocation, *, name: str, copies: Copies, dry_run: bool) -> None:
    """Copy the files of a completed job; a file not stored yet is fetched, checked and stored first.

    \b
    Example:
      sora-ledger download --id job_01a2 --variant thumbnail --out thumb.webp
    """
    if dry_run:
        show_get(inv, name, suffix=f"/content?variant={copies.variants[0]}")
        return

    known = job_of(inv, name)
    job_id = known.job_id
    check_variants(inv.settings, known.profile, copies.find_not_stored(known))

    async def follow(session: "Session") -> FinishResult:
        try:
            return FinishResult(*await copies.make(session, await session.job(job_id)))
        except (ContentUnavailable, VideoNotFound) as trouble:
            return FinishResult(await session.job(job_id), [], trouble)

    finished = inv.session(follow)
    if finished.trouble is None:
        inv.emit(finished.document(inv), lambda console: finished.show(console, inv))
    raise_trouble(finished)
