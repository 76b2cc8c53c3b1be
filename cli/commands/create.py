"""``create``: ask for a render and return at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.flows.outcome import end
from cli.flows.submit import advised_request
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.inputs import Ingredients, LoopCommand, gather, ingredients
from cli.options.placement import Placing, placing
from cli.options.prompt import needed, prompting
from cli.text.models import list_models, show_models
from decision.request.request import RenderRequest
from ledger.job import State
from render_service.assets.inputs import Material
from render_service.runtime.documents import Json

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session
    from render_service.submission.result import Placed


@click.command("create", cls=LoopCommand, short_help="Ask for a render and return at once.")
@prompting
@common.shape
@ingredients
@list_models
@common.render
@common.promotes
@placing
@common.dry_run
@common.calling
@common.invocation
def create_command(inv: Invocation, *, models: bool, dry_run: bool, how: Placing, **asked: Any) -> None:
    """Ask for a render and return at once; `poll` waits for it.

    \b
    Example:
      sora-ledger create --prompt "A teal coupe on a desert highway" --seconds 8
      sora-ledger create --prompt-file shot.txt --purpose final --dry-run
    """
    if models:
        show_models(inv)
    else:
        place_and_show(inv, *request_of(inv, **asked), dry_run=dry_run, how=how)


def place_and_show(
    inv: Invocation, request: RenderRequest, material: Material, *, dry_run: bool, how: Placing
) -> None:
    """Place a request that needs nothing from the ledger, and emit what came of it."""
    if dry_run:
        show_preview(inv, request, material, how)
        return
    placed = place_in_session(inv, request, material, how)
    inv.emit(placed_document(inv, placed, request), lambda console: show_placed(console, placed, request))
    end_placed(inv, placed)


def end_placed(inv: Invocation, placed: "Placed") -> None:
    """Exit as the job stands, after saying why an override was not honoured."""
    if placed.override_refused:
        say(f"Error: {placed.override_refused}")
    ruled = placed.job.state in {State.DENIED, State.HELD}
    end(inv, placed.job, told=ruled and inv.shows_text)


def request_of(  # noqa: PLR0913  # what becomes something else on the way
    inv: Invocation,
    *,
    prompt: str | None,
    model: str,
    size: str | None,
    seconds: str | None,
    input_reference: Path | None,
    extra: Ingredients,
    promotes: str | None = None,
    **asked: Any,
) -> tuple[RenderRequest, Material]:
    """Return the request the options describe, and its files."""
    values, material = gather(
        extra, inv.rules.catalog, model=model, size=size, seconds=seconds, input_reference=input_reference
    )
    request = advised_request(
        inv,
        **values,
        prompt=needed(prompt),
        profile=inv.settings.chosen_profile(),
        promotes=promotes and promoted_job(inv, promotes),
        **asked,
    )
    return request, material


def promoted_job(inv: Invocation, name: str) -> str:
    """Return the job of the draft that is called `name`."""
    with inv.ledger() as ledger:
        return ledger.job(name).job_id


def place_in_session(inv: Invocation, request: RenderRequest, material: Material, how: Placing) -> "Placed":
    """Decide, record, and submit unless it is to be queued."""
    from render_service.submission.submit import place  # noqa: PLC0415  # the adapter: not before it is needed

    async def follow(session: "Session") -> "Placed":
        return await place(session, request, material, queue=how.queue, override=how.override)

    return inv.session(follow, begins=True)


def show_preview(
    inv: Invocation, request: RenderRequest, material: Material, how: Placing | None = None
) -> None:
    """Emit what would happen; exit 3 if it would be denied."""
    from cli.exit_codes import ExitCode  # noqa: PLC0415
    from render_service.submission.preview import preview  # noqa: PLC0415

    override = how.override if how else None
    seen = preview(inv.settings, request, material, override, even_if_retired=inv.even_if_retired)
    document = seen.document(request)

    def text(console: "Console") -> None:
        from cli.text.decisions import show_ruling  # noqa: PLC0415  # rich: only for text

        show_ruling(console, seen.ruling, request)
        console.print_json(data=document["request"])
        console.print("dry run: nothing was recorded, nothing was sent")

    inv.emit(document, text)
    for line in seen.outlook.lines():
        say(line)
    if seen.post is None:
        raise click.exceptions.Exit(ExitCode.DENIED)


def placed_document(inv: Invocation, placed: "Placed", request: RenderRequest | None = None) -> Json:
    """Return the job with the decision that made it."""
    from render_service.submission.preview import ruling_document  # noqa: PLC0415

    job = placed.job
    decision = ruling_document(placed.ruling, request, job_id=job.job_id, draft=job.source_job)
    return inv.job_document(job) | {
        "decision": decision,
        "repeated": placed.repeated,
        "override_refused": placed.override_refused,
    }


def show_placed(
    console: "Console", placed: "Placed", request: RenderRequest | None = None, *, waiting: bool = False
) -> None:
    """Print the decision, the job, and what to type next unless somebody is `waiting` for it already."""
    from cli.text.decisions import show_ruling  # noqa: PLC0415  # rich: only for text
    from cli.text.jobs import show_job, show_submitting  # noqa: PLC0415  # rich: only for text

    if placed.repeated and request is not None:
        console.print("this request key was used before: this is the same job")
    job = placed.job
    show_ruling(console, placed.ruling, request, job_id=job.job_id, draft=job.source_job)
    show_job(console, job)
    if job.state is State.DECIDED:
        show_submitting(console, job)
    if job.video_id and job.outcome is None and not waiting:
        console.print(f"next: sora-ledger poll --id {job.job_id}")
