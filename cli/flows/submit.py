"""Request, decide and submit: the steps that the commands for new renders share; and the list of models."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.flows.advise import parse_with_advice
from cli.flows.outcome import end
from cli.invocation import Invocation, say
from cli.options.inputs import Ingredients, gather
from cli.options.placement import PlacementOptions
from cli.options.prompt import find_prompt
from cli.text.decisions import show_ruling, what_was_sent
from cli.text.jobs import show_job, show_submitting
from decision.money import usd_digits
from decision.request.attachments import SEVERAL_IMAGES
from decision.request.request import AUTO, RenderRequest
from decision.rules.catalog import Model
from ledger.job import Job
from ledger.log.opening import open_ledger
from ledger.terms import State
from render_service.assets.inputs import Material
from render_service.rules.measurements import Duration, expected_of, expected_words, is_under_way
from render_service.runtime.documents import Json
from render_service.submission.preview import preview, ruling_document
from render_service.submission.resume import resume
from render_service.submission.submit import place
from sora_adapter.profiles import profile

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session
    from render_service.submission.result import Placed


BACKEND = "sora2"


def models_document(models: tuple[Model, ...]) -> dict[str, Any]:
    """Return the models as JSON."""
    return {"backend": BACKEND, "default": AUTO, "models": [_document(model) for model in models]}


def _document(model: Model) -> dict[str, Any]:
    costs = {size: model.cost_usd_micros(size, 1) for size in model.sizes}
    return {
        "name": model.name,
        "sizes": list(model.sizes),
        "seconds": list(model.seconds),
        "usd_micros_per_second": costs,
    }


def show_models(console: "Console", models: tuple[Model, ...]) -> None:
    """Print the models as the text that scripts of image2video expect, then sizes and prices."""
    lines = [f"Available models for backend '{BACKEND}':"]
    lines += [f"  - {model.name}{'' if index else ' (default)'}" for index, model in enumerate(models)]
    lines += [
        "",
        f"--model {AUTO} is what happens without --model: {models[0].name}, unless the decision has a",
    ]
    lines += ["reason for another (the purpose, the size), which it tells.", ""]
    for model in models:
        lines += [f"{model.name}: {', '.join(map(str, model.seconds))} seconds"]
        lines += [f"  {size:<10} {_price(model, size)}" for size in model.sizes]
    for line in lines:
        console.print(line, markup=False)


def _price(model: Model, size: str) -> str:
    cost = model.cost_usd_micros(size, 1)
    return "no price known" if cost is None else f"{usd_digits(cost)} USD a second"


def list_models(inv: Invocation) -> None:
    """Emit the models, as JSON only if --json asks for it: scripts of image2video read the text."""
    models = inv.rules.catalog.models
    text_unless_json = replace(inv, as_json=inv.as_json is True)
    text_unless_json.emit(models_document(models), lambda console: show_models(console, models))


def place_and_show(
    inv: Invocation, request: RenderRequest, material: Material, *, dry_run: bool, how: PlacementOptions
) -> None:
    """Decide, record and, unless it is queued, submit a request; emit the result."""
    if dry_run:
        show_preview(inv, request, material, how)
        return
    placed = inv.session(
        lambda session: place(session, request, material, queue=how.queue, override=how.override),
        begins=True,
    )
    emit_placed(inv, placed, request)
    end_placed(inv, placed)


def emit_placed(inv: Invocation, placed: "Placed", request: RenderRequest) -> None:
    """Emit a placed request."""
    document = document_placement(inv, placed, request)
    inv.emit(document, lambda console: show_placed(inv, console, placed, request))


def end_placed(inv: Invocation, placed: "Placed") -> None:
    """Exit with the code of the job, after reporting an override that was refused."""
    if placed.override_refused:
        say(f"Error: {placed.override_refused}")
    ruled = placed.job.state in {State.DENIED, State.HELD}
    end(inv, placed.job, explained=ruled and inv.shows_text)


def request_of(  # noqa: PLR0913  # options that are converted on the way
    inv: Invocation,
    *,
    prompt: str | None,
    model: str,
    size: str | None,
    seconds: str | None,
    input_reference: Path | None,
    extra: Ingredients,
    promotes: str | None = None,
    **wishes: Any,
) -> tuple[RenderRequest, Material]:
    """Return the request described by the options, and its files."""
    values, material = gather(
        extra,
        inv.rules.catalog,
        model=model,
        size=size,
        seconds=seconds,
        input_reference=input_reference,
        takes_several=lambda: _takes_several(inv),
    )
    request = parse_with_advice(
        inv,
        **values,
        prompt=find_prompt(prompt),
        profile=inv.settings.chosen_profile(),
        promotes=promotes and find_promoted_job(inv, promotes),
        **wishes,
    )
    return request, material


def _takes_several(inv: Invocation) -> bool:
    """Return whether the server accepts several images."""
    return profile(inv.settings.chosen_profile(), inv.settings.profiles_file).offers(SEVERAL_IMAGES)


def find_promoted_job(inv: Invocation, name: str) -> str:
    """Return the job of the draft called `name`."""
    with inv.ledger() as ledger:
        return ledger.job(name).job_id


def show_preview(
    inv: Invocation, request: RenderRequest, material: Material, how: PlacementOptions | None = None
) -> None:
    """Emit the decision and the request without recording them; exit 3 if it would be denied."""
    override = how.override if how else None
    previewed = preview(inv.settings, request, material, override, even_if_retired=inv.even_if_retired)
    document = previewed.document(request)

    def text(console: "Console") -> None:
        show_ruling(console, previewed.ruling, request)
        if document["request"] is not None:
            console.print_json(data=document["request"])
        console.print(f"dry run: nothing was recorded, {what_was_sent(previewed.ruling)}")

    inv.emit(document, text)
    for line in previewed.outlook.lines():
        say(line)
    if previewed.post is None:
        raise click.exceptions.Exit(ExitCode.DENIED)


def document_placement(inv: Invocation, placed: "Placed", request: RenderRequest | None = None) -> Json:
    """Return the job with the decision that made it."""
    job = placed.job
    decision = ruling_document(placed.ruling, request, job_id=job.job_id, draft=job.source_job)
    return inv.job_document(job) | {
        "decision": decision,
        "expected": expected_document(expected_in(inv, job)),
        "repeated": placed.repeated,
        "override_refused": placed.override_refused,
    }


def expected_in(inv: Invocation, job: Job) -> Duration | None:
    """Return the expected duration of a running render; None if it is not running, or that is unknown."""
    if not is_under_way(job):
        return None
    with open_ledger(inv.settings.ledger_url) as ledger:
        return expected_of(ledger, job)


def expected_document(duration: Duration | None) -> Json | None:
    """Return an expected duration as JSON, null if it is unknown."""
    return duration._asdict() if duration else None


def show_placed(
    inv: Invocation,
    console: "Console",
    placed: "Placed",
    request: RenderRequest | None = None,
    *,
    waiting: bool = False,
) -> None:
    """Print the decision, the job, its expected duration, and the next command.

    A command that is `waiting` for the job already prints no next one.
    """
    if placed.repeated and request is not None:
        console.print("this request key was used before: this is the same job")
    job = placed.job
    show_ruling(console, placed.ruling, request, job_id=job.job_id, draft=job.source_job)
    show_job(console, job)
    if is_under_way(job):
        console.print(f"expected: {expected_words(expected_in(inv, job))}", markup=False)
    if job.state is State.DECIDED:
        show_submitting(console, job)
    if job.video_id and job.outcome is None and not waiting:
        console.print(f"next: sora-ledger poll --id {job.job_id}")


def submit_and_show(inv: Invocation, name: str) -> None:
    """Submit the job called `name` from its record, and emit the result."""

    async def follow(session: "Session") -> "Placed":
        return await resume(session, await session.job(name))

    placed = inv.session(follow)
    inv.emit(document_placement(inv, placed), lambda console: show_placed(inv, console, placed))
    end(inv, placed.job)
