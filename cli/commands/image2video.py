"""``image2video``: the command lines of image2video's Sora backend, as they are."""

from typing import Any

import click

from cli.commands.create_and_poll import render_and_keep
from cli.flows.finish import Wishes
from cli.flows.submit import list_models, request_of, show_preview
from cli.flows.video import check_variants
from cli.invocation import Invocation
from cli.options import common
from cli.options.copies import Copies, copying
from cli.options.inputs import LoopCommand, ingredients, list_models_option
from cli.options.placement import Placing, overriding
from cli.text.models import BACKEND


def _backend(_: click.Context, __: click.Parameter, value: str) -> str:
    if value != BACKEND:
        raise click.BadParameter(
            f"{value} is a backend of image2video that has no Videos API; here there is {BACKEND} "
            "(another server of the protocol is chosen with --profile)"
        )
    return value


@click.command("image2video", cls=LoopCommand, short_help="Accept the command lines of image2video.")
@click.argument("prompt", metavar="[PROMPT]", required=False)
@click.option(
    "--backend", metavar="NAME", default=BACKEND, show_default=True, callback=_backend, help="Only sora2."
)
@common.shape
@ingredients
@list_models_option
@common.render
@overriding
@common.waiting
@copying
@common.dry_run
@common.calling
@common.invocation
def image2video_command(  # one parameter per option
    inv: Invocation,
    *,
    backend: str,  # noqa: ARG001  # checked when it is read
    models: bool,
    dry_run: bool,
    how: Placing,
    copies: Copies,
    poll_interval: float,
    timeout: float,
    **asked: Any,
) -> None:
    """Accept the command lines of image2video: render, wait, and write VIDEO_ID.mp4 to the working folder.

    The prompt is sent as typed; lengths and sizes that are not offered are refused, with the nearest offer.

    \b
    Example:
      sora-ledger image2video -i "hero.jpg,shots/*.jpg" --fit cover "Dolly in"
    """
    if models:
        list_models(inv)
        return
    if asked["prompt"] is None:
        raise click.UsageError("the prompt is missing; it is the last word, in quotes")
    request, material = request_of(inv, fields={}, augment=False, **asked)
    check_variants(inv.settings, request.profile, copies.variants)
    if dry_run:
        show_preview(inv, request, material, how)
    else:
        wishes = Wishes(copies, poll_interval, timeout)
        render_and_keep(inv, request, material, how, wishes)
