"""``remix --split``: the remixes as they would be, or how far they came and the command that continues."""

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.flows.advise import advised_request
from cli.flows.outcome import end
from cli.flows.submit import placed_document, show_placed
from cli.flows.video import job_of
from cli.invocation import Invocation, say
from cli.text.decisions import show_ruling
from cli.text.printable import printable
from decision.money import format_usd
from decision.request.request import RenderRequest, Source, parse_request
from render_service.batches.split_remix import remix_one_by_one
from render_service.submission.preview import preview
from render_service.submission.sources import source_ahead

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.batches.split_remix import Progress, Split
    from render_service.session.session import Session
    from render_service.submission.preview import Preview


def preview_split(inv: Invocation, name: str, split: "Split", options: dict[str, Any]) -> None:
    """Emit what would be decided on each remix of `split`, and their cost; exit 3 if one would be denied.

    Each is decided as if it were of the video called `name`: the results they start from do not exist yet,
    and have the same shape.
    """
    requests = _advised(inv, name, split, options)
    retired = inv.even_if_retired
    previews = [(request, preview(inv.settings, request, even_if_retired=retired)) for request in requests]
    cost = sum(getattr(remix.ruling, "cost_usd_micros", 0) for _, remix in previews)
    jobs = [remix.document(request) for request, remix in previews]
    document = {"dry_run": True, "remixes": len(jobs), "cost_usd_micros": cost, "jobs": jobs}
    inv.emit(document, lambda console: _preview_text(console, previews, cost))
    for line in previews[0][1].outlook.lines():
        say(line)
    if any(remix.post is None for _, remix in previews):
        raise click.exceptions.Exit(ExitCode.DENIED)


def _advised(inv: Invocation, name: str, split: "Split", options: dict[str, Any]) -> "list[RenderRequest]":
    """Return the remixes as requests, all of the video called `name`, after asking for what is missing."""
    with inv.ledger() as ledger:
        source, profile = source_ahead(ledger, name)
    requests: list[RenderRequest] = []
    for number, part in enumerate(split.prompts, 1):
        values = options | {"prompt": part, "fields": requests[-1].fields if requests else split.fields}
        key = f"{split.key}/{number}"
        requests.append(
            advised_request(
                inv, "remix", source, profile=profile, request_key=key, reminds=not requests, **values
            )
        )
    return requests


def _preview_text(console: "Console", previews: "list[tuple[RenderRequest, Preview]]", cost: int) -> None:
    for number, (request, remix) in enumerate(previews, 1):
        console.print(f"[bold]{number} of {len(previews)}[/]", end=" ")
        console.print(printable(request.prompt), markup=False)
        show_ruling(console, remix.ruling, request)
    console.print(f"{len(previews)} remixes, estimated to cost {format_usd(cost)} together")
    console.print("dry run: nothing was recorded, nothing was sent")


def remix_split(
    inv: Invocation,
    name: str,
    split: "Split",
    options: dict[str, Any],
    *,
    interval_s: float,
    timeout_s: float,
) -> None:
    """Make the remixes of `split` and emit how far they came; end with the code of the last job."""
    job_id = job_of(inv, name).job_id
    advised = _advised(inv, job_id, split, options)
    fields = dict(advised[-1].fields)
    split = replace(split, prompts=tuple(request.prompt for request in advised), fields=fields)
    catalog = inv.rules.catalog
    count = len(split.prompts)
    say(f"{count} remixes, one after the other; --request-key {split.key} continues after an interruption")

    def request_from(source: Source, profile: str, prompt: str, key: str) -> RenderRequest:
        values = options | {"prompt": prompt, "fields": split.fields, "request_key": key}
        return parse_request(catalog=catalog, operation="remix", source=source, profile=profile, **values)

    async def follow(session: "Session") -> "Progress":
        return await remix_one_by_one(
            session, job_id, split, request_from, interval_s=interval_s, timeout_s=timeout_s
        )

    progress = inv.session(follow)
    document = {
        "request_key": split.key,
        "remixes": count,
        "done": count - len(progress.rest),
        "jobs": [placed_document(inv, placed) for placed in progress.placed],
        "rest": list(progress.rest),
        "next": next_command(progress),
    }
    inv.emit(document, lambda console: _text(console, progress, document))
    if progress.trouble:
        raise progress.trouble
    end(inv, progress.placed[-1].job)


def next_command(progress: "Progress") -> str | None:
    """Return the command for what was not done, from the last video there is.

    None if all were done, or if the last render still runs: requested again, it would be paid for twice.
    """
    rest = progress.rest
    if not rest or progress.trouble:
        return None
    prompt = shlex.quote(". ".join(rest))
    split = " --split" if len(rest) > 1 else ""
    return f"sora-ledger remix --id {progress.last_video} --prompt {prompt}{split}"


def _text(console: "Console", progress: "Progress", document: dict[str, Any]) -> None:
    for number, placed in enumerate(progress.placed, 1):
        console.print(f"[bold]{number} of {document['remixes']}[/]", end=" ")
        console.print(printable(progress.split.prompts[number - 1]), markup=False)
        show_placed(console, placed, waiting=True)
    undone = f"not done: {len(document['rest'])} of {document['remixes']}"
    if progress.trouble:
        console.print(f"{undone}; the same command with --request-key {document['request_key']} continues")
    elif document["next"]:
        console.print(f"{undone}; once the cause is fixed:")
        console.print(f"  {document['next']}", markup=False)
