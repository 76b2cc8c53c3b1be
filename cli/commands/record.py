"""``record``, ``attach`` and ``review``: record facts from other systems and people."""

import json
from typing import TYPE_CHECKING, Any, TextIO

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.jobs import show_job
from cli.text.usage import Usage
from render_service.adoption.external import attach, check_stream, external_event, record_external
from render_service.approvals.reviews import read_note, review
from render_service.runtime.documents import record_document

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from render_service.adoption.external import Fact
    from render_service.session.session import Session


_HELP = {
    "video_id": "The video.",
    "status": "Its status in the other system.",
    "progress": "0 to 100.",
    "model": "The model.",
    "seconds": "Length of the clip.",
    "size": "Pixels, WxH.",
    "prompt": "The prompt; erasable.",
    "remix_video_id": "The video it was made from.",
    "input_reference": "A description of the reference image; erasable.",
    "storage_uri": "Where the file is.",
    "webhook_event_id": "Id of the webhook event; recorded once.",
}


def _fields(function: Any) -> Any:
    for name, text in reversed(_HELP.items()):
        kind = click.IntRange(0, 100) if name == "progress" else str
        function = click.option(f"--{name.replace('_', '-')}", name, metavar="VALUE", type=kind, help=text)(
            function
        )
    return function


@click.command("record")
@click.argument("stream")
@_fields
@click.option(
    "--json-in",
    metavar="FILE",
    type=click.File(encoding="utf-8"),
    help="Read the fields from a JSON object instead, - is stdin; videoId and video_id are the same.",
)
@click.option("--event-id", metavar="ID", help="Idempotency key: a fact with the same id is recorded once.")
@click.option("--dry-run", is_flag=True, help="Check it and show what would be recorded.")
@common.invocation
def record_command(
    inv: Invocation,
    *,
    stream: str,
    json_in: TextIO | None,
    event_id: str | None,
    dry_run: bool,
    **fields: Any,
) -> None:
    """Record a fact from another system in STREAM, such as media-renders.

    \b
    Example:
      sora-ledger record media-renders --video-id video_123 --status completed
      sora-ledger record media-renders --json-in - --event-id evt_123
    """
    fields_set = {name: value for name, value in fields.items() if value is not None}
    if json_in is not None and fields_set:
        raise Usage(
            "give the fields with --json-in or with options, not both",
            param="json_in",
            expected="--json-in or options",
            found="both",
        )
    values = fields_set if json_in is None else _read(json_in)
    if dry_run:
        _preview(inv, stream, values)
        return

    check_stream(stream)
    external_event(values)  # before a ledger is created for it

    async def follow(session: "Session") -> "Fact":
        return await record_external(session, stream, values, event_id=event_id)

    fact = inv.session(follow, begins=True, calls=False)
    document = record_document(fact.record) | {"repeated": fact.repeated}
    words = "was recorded before" if fact.repeated else "recorded"
    inv.emit(
        document,
        lambda console: console.print(
            f"{words} in {stream} at position {fact.record.position}", markup=False
        ),
    )


def _preview(inv: Invocation, stream: str, values: dict[str, Any]) -> None:
    event = external_event(values)
    document = {"dry_run": True, "stream": check_stream(stream), "event": event.as_json()}

    def text(console: "Console") -> None:
        console.print_json(data=document["event"])
        console.print("dry run: nothing was recorded")

    inv.emit(document, text)


def _read(file: TextIO) -> dict[str, Any]:
    try:
        document = json.load(file)
    except (ValueError, RecursionError) as error:
        raise Usage(
            f"--json-in {file.name}: expected a JSON object ({error})",
            param="json_in",
            expected="a JSON object",
            found=error,
        ) from error
    if not isinstance(document, dict):
        raise Usage(
            f"--json-in {file.name}: expected a JSON object, found another kind of JSON",
            param="json_in",
            expected="a JSON object",
            found="another kind of JSON",
        )
    return document


@click.command("attach")
@common.job_id
@click.option(
    "--workflow",
    metavar="NAME",
    required=True,
    help="Name of the workflow: distribution, QA review, an edit suite …",
)
@click.option("--uri", metavar="URI", required=True, help="Its address in the workflow.")
@common.invocation
def attach_command(inv: Invocation, *, name: str, workflow: str, uri: str) -> None:
    """Attach the output of a job to a workflow; repeating it records nothing.

    \b
    Example:
      sora-ledger attach job_01a2 --workflow qa --uri https://qa.example/7
    """

    async def follow(session: "Session") -> "tuple[Job, bool]":
        return await attach(session, await session.job(name), workflow, uri)

    job, now = inv.session(follow)
    document = inv.job_document(job) | {"workflow": workflow, "uri": uri, "attached": now}
    words = "is now attached" if now else "was attached before"
    inv.emit(
        document,
        lambda console: console.print(f"{job.job_id} {words} to {workflow}: {uri}", markup=False),
    )


SCORE = click.IntRange(0, 100)


@click.command("review")
@common.job_id
@click.option(
    "--verdict",
    required=True,
    metavar="WORD",
    type=click.Choice(["approved", "changes_requested", "rejected"]),
    help="approved, changes_requested or rejected; the last one counts.",
)
@click.option("--clarity", metavar="N", type=SCORE, help="0 to 100: is the content clear?")
@click.option("--continuity", metavar="N", type=SCORE, help="0 to 100: does it match the preceding shot?")
@click.option("--brand-fit", metavar="N", type=SCORE, help="0 to 100: does it fit the brand?")
@click.option("--notes", metavar="TEXT", help="Notes, recorded with the review; erasable.")
@click.option(
    "--note",
    "timed_notes",
    metavar="TIME=TEXT",
    multiple=True,
    help="A note about a moment of the clip, such as 2.5=hands or 1:02=logo; repeatable, erasable.",
)
@common.invocation
def review_command(
    inv: Invocation,
    *,
    name: str,
    verdict: Any,
    notes: str | None,
    timed_notes: tuple[str, ...],
    **scores: int | None,
) -> None:
    """Record a review of a job's video; a policy can require an approved draft before a final.

    \b
    Example:
      sora-ledger review job_01a2 --verdict approved --notes "the light is right"
      sora-ledger review job_01a2 --verdict changes_requested --note 2.5="hands"
    """
    named_scores = {score: value for score, value in scores.items() if value is not None}

    moments = [read_note(text) for text in timed_notes]

    async def follow(session: "Session") -> "Job":
        return await review(session, await session.job(name), verdict, named_scores, notes, moments)

    job = inv.session(follow)

    def text(console: "Console") -> None:
        show_job(console, job, inv.settings.place_url)

    inv.emit(inv.job_document(job), text)
