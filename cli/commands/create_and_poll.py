"""``create-and-poll``: ask for a render, wait for it, keep its video."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.commands.create import end_placed, placed_document, request_of, show_placed, show_preview
from cli.finishing import check_variants, copy_out, progress, wanted
from cli.ingredients import LoopCommand, ingredients
from cli.invocation import Invocation
from cli.models import list_models, show_models
from cli.placing import Placing, overriding
from decision.request import RenderRequest
from ledger.events import Variant
from render_service.material.files import Material

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.asking.placed import Placed
    from render_service.desk import Desk


@click.command("create-and-poll", cls=LoopCommand)
@options.prompt
@options.prompt_fields
@options.shape
@ingredients
@list_models
@options.render
@options.promotes
@overriding
@options.waiting
@click.option("--download", is_flag=True, help="Copy the file out of the asset store; --out implies it.")
@options.downloading
@options.dry_run
@options.calling
@options.invocation
def create_and_poll_command(  # noqa: PLR0913  # one parameter per option
    inv: Invocation,
    *,
    models: bool,
    dry_run: bool,
    how: Placing,
    download: bool,
    variants: tuple[str, ...],
    out: Path | None,
    force: bool,
    poll_interval: float,
    timeout: float,
    **asked: Any,
) -> None:
    """Ask for a render, wait for it, and keep its video.

    \b
    Example:
      sora-ledger create-and-poll --prompt "Close-up of a steaming cup" --download --out coffee.mp4
    """
    if models:
        show_models(inv)
        return
    names = wanted(variants, out, force=force)
    request, material = request_of(inv, **asked)
    wishes = Wishes(names if download or out else [], out, force, poll_interval, timeout)
    check_variants(inv.settings, request.profile, names)
    if dry_run:
        show_preview(inv, request, material, how)
    else:
        render_and_keep(inv, request, material, how, wishes)


@dataclass(frozen=True)
class Wishes:
    """How long to wait, and which files to copy where; no variant copies none."""

    variants: Sequence[Variant]
    out: Path | None
    force: bool
    poll_interval: float
    timeout: float


def render_and_keep(
    inv: Invocation, request: RenderRequest, material: Material, how: Placing, wishes: Wishes
) -> None:
    """Place a request, wait for its video, store it, copy it out, and emit how it ended."""

    async def follow(desk: "Desk") -> "tuple[Placed, Job, list[Path]]":
        from render_service.asking.patience import Patience  # noqa: PLC0415
        from render_service.asking.renders import place  # noqa: PLC0415
        from render_service.settling.settle import settle  # noqa: PLC0415

        timeout_s, interval_s = wishes.timeout, wishes.poll_interval
        patience = Patience(timeout_s=timeout_s)
        placed = await place(desk, request, material, patience, override=how.override)
        if not inv.prints_json:
            show_placed(inv.console, placed, request, waiting=True)
        with progress(inv, placed.job) as watch:
            job = await settle(desk, placed.job, interval_s=interval_s, timeout_s=timeout_s, watch=watch)
        copies: list[Path] = []
        if wishes.variants and "video" in job.assets:
            job, copies = await copy_out(desk, job, wishes.variants, wishes.out, force=wishes.force)
        return placed, job, copies

    placed, job, copies = inv.desk(follow, begins=True)

    from render_service.documents import job_document  # noqa: PLC0415

    final = job_document(job) | {"files": [str(path) for path in copies]}
    document = {"create": placed_document(placed, request), "final": final}

    def text(console: "Console") -> None:
        if copies or job.version != placed.job.version:  # else it was shown when it was placed
            show_final(console, job, copies)

    inv.emit(document, text)
    end_placed(inv, replace(placed, job=job))


def show_final(console: "Console", job: "Job", copies: list[Path]) -> None:
    """Print the job as it ended, and where the copies are."""
    from cli.views import show_job  # noqa: PLC0415  # rich: only for text

    show_job(console, job)
    for path in copies:
        console.print(f"wrote {path}", markup=False)
