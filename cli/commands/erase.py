"""``erase``: erase private text; the record stays provable."""

import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text.usage import BadValue, Usage
from ledger.record import timestamp
from render_service.assets.store import AssetStore
from render_service.maintenance.erase import Selection, erase, plan, reminders
from render_service.runtime.documents import format_count
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.maintenance.erase import Plan
    from render_service.session.session import Session

_REASON = re.compile("[a-z0-9_]{1,64}")


def _reason(_: click.Context, __: click.Parameter, value: str) -> str:
    if not _REASON.fullmatch(value):
        raise BadValue(
            f"{value!r}: expected a code of a-z, 0-9 and _, such as subject_request or retention; "
            "it is recorded and never erased",
            expected="a code of a-z, 0-9 and _, such as subject_request or retention",
            found=value,
        )
    return value


@click.command("erase")
@common.maybe_job_id
@click.option(
    "--reason", required=True, metavar="CODE", callback=_reason, help="A code, such as subject_request."
)
@click.option(
    "--older-than",
    metavar="DAYS",
    type=click.IntRange(0, 36_500),
    help="Only texts recorded more days ago than this.",
)
@click.option("--by-actor", metavar="ACTOR", help="Only what this actor wrote.")
@click.option("--actor", "former_actor", hidden=True, help="The former name of --by-actor.")
@common.add_with_assets_option("Delete the stored files as well.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Show what would be erased; change nothing.")
@common.invocation_without_actor
def erase_command(
    inv: Invocation,
    *,
    name: str | None,
    reason: str,
    older_than: int | None,
    with_assets: bool,
    yes: bool,
    dry_run: bool,
    **actors: str | None,
) -> None:
    """Erase the private texts of a job, of an actor, or older than some days; this cannot be undone.

    Private texts are prompts, notes, reasons and messages. What happened, when, by whom and at what cost
    stays readable, with [erased] in place of the text, and every earlier checkpoint, proof and bundle stays
    valid. If several filters are given, all of them must match.

    \b
    Example:
      sora-ledger erase job_01a2 --reason subject_request --dry-run
      sora-ledger erase --by-actor ana --reason subject_request --yes
      sora-ledger erase --older-than 365 --reason retention --yes
    """
    with inv.ledger() as ledger:
        job_id = ledger.job(name).job_id if name else None
        selection = _selection(job_id, _choose_actor(**actors), older_than)
        assets = AssetStore.of(inv.settings, ledger) if with_assets else None
        planned = plan(ledger, selection, assets)
    if dry_run:
        document = planned.document() | {"erased": False, "left": []}
        inv.emit(document, lambda console: _text(console, planned, "would be erased"))
        return
    if not yes:
        _confirm(planned)
    left = _erase(inv, planned, reason)
    document = planned.document() | {"erased": True, "left": left}

    def text(console: "Console") -> None:
        _text(console, planned, "erased")
        for where in left:
            console.print(f"  may be left: {where}", markup=False)

    inv.emit(document, text)


def _choose_actor(by_actor: str | None, former_actor: str | None) -> str | None:
    if by_actor and former_actor:
        raise Usage(
            "--actor is the former name of --by-actor here; leave it out, and name who erases with "
            "SORA_LEDGER_ACTOR",
            param="actor",
            expected="--by-actor",
            found="--actor",
        )
    return by_actor or former_actor


def _selection(job_id: str | None, actor: str | None, older_than: int | None) -> "Selection":
    if job_id is None and actor is None and older_than is None:
        raise Usage(
            "nothing was selected: name a job, --by-actor ACTOR or --older-than DAYS",
            param="job",
            expected="JOB, --by-actor ACTOR or --older-than DAYS",
            found="nothing",
        )
    before = None if older_than is None else timestamp(utc_now() - timedelta(days=older_than))
    return Selection(job_id, actor, before)


def _confirm(planned: "Plan") -> None:
    if not sys.stdin.isatty():
        raise Usage(
            "erasing cannot be undone: check with --dry-run, then add --yes",
            param="yes",
            expected="--dry-run or --yes",
            found="neither",
        )
    files = f" and {format_count(len(planned.uris), 'file')}" if planned.files else ""
    if not click.confirm(f"Erase {format_count(planned.texts, 'text')}{files} for good?", err=True):
        raise click.ClickException("nothing was erased")


def _erase(inv: Invocation, planned: "Plan", reason: str) -> list[str]:
    async def use(session: "Session") -> list[str]:
        return await erase(session, planned, reason)

    left = inv.session(use)
    with inv.ledger() as ledger:
        return [*left, *reminders(planned, ledger.jobs(), inv.settings.sandbox_folder)]


def _text(console: "Console", planned: "Plan", what: str) -> None:
    texts = f"{format_count(planned.texts, 'text')} in {format_count(len(planned.commitments), 'stream')}"
    files = f", {format_count(len(planned.uris), 'file')}" if planned.files else ""
    console.print(f"{what}: {texts}{files}" if planned.texts or planned.uris else "there is nothing to erase")
    for uri, other in planned.shared.items():
        console.print(f"  kept, for {other} needs it: {uri}", markup=False)
    for job_id in planned.needed:
        console.print(f"  kept, for its text is still needed: {job_id}", markup=False)
