"""``remix --split``: the remixes as they would be, or how far they came and the command that goes on."""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.flows.outcome import end
from cli.flows.submit import placed_document, show_placed
from cli.invocation import Invocation, say
from cli.text.decisions import show_ruling
from cli.text.printable import printable
from decision.money import format_usd
from render_service.batches.split_remix import remix_one_by_one
from render_service.submission.preview import preview
from render_service.submission.sources import source_ahead

if TYPE_CHECKING:
    from rich.console import Console

    from decision.request.request import RenderRequest, Source
    from render_service.batches.split_remix import Progress, Split
    from render_service.session.session import Session
    from render_service.submission.preview import Preview

RequestFrom = Callable[["Source", str, str, str], "RenderRequest"]


def preview_split(inv: Invocation, name: str, split: "Split", request_from: RequestFrom) -> None:
    """Emit what would be decided on each remix of `split`, and their cost; exit 3 if one would be denied.

    Each is decided as if it were of the video called `name`: the results it would be of are not there yet,
    and have the same shape.
    """
    with inv.ledger() as ledger:
        source, profile = source_ahead(ledger, name)
    requests = [request_from(source, profile, part, split.key) for part in split.prompts]
    tried = inv.even_if_retired
    seen = [(request, preview(inv.settings, request, even_if_retired=tried)) for request in requests]
    cost = sum(getattr(one.ruling, "cost_usd_micros", 0) for _, one in seen)
    jobs = [one.document(request) for request, one in seen]
    document = {"dry_run": True, "remixes": len(jobs), "cost_usd_micros": cost, "jobs": jobs}
    inv.emit(document, lambda console: _preview_text(console, seen, cost))
    for line in seen[0][1].outlook.lines():
        say(line)
    if any(one.post is None for _, one in seen):
        raise click.exceptions.Exit(ExitCode.DENIED)


def _preview_text(console: "Console", seen: "list[tuple[RenderRequest, Preview]]", cost: int) -> None:
    for number, (request, one) in enumerate(seen, 1):
        console.print(f"[bold]{number} of {len(seen)}[/]", end=" ")
        console.print(printable(request.prompt), markup=False)
        show_ruling(console, one.ruling, request)
    console.print(f"{len(seen)} remixes, estimated to cost {format_usd(cost)} together")
    console.print("dry run: nothing was recorded, nothing was sent")


def remix_split(
    inv: Invocation,
    name: str,
    split: "Split",
    request_from: RequestFrom,
    *,
    interval_s: float,
    timeout_s: float,
) -> None:
    """Make the remixes of `split` and emit how far they came; ends with the code of the last job."""
    count = len(split.prompts)
    say(f"{count} remixes, one after the other; --request-key {split.key} goes on after an interruption")

    async def follow(session: "Session") -> "Progress":
        return await remix_one_by_one(
            session, name, split, request_from, interval_s=interval_s, timeout_s=timeout_s
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

    None where all of it was, and where the last render goes on: asked for anew it would be paid for twice.
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
        console.print(f"{undone}; the same command with --request-key {document['request_key']} goes on")
    elif document["next"]:
        console.print(f"{undone}; once the reason is gone:")
        console.print(f"  {document['next']}", markup=False)
