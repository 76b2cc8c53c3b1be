"""``create``, ``create-and-poll`` and ``image2video``: request a render."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cli.flows.finish import FinishResult, Wishes, finish, raise_trouble
from cli.flows.submit import (
    BACKEND,
    document_placement,
    end_placed,
    list_models,
    place_and_show,
    request_of,
    show_placed,
    show_preview,
)
from cli.flows.video import check_variants
from cli.invocation import Invocation
from cli.options import common
from cli.options.copies import Copies, add_copy_options
from cli.options.inputs import LoopCommand, add_ingredient_options, list_models_option
from cli.options.placement import PlacementOptions, add_override_options, add_placement_options
from cli.options.prompt import add_prompt_argument, add_prompt_options
from cli.text.usage import BadValue, Usage
from decision.request.request import RenderRequest
from render_service.assets.inputs import Material
from render_service.submission.retry import Patience
from render_service.submission.submit import place

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session
    from render_service.submission.result import Placed


@click.command("create", cls=LoopCommand)
@add_prompt_argument
@add_prompt_options
@common.shape
@add_ingredient_options
@list_models_option
@common.render
@common.promotes
@add_placement_options
@common.dry_run
@common.calling
@common.invocation
def create_command(
    inv: Invocation, *, models: bool, dry_run: bool, how: PlacementOptions, **request_options: Any
) -> None:
    """Request a render and return immediately; `poll` waits for it.

    Without PROMPT it reads a pipe, or asks on a terminal.

    \b
    Example:
      sora-ledger create "A teal coupe on a desert highway" --seconds 8
      echo "A steaming cup" | sora-ledger create --seconds 5 --nearest
      sora-ledger create --prompt-file shot.txt --purpose final --dry-run
    """
    if models:
        list_models(inv)
    else:
        place_and_show(inv, *request_of(inv, **request_options), dry_run=dry_run, how=how)


@click.command("create-and-poll", cls=LoopCommand)
@add_prompt_argument
@add_prompt_options
@common.shape
@add_ingredient_options
@list_models_option
@common.render
@common.promotes
@add_override_options
@common.waiting
@click.option("--download", is_flag=True, help="Copy the file out of the asset store; --out implies it.")
@add_copy_options
@common.dry_run
@common.calling
@common.invocation
def create_and_poll_command(  # one parameter per option
    inv: Invocation,
    *,
    models: bool,
    dry_run: bool,
    how: PlacementOptions,
    download: bool,
    copies: Copies,
    poll_interval: float,
    timeout: float,
    **request_options: Any,
) -> None:
    """Request a render, wait for it, and save its video.

    \b
    Example:
      sora-ledger create-and-poll "A steaming cup" --out cup.mp4
    """
    if models:
        list_models(inv)
        return
    request, material = request_of(inv, **request_options)
    wishes = Wishes(copies if download or copies.out else None, poll_interval, timeout)
    check_variants(inv.settings, request.profile, copies.variants)
    if dry_run:
        show_preview(inv, request, material, how)
    else:
        render_and_keep(inv, request, material, how, wishes)


def render_and_keep(
    inv: Invocation, request: RenderRequest, material: Material, how: PlacementOptions, wishes: Wishes
) -> None:
    """Place a request, wait for its video, store and copy it, and emit the result."""

    async def follow(session: "Session") -> "tuple[Placed, FinishResult]":
        patience = Patience(timeout_s=wishes.timeout_s)
        placed = await place(session, request, material, patience, override=how.override)
        if not inv.prints_json:
            show_placed(inv, inv.console, placed, request, waiting=True)
        return placed, await finish(session, placed.job, wishes)

    placed, finished = inv.session(follow, begins=True)
    document = {"create": document_placement(inv, placed, request), "final": finished.document(inv)}

    def text(console: "Console") -> None:
        if finished.copies or finished.job.version != placed.job.version:  # else it was shown when placed
            finished.show(console, inv)

    inv.emit(document, text)
    raise_trouble(finished)
    end_placed(inv, replace(placed, job=finished.job))


def _backend(_: click.Context, __: click.Parameter, value: str) -> str:
    if value != BACKEND:
        raise BadValue(
            f"{value} is a backend of image2video that has no Videos API; here there is {BACKEND} "
            "(another server of the protocol is chosen with --profile)",
            expected=BACKEND,
            found=value,
        )
    return value


@click.command("image2video", cls=LoopCommand)
@click.argument("prompt", metavar="[PROMPT]", required=False)
@click.option(
    "--backend", metavar="NAME", default=BACKEND, show_default=True, callback=_backend, help="Only sora2."
)
@common.shape
@add_ingredient_options
@list_models_option
@common.render
@add_override_options
@common.waiting
@add_copy_options
@common.dry_run
@common.calling
@common.invocation
def image2video_command(  # one parameter per option
    inv: Invocation,
    *,
    backend: str,  # noqa: ARG001  # checked when it is read
    models: bool,
    dry_run: bool,
    how: PlacementOptions,
    copies: Copies,
    poll_interval: float,
    timeout: float,
    **request_options: Any,
) -> None:
    """Accept the command lines of image2video: render, wait, and write VIDEO_ID.mp4 to the working folder.

    The prompt is sent as typed; lengths and sizes that are not offered are refused, with the nearest one
    on offer; --nearest uses it.

    \b
    Example:
      sora-ledger image2video -i "hero.jpg,shots/*.jpg" --fit cover "Dolly in"
    """
    if models:
        list_models(inv)
        return
    if request_options["prompt"] is None:
        raise Usage(
            "the prompt is missing; it is the last word, in quotes",
            param="prompt",
            expected="a prompt",
            found="nothing",
        )
    request, material = request_of(inv, fields={}, augment=False, **request_options)
    check_variants(inv.settings, request.profile, copies.variants)
    if dry_run:
        show_preview(inv, request, material, how)
    else:
        wishes = Wishes(copies, poll_interval, timeout)
        render_and_keep(inv, request, material, how, wishes)
