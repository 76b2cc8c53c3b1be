"""``poll`` and ``download``: wait for a render, store its video, and copy its files."""

from typing import TYPE_CHECKING

import click

from cli.flows.finish import Finished, Wishes, finish, raise_trouble
from cli.flows.outcome import end
from cli.flows.poll_all import poll_all
from cli.flows.video import check_variants, job_of, show_get
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.copies import Copies, copying
from cli.options.job_names import last_job
from cli.text.usage import Usage
from sora_adapter.errors import ContentUnavailable, VideoNotFound

if TYPE_CHECKING:
    from render_service.session.session import Session


@click.command("poll", short_help="Wait for a render and store its video.")
@common.maybe_job_id
@click.option("--all", "everything", is_flag=True, help="Wait for every render that is under way.")
@common.waiting
@click.option("--download", is_flag=True, help="Copy the file out of the asset store; --out implies it.")
@copying
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
    check_variants(inv.settings, known.profile, copies.not_stored(known))
    if download and known.video_id:
        copies.check(known)

    async def follow(session: "Session") -> Finished:
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


@click.command("download", short_help="Copy the files of a completed job.")
@common.job_id
@copying
@common.dry_run
@common.calling
@common.invocation
def download_command(inv: Invocation, *, name: str, copies: Copies, dry_run: bool) -> None:
    """Copy the files of a completed job; what is not stored yet is fetched, checked and stored first.

    \b
    Example:
      sora-ledger download --id job_01a2 --variant thumbnail --out thumb.webp
    """
    if dry_run:
        show_get(inv, name, suffix=f"/content?variant={copies.variants[0]}")
        return

    known = job_of(inv, name)
    job_id = known.job_id
    check_variants(inv.settings, known.profile, copies.not_stored(known))

    async def follow(session: "Session") -> Finished:
        try:
            return Finished(*await copies.make(session, await session.job(job_id)))
        except (ContentUnavailable, VideoNotFound) as trouble:
            return Finished(await session.job(job_id), [], trouble)

    finished = inv.session(follow)
    if finished.trouble is None:
        inv.emit(finished.document(inv), lambda console: finished.show(console, inv))
    raise_trouble(finished)
