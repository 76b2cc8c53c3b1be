"""``create-batch``: many renders from one file."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.exit_codes import ExitCode, choose_worst
from cli.flows.advise import advise_batch, say_first_of_split
from cli.flows.outcome import code_of, say_troubles, trouble_of
from cli.flows.submit import expected_document
from cli.invocation import Invocation, say
from cli.options import common, words
from cli.options.command import RequestCommand
from cli.options.placement import PlacementOptions, add_override_options
from cli.text.decisions import progress_table, show_batch, show_preview
from cli.text.usage import Usage
from decision.errors import BadRequest
from decision.rules.purpose import PURPOSES
from ledger.events import RenderDecided, RenderDenied, RenderHeld
from render_service.assets.fit import read_fit
from render_service.batches.file import read_batch
from render_service.batches.folder import BatchFolder
from render_service.batches.plan import Remixes, plan
from render_service.batches.run import BatchOptions, counts, run_batch
from render_service.session.event_ids import batch_id
from render_service.submission.preview import preview
from render_service.submission.sources import known_source
from sora_adapter.profiles import profile

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.log.ledger import Ledger
    from render_service.batches.item import Member
    from render_service.batches.plan import Planned
    from render_service.submission.preview import Preview

MOST_AT_ONCE = 64
MOST_CHARACTERS = 100_000_000
"""Limit for a batch file, which is held in memory."""


@click.command("create-batch", cls=RequestCommand)
@click.option(
    "--input",
    "file",
    required=True,
    metavar="JSONL",
    type=click.Path(allow_dash=True),
    help="JSON objects with a prompt, or plain prompts; - is stdin. All are checked before any is sent.",
)
@click.option(
    "--out-dir",
    required=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder for each job's JSON: NNN-<prompt-slug>.json, or the entry's out.",
)
@click.option(
    "--batch",
    "batch_name",
    metavar="NAME",
    help="Name of the batch, needed again with --resume. Set it if several machines share a ledger.  "
    "[default: path of --out-dir]",
)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, MOST_AT_ONCE),
    default=3,
    show_default=True,
    help="Requests in flight at the same time.",
)
@click.option(
    "--max-attempts",
    "attempts",
    metavar="N",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Attempts per entry if the server is at capacity and its profile says that such an answer "
    "creates nothing; with profile custom there is one attempt.",
)
@click.option("--fail-fast", is_flag=True, help="Stop sending after the first failure.")
@click.option("--resume", is_flag=True, help="Continue the batch of this folder; nothing is sent twice.")
@click.option(
    "--split",
    is_flag=True,
    help="With --queue: make several changes of an entry with remix_of as a series of remixes.",
)
@common.paying
@common.queue
@click.option("--poll", is_flag=True, help="Wait for all renders and store their videos.")
@click.option("--download", is_flag=True, help="Also copy each video next to its JSON; implies --poll.")
@click.option("--force", is_flag=True, help="Replace existing files in --out-dir.")
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=words.models,
    help="Default for entries without one: auto, sora-2 or sora-2-pro.",
)
@click.option(
    "--size",
    metavar="WxH",
    shell_complete=words.sizes,
    help="Default for entries without one.  [default: 1280x720]",
)
@click.option(
    "--seconds",
    metavar="N",
    shell_complete=words.lengths,
    help="Default for entries without one.  [default: 4]",
)
@click.option(
    "--purpose",
    metavar="WORD",
    shell_complete=words.purposes,
    help=f"Default for entries without one: {', '.join(PURPOSES)}.  [default: draft]",
)
@click.option(
    "--augment/--no-augment",
    default=True,
    help="Append the fields to the prompts as labelled lines.  [default: augment]",
)
@click.option(
    "--fit",
    metavar="HOW",
    shell_complete=words.fits,
    help="Fit each image to its entry's size: cover (crop), contain (blurred bars) or pad (black bars).",
)
@click.option("--attest", "attested", is_flag=True, help="Confirm the guardrails for all entries; recorded.")
@click.option(
    "--deadline",
    "deadline_minutes",
    metavar="MINUTES",
    type=click.IntRange(0, 100_000),
    help="Prefer models whose measured renders finish within this time.",
)
@add_override_options
@common.waiting
@common.dry_run
@common.calling
@common.invocation
def create_batch_command(  # one parameter per option
    inv: Invocation,
    *,
    file: str,
    out_dir: Path,
    batch_name: str | None,
    force: bool,
    dry_run: bool,
    model: str | None,
    size: str | None,
    seconds: str | None,
    purpose: str | None,
    augment: bool,
    attested: bool,
    deadline_minutes: int | None,
    fit: str | None,
    split: bool,
    how: PlacementOptions,
    **terms: Any,
) -> None:
    """Request every render of a JSONL file; each is decided and recorded on its own.

    Entries may override model, size, seconds and purpose, and name an input_reference and an out; several
    input_references where the server accepts them. The fields of a structured prompt go next to the prompt or
    under "fields". Lines that begin with # are ignored. An entry with remix_of, a job, changes the video of
    that job; with --split --queue it may make several changes, and workers make a remix of each.

    \b
    Example:
      sora-ledger create-batch --input prompts.jsonl --out-dir out --poll
      sora-ledger create-batch --input prompts.jsonl --out-dir out --resume
      sora-ledger create-batch --input changes.jsonl --out-dir new --split --queue
    """
    if split and not how.queue:
        raise Usage(
            "--split needs --queue: the remixes of an entry are made by workers, one after the other",
            param="split",
            expected="--split --queue",
            found="--split alone",
        )
    if how.queue and (terms["poll"] or terms["download"]):
        raise Usage(
            "--queue submits nothing, so there is nothing to wait for; leave out --poll",
            param="poll",
            expected="--queue or --poll",
            found="both",
        )

    defaults: dict[str, Any] = {"model": model, "size": size, "seconds": seconds, "purpose": purpose}
    defaults |= {"augment": augment, "attested": attested, "profile": inv.settings.chosen_profile()}
    defaults |= {"deadline_minutes": deadline_minutes}
    planned = _plan(inv, file, batch_id(out_dir, batch_name), defaults, fit, split=split)
    folder = BatchFolder(out_dir)
    folder.check(planned, force=force or terms["resume"])
    _say_if_tried_once(inv)
    if not terms["resume"]:  # the first run printed it
        advise_batch(inv, planned)
    if any(item.following for item in planned):
        say_first_of_split(inv, how.override)
    if dry_run:
        _preview(inv, planned, folder, how)
        return
    _carry_out(inv, planned, folder, _terms(queue=how.queue, override=how.override, **terms))


def _say_if_tried_once(inv: Invocation) -> None:
    """Warn that ``--max-attempts`` has no effect if no refusal is known to have created nothing."""
    is_set = click.get_current_context().get_parameter_source("attempts") is ParameterSource.COMMANDLINE
    name = inv.settings.chosen_profile()
    if is_set and not profile(name, inv.settings.profiles_file).capacity_is_free:
        say(
            f"--max-attempts has no effect here: the profile {name} does not say that a server at capacity "
            "has created nothing, so every entry is tried once; if you know it, say so in a profile of your "
            "own (SORA_LEDGER_PROFILES: free_rejections with http_status = 429)"
        )


def _plan(
    inv: Invocation, file: str, batch: str, defaults: dict[str, Any], fit: str | None, *, split: bool
) -> "list[Planned]":
    reading = read_batch(_text_of(file), Path())
    options: dict[str, Any] = {"defaults": defaults, "catalog": inv.rules.catalog, "fit": read_fit(fit)}
    planning = partial(plan, reading, name=f"--input {file}", batch=batch, **options)
    if not any(entry.remix_of for entry in reading.entries):
        return planning()
    with inv.ledger() as ledger:
        return planning(remixes=Remixes(partial(known_source, inv.settings, ledger), split))


def _text_of(file: str) -> str:
    try:
        with click.open_file(file, encoding="utf-8") as opened:
            text: str = opened.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise Usage(
            f"--input {file}: cannot be read ({error.strerror}); check the path",
            param="input",
            expected="a file that can be read",
            found=error.strerror,
        ) from error
    except UnicodeDecodeError as error:
        raise Usage(
            f"--input {file}: expected UTF-8 text ({error.reason})",
            param="input",
            expected="UTF-8 text",
            found=error.reason,
        ) from error
    if len(text) > MOST_CHARACTERS:
        raise Usage(
            f"--input {file}: expected at most {MOST_CHARACTERS:,} characters, but it has more; "
            "split it into several batches",
            param="input",
            expected=f"at most {MOST_CHARACTERS:,} characters",
            found="more",
        )
    return text


def _terms(
    *, poll_interval: float, timeout: float, poll: bool, download: bool, **more: Any
) -> "BatchOptions":
    waits = poll or download
    return BatchOptions(poll=waits, download=download, interval_s=poll_interval, timeout_s=timeout, **more)


def _carry_out(
    inv: Invocation, planned: "list[Planned]", folder: "BatchFolder", terms: "BatchOptions"
) -> None:
    try:
        with progress_table(planned) as watch:
            members = inv.session(
                lambda session: run_batch(session, planned, folder, terms, watch), begins=True
            )
    except KeyboardInterrupt:
        say("requests in flight are recorded; the same command with --resume continues")
        raise
    troubles = [trouble_of(inv, member, queued=terms.queue) for member in members]
    with inv.ledger() as ledger:
        jobs = [
            _document(member, folder, ledger) | {"trouble": trouble}
            for member, trouble in zip(members, troubles, strict=True)
        ]
    document = {"out_dir": str(folder.path), "jobs": jobs, "counts": counts(members)}
    inv.emit(document, lambda console: show_batch(console, members, folder))
    say_troubles(members, troubles)
    for refused in sorted({member.placed.override_refused or "" for member in members} - {""}):
        say(f"Error: {refused}")
    code = choose_worst(map(code_of, members))
    if code is not ExitCode.DONE:
        raise click.exceptions.Exit(code)


def _document(member: "Member", folder: "BatchFolder", ledger: "Ledger") -> dict[str, Any]:
    more = {
        "out": str(folder.document(member.planned)),
        "repeated": member.placed.repeated,
        "override_refused": member.placed.override_refused,
        "expected": expected_document(member.expected),
    }
    return member.document(ledger) | more


def _preview(inv: Invocation, planned: "list[Planned]", folder: "BatchFolder", how: PlacementOptions) -> None:
    """Emit the decision and the call for each entry, and the totals; exit 3 if one would be denied."""
    previews = list(_previews(inv, planned, how))
    jobs = [
        preview.document(item.request) | {"line": item.entry.line, "out": str(folder.document(item))}
        for item, preview in previews
    ]
    rulings = [preview.ruling for _, preview in previews]
    held = sum(isinstance(ruling, RenderHeld) for ruling in rulings)
    allowed = [ruling for ruling in rulings if isinstance(ruling, RenderDecided)]
    cost = sum(ruling.cost_usd_micros for ruling in allowed)
    denied = sum(isinstance(ruling, RenderDenied) for ruling in rulings)
    tally = {"entries": len(planned), "allowed": len(allowed), "denied": denied, "held": held}
    more = {"counts": tally, "renders": len(rulings), "cost_usd_micros": cost}

    def text(console: "Console") -> None:
        show_preview(console, previews, cost)

    inv.emit({"dry_run": True, "out_dir": str(folder.path), "jobs": jobs} | more, text)
    if len(allowed) < len(rulings):
        raise click.exceptions.Exit(ExitCode.DENIED)


def _previews(
    inv: Invocation, planned: "list[Planned]", how: PlacementOptions
) -> "Iterator[tuple[Planned, Preview]]":
    """Yield each entry with its preview, decided with the budgets reduced by the entries before it.

    The remixes that follow an entry's first are decided as if they were of the same video.
    """
    taken = Counter[str]()
    renders = (
        replace(item, request=request) for item in planned for request in (item.request, *item.following)
    )
    for item in renders:
        previewed = preview(inv.settings, item.request, item.material, taken=taken)
        if how.override and isinstance(previewed.ruling, RenderDenied):
            with suppress(BadRequest):  # the policy does not allow it, so it stays denied
                previewed = preview(inv.settings, item.request, item.material, how.override, taken=taken)
        if isinstance(previewed.ruling, RenderDecided):
            taken.update({hold.budget: hold.usd_micros for hold in previewed.ruling.holds})
        yield item, previewed
