"""``create-and-poll``: request a render, wait for it, save its video."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cli.flows.finish import Finished, Wishes, finish, raise_trouble
from cli.flows.submit import end_placed, list_models, placed_document, request_of, show_placed, show_preview
from cli.flows.video import check_variants
from cli.invocation import Invocation
from cli.options import common
from cli.options.copies import Copies, copying
from cli.options.inputs import LoopCommand, ingredients, list_models_option
from cli.options.placement import Placing, overriding
from cli.options.prompt import prompting
from decision.request.request import RenderRequest
from render_service.assets.inputs import Material
from render_service.submission.retry import Patience
from render_service.submission.submit import place

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session
    from render_service.submission.result import Placed


@click.command("create-and-poll", cls=LoopCommand, short_help="Request a render, wait, and save its video.")
@prompting
@common.shape
@ingredients
@list_models_option
@common.render
@common.promotes
@overriding
@common.waiting
@click.option("--download", is_flag=True, help="Copy the file out of the asset store; --out implies it.")
@copying
@common.dry_run
@common.calling
@common.invocation
def create_and_poll_command(  # one parameter per option
    inv: Invocation,
    *,
    models: bool,
    dry_run: bool,
    how: Placing,
    download: bool,
    copies: Copies,
    poll_interval: float,
    timeout: float,
    **asked: Any,
) -> None:
    """Request a render, wait for it, and save its video.

    \b
    Example:
      sora-ledger create-and-poll --prompt "A steaming cup" --out cup.mp4
    """
    if models:
        list_models(inv)
        return
    request, material = request_of(inv, **asked)
    wishes = Wishes(copies if download or copies.out else None, poll_interval, timeout)
    check_variants(inv.settings, request.profile, copies.variants)
    if dry_run:
        show_preview(inv, request, material, how)
    else:
        render_and_keep(inv, request, material, how, wishes)


def render_and_keep(
    inv: Invocation, request: RenderRequest, material: Material, how: Placing, wishes: Wishes
) -> None:
    """Place a request, wait for its video, store and copy it, and emit the result."""

    async def follow(session: "Session") -> "tuple[Placed, Finished]":
        patience = Patience(timeout_s=wishes.timeout_s)
        placed = await place(session, request, material, patience, override=how.override)
        if not inv.prints_json:
            show_placed(inv.console, placed, request, waiting=True)
        return placed, await finish(session, placed.job, wishes)

    placed, finished = inv.session(follow, begins=True)
    document = {"create": placed_document(inv, placed, request), "final": finished.document(inv)}

    def text(console: "Console") -> None:
        if finished.copies or finished.job.version != placed.job.version:  # else it was shown when placed
            finished.show(console, inv)

    inv.emit(document, text)
    raise_trouble(finished)
    end_placed(inv, replace(placed, job=finished.job))
