"""``prove``: proofs for others, and checking one without the ledger."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands.checkpoint import UNSIGNED, head_document, print_vouchers
from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.job_names import JOB
from cli.text import output
from cli.text.tables import fold
from cli.text.usage import Usage
from ledger.tree.proof import InclusionProof
from render_service.assets.store import check_target
from render_service.evidence import proofs
from render_service.evidence.keys import read_policy, read_verifier
from render_service.runtime.documents import format_count
from render_service.runtime.files import write_file
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.evidence.proofs import Proof, ProofCheck


@click.command("prove")
@click.argument("name", metavar="[POSITION|EVENT_ID|JOB]", required=False, type=JOB)
@click.option(
    "--consistency",
    metavar="OLD NEW",
    nargs=2,
    type=int,
    help="Prove that the ledger of NEW records extends the ledger of OLD records.",
)
@common.signing
@common.by_checkpoint
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the proof to this file.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option(
    "--check",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Check a proof; needs no ledger.  Exit code 10 if it is invalid.",
)
@click.option(
    "--record",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="With --check: the record's bytes, instead of those in the proof.",
)
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="With --check: the older checkpoint of a consistency proof.",
)
@common.verifier
@common.by_policy
@common.invocation
def prove_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str | None,
    consistency: tuple[int, int] | None,
    key: Path | None,
    checkpoint: Path | None,
    out: Path | None,
    force: bool,
    check: Path | None,
    record: Path | None,
    against: Path | None,
    verifier: tuple[str, ...],
    witnesses: Path | None,
) -> None:
    """Prove that one record is in the ledger (C2SP tlog-proof), or that the ledger only grew.

    A proof is a small text file that anyone can check without the ledger and without this program. It
    shows the record, the path to the tree's root, and the checkpoint; nothing else of the ledger.
    For a JOB it proves the last record; `export JOB` proves all of them.

    \b
    Example:
      sora-ledger prove @last --key signing.key --out last.tlog-proof
      sora-ledger prove 3 --key signing.key --out 3.tlog-proof
      sora-ledger prove --consistency 3 9 --key signing.key --out grown.proof
      sora-ledger prove --check 3.tlog-proof --verifier signing.key
    """
    if sum(value is not None for value in (name, consistency, check)) != 1:
        raise Usage(
            "name one thing: POSITION, EVENT_ID, JOB, --consistency OLD NEW or --check FILE",
            param="job",
            expected="one of POSITION, EVENT_ID, JOB, --consistency and --check",
            found="none or several",
        )
    if not check and (record or against or verifier or witnesses):
        raise Usage(
            "--record, --against, --verifier and --witnesses are for --check FILE",
            param="check",
            expected="--check FILE",
            found="nothing",
        )
    if check:
        keys = [read_verifier(text) for text in verifier]
        policy = read_policy(witnesses).trust if witnesses else None
        _check(inv, proofs.check_proof(proofs.read_proof(check), record, against, keys, policy))
        return
    if out:
        check_target(out, force=force)
    with inv.ledger() as ledger:
        signing = key or inv.settings.key_file
        made: Proof = (
            proofs.prove_consistency(ledger, consistency, signing, checkpoint)
            if consistency
            else proofs.prove_record(ledger, name or "", signing, checkpoint)
        )
    if out:
        write_file(out, made.to_bytes())
    if made.head.note is None:
        say(UNSIGNED)
    text = f"wrote {out}\n" if out else made.to_bytes().decode()
    inv.emit(proof_document(made), lambda _: output.print_text(text, newline=False))


def _check(inv: Invocation, checked: "ProofCheck") -> None:
    inv.emit(_make_document(checked), lambda console: _print_check(console, checked))
    if checked.trouble:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def proof_document(proof: "Proof") -> dict[str, Any]:
    """Return a proof as JSON; `proof` is the text of the file."""
    what = (
        {"kind": "inclusion", "position": proof.index + 1, "index": proof.index}
        if isinstance(proof, InclusionProof)
        else {"kind": "consistency", "old_size": proof.old_size}
    )
    return what | {
        "hashes": [value.hex() for value in proof.path],
        "head": head_document(proof.head),
        "proof": proof.to_bytes().decode(),
    }


def _make_document(checked: "ProofCheck") -> dict[str, Any]:
    try:
        record = json.loads(checked.record) if checked.record is not None else None
    except (ValueError, RecursionError):
        record = None  # not one of our records; the proof may still be valid
    return {
        "proved": not checked.trouble,
        "signature_checked": bool(checked.signed_by),
        "signed_by": checked.signed_by,
        "cosigned_by": checked.cosigned_by,
        "trouble": checked.trouble,
        "record": record,
        **{name: value for name, value in proof_document(checked.proof).items() if name != "proof"},
    }


def _print_check(console: "Console", checked: "ProofCheck") -> None:
    at = checked.proof.head.checkpoint
    for trouble in checked.trouble:
        console.print(f"not proved: {printable(trouble)}", markup=False, style="red")
    if not checked.trouble:
        document = proof_document(checked.proof)
        what = (
            f"it is the record at position {document['position']}"
            if document["kind"] == "inclusion"
            else f"the first {format_count(document['old_size'], 'record')} are those of the older checkpoint"
        )
        tree = f"{printable(at.origin)} at {format_count(at.size, 'record')}, root {at.root.hex()}"
        for line in fold(console, f"proved: {what}, in {tree}"):
            console.print(line, markup=False)
        if checked.record is not None:
            console.print(printable(checked.record.decode(errors="replace")), markup=False)
    print_vouchers(console, checked)
