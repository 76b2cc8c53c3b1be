"""``checkpoint``: the ledger's tree head, signed; and whether the ledger extends an old one."""

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from ledger.tree.head import TreeHead
from render_service.evidence import checkpoints
from render_service.evidence.checkpoints import publish as put
from render_service.evidence.keys import read_verifier
from render_service.runtime.documents import counted
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.evidence.checkpoints import Comparison
    from render_service.session.session import Session

UNSIGNED = "not signed: no --key was given, so it does not show who vouches for it"
NOT_CHECKED = "signature not checked: no --verifier was given, so anyone could have written this checkpoint"


@click.command("checkpoint", short_help="Sign the tree head, or compare with an old one.")
@common.signing
@click.option(
    "--publish",
    metavar="FILE|URI",
    help="Also write it to a file, s3://bucket/key, gs://bucket/key or az://…. An existing checkpoint "
    "is replaced if the ledger extends it; at the same size its other signatures stay.",
)
@click.option("--record", is_flag=True, help="Record who published it, and where.")
@click.option(
    "--check",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Check that the ledger extends this checkpoint.  Exit code 10 if not.",
)
@common.verifier
@common.invocation
def checkpoint_command(
    inv: Invocation,
    *,
    key: Path | None,
    publish: str | None,
    record: bool,
    check: Path | None,
    verifier: tuple[str, ...],
) -> None:
    """Print the ledger's tree head, signed: its name, its size, its root (C2SP tlog-checkpoint).

    A checkpoint kept elsewhere shows later, with --check, whether any record up to then was changed,
    removed or inserted.

    \b
    Example:
      sora-ledger checkpoint --key signing.key --publish checkpoint.txt
      sora-ledger checkpoint --check checkpoint.txt --verifier signing.key
    """
    if check and (publish or key):
        raise click.UsageError("--check compares and signs nothing; leave out --key and --publish")
    if verifier and not check:
        raise click.UsageError("--verifier is for --check FILE")
    if record and not publish:
        raise click.UsageError("--record is for --publish FILE|URI")
    with inv.ledger() as ledger:
        if check:
            keys = [read_verifier(text) for text in verifier]
            found = checkpoints.compare(ledger, checkpoints.read_head(check), keys)
            inv.emit(comparison_document(found), lambda console: _text(console, found))
            if found.trouble:
                raise click.exceptions.Exit(ExitCode.INTEGRITY)
            return
        head = checkpoints.tree_head(ledger, key or inv.settings.key_file)
        published = None
        if publish:
            published, data = put(publish, head.to_bytes(), partial(checkpoints.replacing, ledger, head))
            there = TreeHead.parse(data)
            if record:
                inv.session(partial(_record, head=head, there=there, target=published), calls=False)
            head = there
    if head.note is None:
        say(UNSIGNED)
    if published:
        say(f"published: {published}")
    inv.emit(
        head_document(head) | {"published": published},
        lambda _: output.print_text(head.to_bytes().decode(), newline=False),
    )


async def _record(session: "Session", head: TreeHead, there: TreeHead, target: str) -> None:
    from render_service.evidence.recorded_checks import record_published  # only with --record

    await asyncio.to_thread(record_published, session, head, there, target)


def head_document(head: "TreeHead") -> dict[str, Any]:
    """Return a tree head as JSON; `checkpoint` is the text as it is published."""
    return {
        "origin": head.checkpoint.origin,
        "size": head.checkpoint.size,
        "root": head.checkpoint.root.hex(),
        "signed": head.note is not None,
        "checkpoint": head.to_bytes().decode(),
    }


def comparison_document(found: "Comparison") -> dict[str, Any]:
    """Return what a comparison came to as JSON."""
    return {
        "extends": not found.trouble,
        "signature_checked": bool(found.signed_by),
        "signed_by": found.signed_by,
        "trouble": found.trouble,
        "given": head_document(found.earlier),
        "now": head_document(found.now),
        "proof": [value.hex() for value in found.proof],
    }


def _text(console: "Console", found: "Comparison") -> None:
    old, new = found.earlier.checkpoint, found.now.checkpoint
    for trouble in found.trouble:
        console.print(f"changed: {printable(trouble)}", markup=False, style="red")
    if not found.trouble:
        console.print(
            f"the ledger extends the checkpoint: {counted(old.size, 'record')} then, {new.size:,} now; "
            f"the first {old.size:,} are unchanged"
        )
    signed = f"signed by {', '.join(found.signed_by)}" if found.signed_by else NOT_CHECKED
    if found.signed_by or not any(trouble.startswith("signature") for trouble in found.trouble):
        console.print(printable(signed), markup=False)
