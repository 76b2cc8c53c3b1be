"""``checkpoint``: the ledger's tree head, signed; and whether the ledger extends an old one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from cli.text.usage import Usage
from ledger.record import timestamp as utc_text
from ledger.tree.head import TreeHead
from render_service.evidence import checkpoints
from render_service.evidence.checkpoints import Publication
from render_service.evidence.keys import read_policy, read_verifier
from render_service.evidence.timestamps import add_date
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from render_service.evidence.checkpoints import Comparison
    from render_service.evidence.proofs import ProofCheck
    from render_service.evidence.publishing import PublishedCheckpoint
    from render_service.evidence.witnesses import Answer
    from render_service.session.session import Session

UNSIGNED = "not signed: no --key was given, so it does not show who vouches for it"
NOT_CHECKED = "signature not checked: no --verifier was given, so anyone could have written this checkpoint"


@click.command("checkpoint")
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
@click.option(
    "--witnesses",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Trust policy (C2SP tlog-policy). With --publish: ask its witnesses, publish only with its quorum. "
    "With --check: count their cosignatures.  [env: SORA_LEDGER_WITNESSES, for --publish]",
)
@click.option(
    "--timestamp",
    metavar="URL",
    help="With --publish: have this time-stamping authority (RFC 3161) date it; its answer is FILE.tsr.",
)
@common.tsa_chain
@common.invocation
def checkpoint_command(
    inv: Invocation,
    *,
    key: Path | None,
    publish: str | None,
    record: bool,
    check: Path | None,
    verifier: tuple[str, ...],
    witnesses: Path | None,
    timestamp: str | None,
    tsa_chain: Path | None,
) -> None:
    """Print the ledger's tree head, signed: its name, its size, its root (C2SP tlog-checkpoint).

    A checkpoint kept elsewhere shows later, with --check, whether any record up to then was changed,
    removed or inserted. Witnesses check that immediately: they cosign a checkpoint only if the ledger
    extends the one they cosigned before.

    \b
    Example:
      sora-ledger checkpoint --key signing.key --publish checkpoint.txt
      sora-ledger checkpoint --publish checkpoint.txt --witnesses policy.txt
      sora-ledger checkpoint --check checkpoint.txt --verifier signing.key
    """
    if check and (publish or key):
        raise Usage(
            "--check compares and signs nothing; leave out --key and --publish",
            param="check",
            expected="--check without --key and --publish",
            found="both",
        )
    if verifier and not check:
        raise Usage(
            "--verifier is for --check FILE", param="verifier", expected="--check FILE", found="nothing"
        )
    if witnesses and not (check or publish):
        raise Usage(
            "--witnesses is for --publish FILE|URI and for --check FILE",
            param="witnesses",
            expected="--publish or --check",
            found="nothing",
        )
    if record and not publish:
        raise Usage(
            "--record is for --publish FILE|URI",
            param="record",
            expected="--publish FILE|URI",
            found="nothing",
        )
    if timestamp and not publish:
        raise Usage(
            "--timestamp is for --publish FILE|URI",
            param="timestamp",
            expected="--publish FILE|URI",
            found="nothing",
        )
    if check:
        _check(inv, check, verifier, witnesses, tsa_chain)
        return
    signing = key or inv.settings.key_file
    if publish:
        policy = witnesses or inv.settings.witnesses_file
        chain = tsa_chain or inv.settings.tsa_chain_file
        wanted = Publication(publish, signing, policy, record, timestamp, chain if timestamp else None)
        _publish(inv, wanted)
        return
    with inv.ledger() as ledger:
        _emit(inv, checkpoints.tree_head(ledger, signing), None)


def _check(
    inv: Invocation, file: Path, verifier: tuple[str, ...], witnesses: Path | None, tsa_chain: Path | None
) -> None:
    keys = [read_verifier(text) for text in verifier]
    policy = read_policy(witnesses).trust if witnesses else None
    with inv.ledger() as ledger:
        comparison = checkpoints.compare(ledger, checkpoints.read_head(file), keys, policy)
    if tsa_chain:
        comparison = add_date(comparison, file, tsa_chain)
    inv.emit(comparison_document(comparison), lambda console: _text(console, comparison))
    if comparison.trouble:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _publish(inv: Invocation, wanted: Publication) -> None:
    if not wanted.writes:  # users without write access publish the ledger's checkpoints too
        with inv.ledger() as ledger:
            head = checkpoints.tree_head(ledger, wanted.key)
            target, there = checkpoints.put(ledger, head, wanted.target)
        _emit(inv, there, target)
        return
    from render_service.evidence.publishing import publish_checkpoint  # only if witnesses are asked

    async def publish(session: "Session") -> "PublishedCheckpoint":
        return await publish_checkpoint(session, wanted)

    done = inv.session(publish, calls=False)
    for answer in done.answers:
        say(f"witness {printable(str(answer))}")
    if done.stamp:
        say(f"dated {done.stamp.at:%Y-%m-%d %H:%M:%S}Z by {done.stamp.authority}: {done.target}.tsr")
    _emit(
        inv, done.head, done.target, done.answers, stamped_at=utc_text(done.stamp.at) if done.stamp else None
    )


def _emit(
    inv: Invocation,
    head: TreeHead,
    published: str | None,
    answers: "Sequence[Answer]" = (),
    stamped_at: str | None = None,
) -> None:
    if head.note is None:
        say(UNSIGNED)
    if published:
        say(f"published: {published}")
    requests = [
        {
            "witness": answer.witness.name,
            "cosigned": answer.cosignature is not None,
            "problem": answer.problem or None,
        }
        for answer in answers
    ]
    inv.emit(
        head_document(head) | {"published": published, "witnesses": requests, "stamped_at": stamped_at},
        lambda _: output.print_text(head.to_bytes().decode(), newline=False),
    )


def head_document(head: "TreeHead") -> dict[str, Any]:
    """Return a tree head as JSON; `checkpoint` is the text as it is published."""
    return {
        "origin": head.checkpoint.origin,
        "size": head.checkpoint.size,
        "root": head.checkpoint.root.hex(),
        "signed": head.note is not None,
        "checkpoint": head.to_bytes().decode(),
    }


def comparison_document(comparison: "Comparison") -> dict[str, Any]:
    """Return the result of a comparison as JSON."""
    return {
        "extends": not comparison.trouble,
        "signature_checked": bool(comparison.signed_by),
        "signed_by": comparison.signed_by,
        "cosigned_by": comparison.cosigned_by,
        "split_view": comparison.split_view,
        "stamped_at": comparison.stamped_at,
        "trouble": comparison.trouble,
        "given": head_document(comparison.earlier),
        "now": head_document(comparison.now),
        "proof": [value.hex() for value in comparison.proof],
    }


def _text(console: "Console", comparison: "Comparison") -> None:
    old, new = comparison.earlier.checkpoint, comparison.now.checkpoint
    for trouble in comparison.trouble:
        console.print(f"changed: {printable(trouble)}", markup=False, style="red")
    if not comparison.trouble:
        console.print(
            f"the ledger extends the checkpoint: {format_count(old.size, 'record')} then, {new.size:,} now; "
            f"the first {old.size:,} are unchanged"
        )
    print_vouchers(console, comparison)


def print_vouchers(console: "Console", checked: "Comparison | ProofCheck") -> None:
    """Print who signed and cosigned a checkpoint, or that no signature was checked."""
    if stamped_at := getattr(checked, "stamped_at", None):
        console.print(printable(f"dated {stamped_at}"), markup=False)
    if checked.cosigned_by:
        console.print(printable(f"cosigned by {', '.join(checked.cosigned_by)}"), markup=False)
    if checked.signed_by:
        console.print(printable(f"signed by {', '.join(checked.signed_by)}"), markup=False)
    elif not checked.cosigned_by and not any(
        trouble.startswith(("signature", "witnesses")) for trouble in checked.trouble
    ):
        console.print(NOT_CHECKED, markup=False)
