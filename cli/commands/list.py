"""``list``: the server's videos."""

from typing import TYPE_CHECKING, Literal

import click

from cli.flows.video import check_offered
from cli.invocation import Invocation
from cli.options import common
from cli.text.tables import columns
from decision.request.prompt import LABELS
from ledger.terms import Status
from render_service.adoption.server_library import list_all, list_videos, page_document
from render_service.api.sessions import finished
from render_service.runtime.printable import shorten
from render_service.submission.preview import address

if TYPE_CHECKING:
    from rich.console import Console

    from sora_adapter.models import Observation, Page

MOST = 100
USUAL = 20
LONGEST_PROMPT = 50
_LABEL = f"{LABELS['prompt']}: "


@click.command("list")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0, MOST),
    default=USUAL,
    show_default=True,
    help="Maximum number, 0 to 100.",
)
@click.option("--all", "everything", is_flag=True, help="All pages, regardless of --limit.")
@click.option("--after", metavar="VIDEO_ID", help="Begin after this video.")
@click.option(
    "--order",
    type=click.Choice(["asc", "desc"]),
    default="desc",
    show_default=True,
    help="Order by creation time.",
)
@common.dry_run
@common.calling
@common.invocation
def list_command(  # one parameter per option
    inv: Invocation,
    *,
    limit: int,
    everything: bool,
    after: str | None,
    order: Literal["asc", "desc"],
    dry_run: bool,
) -> None:
    """List the server's videos; `jobs` lists the ledger's.

    \b
    Example:
      sora-ledger list --limit 5 --order asc
      sora-ledger list --all
    """
    if dry_run:
        _preview(inv, MOST if everything else limit, after, order)
        return

    retired = inv.even_if_retired
    if everything:
        call = list_all(inv.settings, inv.trace, after=after, order=order, even_if_retired=retired)
    else:
        call = list_videos(
            inv.settings, inv.trace, limit=limit, after=after, order=order, even_if_retired=retired
        )
    page = finished(call)
    following = _next(page, limit=None if everything else limit, order=order)
    inv.emit(page_document(page), lambda console: print_page(console, page, following))


def _preview(inv: Invocation, limit: int, after: str | None, order: str) -> None:
    check_offered(inv.settings, None, "list")
    query = f"limit={limit}" + (f"&after={after}" if after else "") + f"&order={order}"
    url = f"{address(inv.settings, inv.settings.chosen_profile())}/videos?{query}"
    document = {"dry_run": True, "request": {"method": "GET", "url": url}}
    inv.emit(document, lambda console: console.print(f"GET {url}", markup=False))


def _next(page: "Page", *, limit: int | None, order: str) -> str | None:
    """Return the command for the next page; None if there is none."""
    if not page.has_more or page.last_id is None:
        return None
    limited = "" if limit in {None, USUAL} else f" --limit {limit}"
    return f"sora-ledger list{limited}{'' if order == 'desc' else f' --order {order}'} --after {page.last_id}"


def _row(video: "Observation") -> tuple[str, str, str, str]:
    has_progress = video.status is Status.IN_PROGRESS and video.progress is not None
    status = f"{video.status} {video.progress}%" if has_progress else video.status.value
    render = " ".join(filter(None, (video.model, video.seconds and f"{video.seconds} s")))
    return video.video_id, status, render, shorten((video.prompt or "").removeprefix(_LABEL), LONGEST_PROMPT)


def print_page(console: "Console", page: "Page", following: str | None) -> None:
    """Print the videos of a page, and the command for the next page."""
    columns(console, ("video", "status", "render", "prompt"), list(map(_row, page.observations)), cuts=True)
    if following:
        console.print(f"next: {following}", markup=False)
