"""What commands that follow a render share: progress, copies of the files, and how it ended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode, of_job
from cli.invocation import Invocation, say
from ledger.events import Variant
from ledger.job import Job, State
from render_service.documents import Json, job_document
from render_service.errors import ServiceError
from render_service.settings import Settings
from render_service.storage.assets import SUFFIXES, check_target

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.desk import Desk
    from render_service.settling.settle import Watch
    from sora_adapter.profiles import Wanted

_WAYS_OUT = {
    State.APPROVED: "it needs one more approval: `sora-ledger approve {id}`, by somebody who has not yet",
    State.REFUSED: "somebody refused it; `sora-ledger show {id}` says who, and why",
    State.FAILED: "the server failed to render it ({code}); `sora-ledger show {id}` has its words",
    State.LOST: "its video can no longer be had; render it again",
    State.SUBMITTING: "a submission is under way or was cut off, so a video may exist: "
    "`sora-ledger reconcile {id}` looks for it; nothing is sent again",
}

_WITH_A_KEY = (
    "the same command with the same --request-key tries again",
    "this request is closed: to ask again, take another --request-key",
)


def wanted(variants: Sequence[str], out: Path | None, *, force: bool) -> list[Variant]:
    """Return the variants to download; check `out` before anything is spent."""
    names = (
        list(Variant)
        if "all" in variants
        else [Variant(name) for name in dict.fromkeys(variants or ["video"])]
    )
    if out is not None:
        if len(names) > 1:
            raise click.UsageError("--out names one file; leave it out, or give one --variant")
        check_target(out, force=force)
    return names


def check_targets(job: Job, variants: Sequence[Variant], out: Path | None, *, force: bool) -> None:
    """Refuse files that stand in the way before any is fetched; `out` was checked where it was given."""
    if out is None:
        for variant in variants:
            check_target(_target(job, variant), force=force)


def _target(job: Job, variant: Variant) -> Path:
    """Return the file of a variant in the working folder, of the usual type where it is not here yet."""
    from render_service.settling.downloads import USUAL_TYPE  # noqa: PLC0415  # the adapter

    media_type = job.assets[variant].media_type if variant in job.assets else USUAL_TYPE[variant]
    kind = "" if variant is Variant.VIDEO else f".{variant}"
    return Path(f"{job.video_id}{kind}{SUFFIXES.get(media_type, '.bin')}")


def check_variants(settings: Settings, profile_name: str | None, variants: Sequence[Variant]) -> None:
    """Refuse what the server of the profile cannot give, before anything is sent; the message says why."""
    beside_the_video = [variant for variant in variants if variant is not Variant.VIDEO]
    if beside_the_video:
        check_offered(settings, profile_name, *beside_the_video)


def check_offered(settings: Settings, profile_name: str | None, *wanted: "Wanted") -> None:
    """Refuse what the server of the profile does not offer, also where nothing would be sent anyway."""
    from sora_adapter.profiles import profile  # noqa: PLC0415
    from sora_adapter.support import require  # noqa: PLC0415

    require(profile(profile_name or settings.chosen_profile(), settings.profiles_file), *wanted)


def end(inv: Invocation, job: Job) -> None:
    """Exit with the job's code, after a line that says the way out where it is not 0."""
    code = of_job(job)
    if code is ExitCode.DONE:
        return
    say(f"Error: {job.job_id} is {job.state}: {way_out(inv, job, *_WITH_A_KEY)}")
    raise click.exceptions.Exit(code)


def way_out(inv: Invocation, job: Job, again: str, over: str) -> str:
    """Say why `job` stands where it does and what now: `again` where it may be sent, `over` where not."""
    if job.state in _WAYS_OUT:
        return _WAYS_OUT[job.state].format(id=job.job_id, code=job.error_code or "no code")
    from render_service.asking.placed import denial, held_for, submission_trouble  # noqa: PLC0415

    with inv.ledger() as ledger:
        if job.state is State.DENIED:
            return denial(ledger, job)
        if job.state is State.HELD:
            return held_for(ledger, job)
        said = submission_trouble(ledger, job, inv.settings.profiles_file)
    if job.state not in {State.ABSENT, State.REJECTED} or job.request_key is None:
        return str(said)
    if job.outcome is None:
        return f"{said}; {again}"
    return f"{said}; {over}"


@contextmanager
def progress(inv: Invocation, job: Job) -> "Iterator[Watch | None]":
    """Show a progress bar where a person reads; elsewhere the log tells."""
    if not inv.shows_progress or job.outcome is not None:
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(job.status or "queued", total=100, completed=job.progress or 0)

        def watch(now: Job, seen: object) -> None:
            percent = getattr(seen, "progress", None) or 0
            done = 100 if now.state is State.COMPLETED else percent
            bar.update(task, completed=done, description=str(now.status))

        yield watch


@dataclass(frozen=True)
class Wishes:
    """How long to wait, and which files to copy where; no variant copies none."""

    variants: Sequence[Variant]
    out: Path | None
    force: bool
    poll_interval: float
    timeout: float


@dataclass(frozen=True)
class Finished:
    """A job as the command leaves it, the copies that were made, and what kept it from more."""

    job: Job
    copies: Sequence[Path]
    trouble: Exception | None = None

    def document(self) -> Json:
        """Return the job's document with the names of its copies."""
        return job_document(self.job) | {"files": [str(path) for path in self.copies]}

    def show(self, console: "Console") -> None:
        """Print the job, and where the copies are."""
        from cli.views import show_job  # noqa: PLC0415  # rich: only for text

        show_job(console, self.job)
        for path in self.copies:
            console.print(f"wrote {path}", markup=False)


async def finish(inv: Invocation, desk: "Desk", job: Job, wishes: Wishes) -> Finished:
    """Wait for `job`, store its video, and copy out what is wished for.

    A waiting time that is over, and any other trouble, is returned with the job as it stands then: it was
    paid for, and whoever asked needs its id.
    """
    from render_service.settling.settle import settle  # noqa: PLC0415  # may call a server
    from sora_adapter.errors import AdapterError  # noqa: PLC0415

    interval_s, timeout_s = wishes.poll_interval, wishes.timeout
    copies: list[Path] = []
    try:
        with progress(inv, job) as watch:
            job = await settle(desk, job, interval_s=interval_s, timeout_s=timeout_s, watch=watch)
        if wishes.variants and Variant.VIDEO in job.assets:
            job, copies = await copy_out(desk, job, wishes.variants, wishes.out, force=wishes.force)
    except (AdapterError, ServiceError) as trouble:
        return Finished(await desk.job(job.job_id), copies, trouble)
    return Finished(job, copies)


async def copy_out(
    desk: "Desk", job: Job, variants: Sequence[Variant], out: Path | None, *, force: bool
) -> tuple[Job, list[Path]]:
    """Make sure the variants are stored, and copy them to `out` or into the working folder."""
    from render_service.settling.settle import fetch  # noqa: PLC0415  # may call a server

    check_targets(job, variants, out, force=force)
    copies = []
    for variant in variants:
        job = await fetch(desk, job, variant)
        target = out or _target(job, variant)
        desk.assets.copy_out(job.assets[variant].storage_uri, target, force=force)
        copies.append(target)
    return job, copies
