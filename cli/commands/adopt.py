"""``adopt``: import videos made with another tool."""

from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.flows.video import check_offered, show_get
from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from cli.text.jobs import show_job
from cli.text.usage import Usage
from render_service.adoption.adopt import adopt, archive
from render_service.submission.preview import address

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.adoption.adopt import Archive
    from render_service.session.session import Session

_COUNTS = ("listed", "adopted", "known", "stored", "thumbnails", "running", "failed", "lost")
_SHOWN = {"failed": "failed to render"}  # not a failure of the archive


@click.command("adopt")
@click.option("--id", "video_id", metavar="VIDEO_ID", help="The video to import.")
@click.option("--all", "everything", is_flag=True, help="Import every video of the account, with its files.")
@common.dry_run
@common.calling
@common.invocation
def adopt_command(inv: Invocation, *, video_id: str | None, everything: bool, dry_run: bool) -> None:
    """Import a video made with another tool or, with --all, archive a whole account.

    Run it again to continue an interrupted archive.

    \b
    Example:
      sora-ledger adopt --id video_123
      sora-ledger adopt --all
    """
    if (video_id is None) == (not everything):
        raise Usage(
            "give either --id VIDEO_ID or --all",
            param="id",
            expected="one of --id and --all",
            found="none or both",
        )
    if dry_run:
        _preview(inv, video_id)
    elif video_id is not None:
        _adopt_one(inv, video_id)
    else:
        _adopt_all(inv)


def _preview(inv: Invocation, video_id: str | None) -> None:
    if video_id is not None:
        show_get(inv, video_id)
        return
    check_offered(inv.settings, None, "list")
    url = f"{address(inv.settings, inv.settings.chosen_profile())}/videos?limit=100&order=asc"
    document = {"dry_run": True, "request": {"method": "GET", "url": url}}
    inv.emit(document, lambda console: console.print(f"GET {url}", markup=False))


def _adopt_one(inv: Invocation, video_id: str) -> None:
    async def follow(session: "Session") -> "tuple[Job, bool]":
        return await adopt(session, video_id)

    job, now = inv.session(follow, begins=True)

    def text(console: "Console") -> None:
        if not now:
            console.print("the ledger has this video already")
        show_job(console, job, inv.settings.place_url)
        if job.outcome is None:
            console.print(f"next: sora-ledger poll --id {job.job_id}")

    inv.emit(inv.job_document(job) | {"adopted": now}, text)


def _adopt_all(inv: Invocation) -> None:
    async def follow(session: "Session") -> "Archive":
        if not output.shows_progress():
            return await archive(session)
        from rich.status import Status

        with Status("listing …", console=output.console(stderr=True)) as status:
            return await archive(session, lambda now: status.update(_summary(now.document())))

    done = inv.session(follow, begins=True)
    document = done.document()
    inv.emit(document, lambda console: console.print(_summary(document)))
    for left in done.left:
        say(f"left alone: {left['video_id']} may answer {left['job_id']}: sora-ledger reconcile --all")
    for missing in done.missing_thumbnails:
        say(f"note: {missing['video_id']}: its thumbnail is not archived: {missing['error']}")
    for trouble in done.troubles:
        say(f"Error: {trouble['video_id']}: {trouble['error']}")
    if not done.complete:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _summary(document: dict[str, Any]) -> str:
    counts = ((document[name], name) for name in _COUNTS)
    return ", ".join(
        f"{count} {_SHOWN.get(name, name)}" for count, name in counts if count or name == "listed"
    )
