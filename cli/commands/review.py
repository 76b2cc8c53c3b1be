"""``review``: a person's verdict on a video."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.jobs import show_job
from render_service.approvals.approvals import review

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.session.session import Session

SCORE = click.IntRange(0, 100)


@click.command("review", short_help="Record a review of a video.")
@common.job_id
@click.option(
    "--verdict",
    required=True,
    metavar="WORD",
    type=click.Choice(["approved", "changes_requested", "rejected"]),
    help="approved, changes_requested or rejected; the last one counts.",
)
@click.option("--clarity", metavar="N", type=SCORE, help="0 to 100: is the content clear?")
@click.option("--continuity", metavar="N", type=SCORE, help="0 to 100: does it match the preceding shot?")
@click.option("--brand-fit", metavar="N", type=SCORE, help="0 to 100: does it fit the brand?")
@click.option("--notes", metavar="TEXT", help="Notes, recorded with the review; erasable.")
@common.invocation
def review_command(
    inv: Invocation, *, name: str, verdict: Any, notes: str | None, **scores: int | None
) -> None:
    """Record a review of a job's video; a policy can require an approved draft before a final.

    \b
    Example:
      sora-ledger review job_01a2 --verdict approved --notes "the light is right"
    """
    named_scores = {score: value for score, value in scores.items() if value is not None}

    async def follow(session: "Session") -> "Job":
        return await review(session, await session.job(name), verdict, named_scores, notes)

    job = inv.session(follow)

    def text(console: "Console") -> None:
        show_job(console, job, inv.settings.place_url)

    inv.emit(inv.job_document(job), text)
