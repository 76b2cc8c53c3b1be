"""``remix``, ``edit`` and ``extend``: make a new video from another one."""

import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.flows.advise import parse_with_advice, say_first_of_split
from cli.flows.change import apply_changes, change_option
from cli.flows.submit import (
    document_placement,
    emit_placed,
    end_placed,
    place_and_show,
    show_placed,
    show_preview,
)
from cli.flows.video import job_of
from cli.invocation import Invocation, say
from cli.options import common, words
from cli.options.command import RequestCommand
from cli.options.placement import PlacementOptions, add_placement_options
from cli.options.prompt import add_prompt_options, require_prompt
from cli.text.decisions import show_ruling, what_was_sent
from cli.text.jobs import show_split
from cli.text.usage import Usage
from decision.errors import BadRequest
from decision.money import format_usd
from decision.one_change.split import declared
from decision.request.prompt import CHANGE_ASPECTS
from decision.request.request import RenderRequest, Source, parse_request
from ledger.events import RenderDenied
from render_service.assets.inputs import NOTHING, Material, read_source_file
from render_service.batches.split_remix import SplitOptions, queue_one_by_one, remix_one_by_one, split_of
from render_service.runtime.printable import printable
from render_service.session.splits import Progress as Standing
from render_service.submission.preview import preview
from render_service.submission.sources import source_ahead, source_of
from render_service.submission.submit import place

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.batches.split_remix import Progress, Split
    from render_service.rules.overrides import Override
    from render_service.session.session import Session
    from render_service.submission.preview import Preview
    from render_service.submission.result import Placed


def preview_split(
    inv: Invocation, name: str, split: "Split", options: dict[str, Any], override: "Override | None"
) -> None:
    """Emit the decision on each remix of `split`, and their cost; exit 3 if one would be denied.

    Each is decided as if it were of the video called `name`: the results they start from do not exist yet,
    and have the same shape.
    """
    requests = _advise(inv, name, split, options)
    previews = [(request, _preview(inv, request, override)) for request in requests]
    cost = sum(getattr(remix.ruling, "cost_usd_micros", 0) for _, remix in previews)
    jobs = [remix.document(request) for request, remix in previews]
    document = {"dry_run": True, "remixes": len(jobs), "cost_usd_micros": cost, "jobs": jobs}
    inv.emit(document, lambda console: _preview_text(console, previews, cost))
    for line in previews[0][1].outlook.lines():
        say(line)
    if any(remix.post is None for _, remix in previews):
        raise click.exceptions.Exit(ExitCode.DENIED)


def _preview(inv: Invocation, request: RenderRequest, override: "Override | None") -> "Preview":
    """Preview one remix; a denial is overridden if the policy allows it."""
    previewed = preview(inv.settings, request, even_if_retired=inv.even_if_retired)
    if override and isinstance(previewed.ruling, RenderDenied):
        with suppress(BadRequest):
            return preview(inv.settings, request, override=override, even_if_retired=inv.even_if_retired)
    return previewed


def _advise(inv: Invocation, name: str, split: "Split", options: dict[str, Any]) -> "list[RenderRequest]":
    """Return the remixes as requests, all of the video called `name`, after asking for missing details."""
    with inv.ledger() as ledger:
        source, profile = source_ahead(ledger, name)
    requests: list[RenderRequest] = []
    for number, part in enumerate(split.prompts, 1):
        values = options | {"prompt": part, "fields": requests[-1].fields if requests else split.fields}
        values["declared_change"] = options.get("declared_change") or declared(part)
        key = f"{split.key}/{number}"
        requests.append(
            parse_with_advice(
                inv, "remix", source, profile=profile, request_key=key, after=requests, **values
            )
        )
    return requests


def _preview_text(console: "Console", previews: "list[tuple[RenderRequest, Preview]]", cost: int) -> None:
    for number, (request, remix) in enumerate(previews, 1):
        console.print(f"[bold]{number} of {len(previews)}[/]", end=" ")
        console.print(printable(request.prompt), markup=False)
        show_ruling(console, remix.ruling, request)
    console.print(f"{len(previews)} remixes, estimated to cost {format_usd(cost)} together")
    sent = what_was_sent(*(remix.ruling for _, remix in previews))
    console.print(f"dry run: nothing was recorded, {sent}")


def remix_split(
    inv: Invocation, name: str, split: "Split", options: dict[str, Any], terms: SplitOptions
) -> None:
    """Make the remixes of `split`, or queue the next one, and emit the progress; exit with the last code."""
    job_id = job_of(inv, name).job_id
    advised = _advise(inv, job_id, split, options)
    fields = dict(advised[-1].fields)
    split = replace(split, prompts=tuple(request.prompt for request in advised), fields=fields)
    catalog = inv.rules.catalog
    count = len(split.prompts)
    again = "shows how far it has come" if terms.queue else "continues after an interruption"
    say(f"{count} remixes, one after the other; --request-key {split.key} {again}")
    if terms.queue and count > 1:
        say_first_of_split(inv, terms.override)

    def request_from(source: Source, profile: str, prompt: str, key: str) -> RenderRequest:
        values = options | {"prompt": prompt, "fields": split.fields, "request_key": key}
        values["declared_change"] = options.get("declared_change") or declared(prompt)
        return parse_request(catalog=catalog, operation="remix", source=source, profile=profile, **values)

    async def follow(session: "Session") -> "Progress":
        make = queue_one_by_one if terms.queue else remix_one_by_one
        return await make(session, job_id, split, request_from, terms)

    progress = inv.session(follow)
    standing = progress.standing
    waits = standing is not None and standing.progress is Standing.UNDER_WAY
    document = {
        "request_key": split.key,
        "remixes": count,
        "done": count - len(progress.rest),
        "jobs": [document_placement(inv, placed) for placed in progress.placed],
        "rest": list(progress.rest),
        "waits_for": standing.job_id if standing and waits else None,
        "split": standing.document() if standing else None,
        "next": next_command(progress),
    }
    inv.emit(document, lambda console: _text(inv, console, progress, document))
    if progress.trouble:
        raise progress.trouble
    end_placed(inv, progress.placed[-1])


def next_command(progress: "Progress") -> str | None:
    """Return the command for the remaining remixes, from the last video there is.

    None if all were done, if the last render still runs (requested again, it would be paid for twice), or if
    a queued split continues by itself.
    """
    rest, standing = progress.rest, progress.standing
    if standing is not None:
        return standing.next
    if not rest or progress.trouble:
        return None
    prompt = shlex.quote(". ".join(rest))
    split = " --split" if len(rest) > 1 else ""
    return f"sora-ledger remix --id {progress.last_video} --prompt {prompt}{split}"


def _text(inv: Invocation, console: "Console", progress: "Progress", document: dict[str, Any]) -> None:
    for number, placed in enumerate(progress.placed, 1):
        console.print(f"[bold]{number} of {document['remixes']}[/]", end=" ")
        console.print(printable(progress.split.prompts[number - 1]), markup=False)
        show_placed(inv, console, placed, waiting=True)
    undone = f"not done: {len(document['rest'])} of {document['remixes']}"
    if progress.standing:
        show_split(console, progress.standing)
    elif progress.trouble:
        console.print(f"{undone}; the same command with --request-key {document['request_key']} continues")
    elif document["next"]:
        console.print(f"{undone}; once the cause is fixed:")
        console.print(f"  {document['next']}", markup=False)


@click.command("remix", cls=RequestCommand)
@common.job_id
@add_prompt_options
@click.option("--model", metavar="NAME", help="A remix keeps its source's; another value is denied.")
@click.option("--size", metavar="WxH", help="A remix keeps its source's; another value is denied.")
@click.option("--seconds", metavar="N", help="A remix keeps its source's; another value is denied.")
@change_option
@click.option(
    "--declare-change",
    "declared_change",
    metavar="ASPECT",
    shell_complete=words.aspects,
    help=f"Declare that only this changes, where the prompt leaves it unclear: {', '.join(CHANGE_ASPECTS)}.",
)
@click.option("--split", "splits", is_flag=True, help="Make several changes as a series of remixes.")
@common.waiting
@common.render
@add_placement_options
@common.dry_run
@common.calling
@common.invocation
def remix_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str,
    prompt: str | None,
    changes: tuple[str, ...],
    splits: bool,
    dry_run: bool,
    how: PlacementOptions,
    poll_interval: float,
    timeout: float,
    **wishes: Any,
) -> None:
    """Change exactly one thing in a completed video.

    With --change, the prompt is written from the recorded shot and names everything that stays. With --split,
    a prompt for several changes becomes one remix per change, each of the previous result; it waits for each,
    and the same command with the --request-key it prints continues after an interruption. With --split
    --queue it does not wait: workers make them all, each once the previous one is stored.

    \b
    Example:
      sora-ledger remix --id job_01a2 --prompt "Make the palette teal"
      sora-ledger remix --id job_01a2 --change palette="teal, sand, rust"
      sora-ledger remix --id job_01a2 --prompt "Make it night; add rain" --split
    """
    if changes:
        if prompt is not None or splits:
            raise Usage(
                "--change writes the prompt; leave out --prompt, --prompt-file, --split",
                param="change",
                expected="--change or a prompt",
                found="both",
            )
        prompt, wishes = apply_changes(inv, name, changes, wishes)
    wording = require_prompt(prompt, instead=", or one thing to change with --change KEY=VALUE")
    if splits:
        terms = SplitOptions(poll_interval, timeout, how.queue, how.override)
        _split(inv, name, wording, wishes, terms, dry_run=dry_run)
        return

    derive(inv, name, "remix", wishes | {"prompt": wording}, dry_run=dry_run, how=how)


def _split(
    inv: Invocation, name: str, prompt: str, wishes: dict[str, Any], terms: SplitOptions, *, dry_run: bool
) -> None:
    split = split_of(prompt, wishes.pop("fields"), wishes.pop("request_key"))
    if dry_run:
        preview_split(inv, name, split, wishes, terms.override)
    else:
        remix_split(inv, name, split, wishes, terms)


@click.command("edit", cls=RequestCommand)
@common.maybe_job_id
@click.option(
    "--video",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An MP4 to upload and change, instead of --id.",
)
@add_prompt_options
@click.option("--model", metavar="NAME", help="For --video; a video on the server keeps its model.")
@common.render
@add_placement_options
@common.dry_run
@common.calling
@common.invocation
def edit_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str | None,
    video: Path | None,
    prompt: str | None,
    dry_run: bool,
    how: PlacementOptions,
    **wishes: Any,
) -> None:
    """Change a completed video, or one in a file; unlike a remix, an edit may change several things.

    \b
    Example:
      sora-ledger edit --id job_01a2 --prompt "Make it dusk, with headlights on"
      sora-ledger edit --video clip.mp4 --prompt "Make it dusk"
    """
    if (name is None) == (video is None):
        which = "neither was" if name is None else "both were"
        raise Usage(
            f"name a video with --id, or give its file with --video; {which} given",
            param="id",
            expected="one of --id and --video",
            found=which,
        )
    wishes["prompt"] = require_prompt(prompt)

    if name is not None:
        derive(inv, name, "edit", wishes, dry_run=dry_run, how=how)
    elif video is not None:
        place_and_show(inv, *_parse_file_change(inv, video, wishes), dry_run=dry_run, how=how)


def _parse_file_change(
    inv: Invocation, video: Path, wishes: dict[str, Any]
) -> tuple[RenderRequest, Material]:
    file = read_source_file(video)
    request = parse_with_advice(
        inv, "edit", source_file=file, profile=inv.settings.chosen_profile(), **wishes
    )
    return request, Material(video=video)


@click.command("extend", cls=RequestCommand)
@common.job_id
@click.option("--seconds", metavar="N", help="Seconds to add: 4, 8, 12, 16 or 20.")
@add_prompt_options
@click.option("--model", metavar="NAME", help="An extension keeps its source's; another value is denied.")
@click.option("--size", metavar="WxH", help="An extension keeps its source's; another value is denied.")
@common.render
@add_placement_options
@common.dry_run
@common.calling
@common.invocation
def extend_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str,
    prompt: str | None,
    dry_run: bool,
    how: PlacementOptions,
    **wishes: Any,
) -> None:
    """Add seconds to the end of a completed video; the result contains the old and the new part.

    \b
    Example:
      sora-ledger extend --id job_01a2 --seconds 8 --prompt "The coupe drives on"
    """
    wishes["prompt"] = require_prompt(prompt)

    derive(inv, name, "extend", wishes, dry_run=dry_run, how=how)


def derive(
    inv: Invocation,
    name: str,
    operation: str,
    values: dict[str, Any],
    *,
    dry_run: bool,
    how: PlacementOptions,
) -> None:
    """Place the request that makes `operation` of the video called `name`, and emit the result.

    A video that only the server knows is adopted first; in a dry run it stays unknown. Questions are asked
    before the session is opened: its event loop never waits for a person.
    """
    job_name = name if dry_run else job_of(inv, name).job_id
    with inv.ledger() as ledger:
        source, profile = source_ahead(ledger, job_name)
    advised = parse_with_advice(inv, operation, source, profile=profile, **values)
    if dry_run:
        show_preview(inv, advised, NOTHING, how)
        return
    answered = values | {"prompt": advised.prompt, "fields": dict(advised.fields)}
    catalog = inv.rules.catalog

    async def follow(session: "Session") -> "tuple[Placed, RenderRequest]":
        source, profile = await source_of(session, job_name)
        request = parse_request(
            catalog=catalog, operation=operation, source=source, profile=profile, **answered
        )
        return await place(session, request, queue=how.queue, override=how.override), request

    placed, request = inv.session(follow)
    emit_placed(inv, placed, request)
    end_placed(inv, placed)
