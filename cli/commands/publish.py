"""``publish`` and ``verify-provenance``: a marked copy of a video, and the way back to its record."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.text.usage import Usage
from render_service.evidence.keys import read_verifier
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.provenance.label import Label
    from render_service.provenance.publish import PublishedFile
    from render_service.provenance.sign import ProvenanceCheck
    from render_service.session.session import Session

MARKINGS = {
    "signed": "marked as made by AI, signed by {signer}",
    "original": "unchanged; the manifest that came with it marks it as made by AI",
    "none": "NOT MARKED as made by AI",
}


LABELS = {"text": "the label", "eu_icon": "the EU icon", "icon": "the icon"}
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@click.command("publish")
@click.argument("name", metavar="JOB")
@click.option("--to", "target", required=True, metavar="FILE|URI", help="Where to write it.")
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Sign with this certificate.  [default: SORA_LEDGER_CERTIFICATE]",
)
@click.option("--as-stored", is_flag=True, help="Publish the stored bytes; sign nothing.")
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Refer to this published checkpoint.  [default: a new one, signed with --key]",
)
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Key that signs the checkpoint.  [default: SORA_LEDGER_KEY]",
)
@click.option(
    "--timestamp", metavar="URL", help="Have this time-stamping authority (RFC 3161) date the signature."
)
@click.option(
    "--tsa-chain",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificates (PEM) of that authority.  [default: SORA_LEDGER_TSA_CHAIN]",
)
@click.option("--label", metavar="TEXT", help="Draw this text into a corner of the pictures.")
@click.option("--eu-icon", is_flag=True, help="Draw the EU icon for content made by AI.")
@click.option(
    "--icon", metavar="FILE", type=click.Path(path_type=Path), help="Draw this PNG, WebP or JPEG image."
)
@click.option("--corner", type=click.Choice(CORNERS), help="Corner of the label.  [default: top-left]")
@click.option(
    "--font", metavar="FILE", type=click.Path(path_type=Path), help="Font of --label, a TTF or OTF file."
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@common.invocation
def publish_command(
    inv: Invocation,
    *,
    name: str,
    target: str,
    certificate: Path | None,
    as_stored: bool,
    checkpoint: Path | None,
    key: Path | None,
    timestamp: str | None,
    tsa_chain: Path | None,
    force: bool,
    **drawn: Any,
) -> None:
    """Write a copy of a stored video with a C2PA manifest that marks it as made by AI.

    The manifest names the record that stored the video, and the checkpoint that proves it, if there is one.
    What is published, where and by whom is recorded. Needs the extra c2pa.

    \b
    Example:
      sora-ledger publish job_01a2 --to film.mp4 --certificate studio.pem
      sora-ledger publish job_01a2 --to s3://films/film.mp4 --eu-icon
    """
    from render_service.provenance.publish import Publication, publish

    label = _label(**drawn)
    if as_stored:
        _refuse_changes(signs=bool(certificate or checkpoint or key or timestamp), draws=bool(label))
    wanted = Publication(target, certificate, as_stored, checkpoint, key, force, label, timestamp, tsa_chain)

    async def write(session: "Session") -> "PublishedFile":
        return await publish(session, name, wanted)

    done = inv.session(write, calls=False)
    document = {
        "job_id": done.job.job_id,
        "target": done.target,
        "sha256": done.sha256,
        "bytes": done.bytes,
        "marking": done.marking,
        "signer": done.signer,
        "label": done.label.kind if done.label else None,
        "stamped_at": done.stamped_at,
        "was_there": done.was_there,
    }

    def text(console: "Console") -> None:
        there = " (it was there already, and is recorded now)" if done.was_there else ""
        console.print(f"published {done.job.job_id}: {printable(done.target)}{there}", markup=False)
        console.print(printable(MARKINGS[done.marking].format(signer=done.signer)), markup=False)
        if done.label:
            console.print(f"{LABELS[done.label.kind]} is in the {done.label.corner} corner", markup=False)
        if done.stamped_at:
            console.print(f"dated {done.stamped_at[:19]}Z by a time-stamping authority", markup=False)
        console.print(f"{done.bytes:,} bytes, sha256 {done.sha256}", markup=False)

    inv.emit(document, text)
    if done.marking == "none":
        say("it carries no mark that machines can read: leave out --as-stored to sign it")


def _refuse_changes(*, signs: bool, draws: bool) -> None:
    """Refuse options that would change a file that is to be published as stored."""
    if signs:
        raise Usage(
            "--as-stored signs nothing; leave out --certificate, --checkpoint, --key and --timestamp",
            param="as_stored",
            expected="--as-stored without --certificate, --checkpoint, --key and --timestamp",
            found="both",
        )
    if draws:
        raise Usage(
            "--as-stored changes nothing; leave out --label, --eu-icon and --icon",
            param="as_stored",
            expected="--as-stored without --label, --eu-icon and --icon",
            found="both",
        )


def _label(
    *, label: str | None, eu_icon: bool, icon: Path | None, corner: str | None, font: Path | None
) -> "Label | None":
    from render_service.provenance.label import Label

    if sum((label is not None, eu_icon, icon is not None)) > 1:
        raise Usage(
            "choose one of --label, --eu-icon and --icon",
            param="label",
            expected="one of --label, --eu-icon and --icon",
            found="several",
        )
    if font and label is None:
        raise Usage("--font is for --label TEXT", param="font", expected="--label TEXT", found="nothing")
    where: Any = corner or CORNERS[0]
    if label is not None:
        return Label("text", where, text=label, font=font)
    if eu_icon or icon:
        return Label("icon" if icon else "eu_icon", where, icon=icon)
    if corner:
        raise Usage(
            "--corner is for --label, --eu-icon and --icon",
            param="corner",
            expected="--label, --eu-icon or --icon",
            found="nothing",
        )
    return None


@click.command("verify-provenance")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--trust",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificates (PEM) of trusted signers.  [default: SORA_LEDGER_TRUST_LIST]",
)
@common.verifier
@common.invocation
def verify_provenance_command(
    inv: Invocation, *, file: Path, trust: Path | None, verifier: tuple[str, ...]
) -> None:
    """Check the C2PA manifest of FILE with the C2PA project's reader, and find the record it names.

    Without a ledger here, the file alone is checked. Exit code 10 if a check fails;
    what was changed is printed. Needs the extra c2pa.

    \b
    Example:
      sora-ledger verify-provenance film.mp4 --trust authority.pem
    """
    from render_service.provenance.manifest import TrustList
    from render_service.provenance.sign import follow

    named = trust or inv.settings.trust_list_file
    trusted = TrustList.read(named) if named else None
    keys = [read_verifier(text) for text in verifier]
    with ExitStack() as stack:
        ledger = stack.enter_context(inv.ledger()) if inv.settings.may_have_ledger else None
        followed = follow(file, trusted, keys, ledger)
    inv.emit(_document(followed), lambda console: _show(console, followed))
    if followed.trouble:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _document(followed: "ProvenanceCheck") -> dict[str, Any]:
    manifest = followed.manifest
    return {
        "holds": not followed.trouble,
        "trouble": followed.trouble,
        "notes": followed.notes,
        "sha256": followed.sha256,
        "manifest": None
        if manifest is None
        else {
            "validity": manifest.validity,
            "failures": list(manifest.failures),
            "signer": manifest.signer,
            "issuer": manifest.issuer,
            "algorithm": manifest.algorithm,
            "signed_at": manifest.signed_at,
            "stamp": manifest.stamp,
            "digital_source_type": manifest.digital_source_type,
            "ingredients": [
                {
                    "relationship": ingredient.relationship,
                    "title": ingredient.title,
                    "has_manifest": ingredient.has_manifest,
                }
                for ingredient in manifest.ingredients
            ],
        },
        "record": None
        if followed.claim is None
        else {name: followed.claim[name] for name in ("origin", "job", "position", "leaf", "sha256")},
        "proved_in": followed.proved_in,
        "signed_by": followed.signed_by,
        "record_found": followed.record_found,
        "is_exact_copy": followed.is_exact_copy,
        "published": followed.published,
    }


VALIDITY = {
    "trusted": "[green]valid[/], from a trusted signer",
    "unknown_signer": "[green]valid[/], from a signer who is [yellow]not on the trust list[/]",
    "valid": "[green]valid[/]; no trust list was named, so the signer was not checked",
    "invalid": "[red]NOT VALID[/]",
}


STAMPS = {
    "trusted": "a time-stamping authority on the trust list",
    "unknown_authority": "a time-stamping authority that is not on the trust list",
}


def _show_manifest(console: "Console", followed: "ProvenanceCheck") -> None:
    manifest = followed.manifest
    if manifest is None:
        return
    console.print(f"C2PA manifest: {VALIDITY[manifest.validity]}")
    if not manifest.signer:
        return
    who = f"signed by {manifest.signer}, issued by {manifest.issuer or 'nobody named'}"
    console.print(printable(f"{who}; source type {manifest.digital_source_type or 'none'}"), markup=False)
    if manifest.stamp:
        console.print(printable(f"dated {manifest.signed_at} by {STAMPS[manifest.stamp]}"), markup=False)
    for ingredient in manifest.ingredients:
        console.print(
            printable(f"made from {ingredient.title or 'a file'} ({ingredient.relationship})"), markup=False
        )


def _show(console: "Console", followed: "ProvenanceCheck") -> None:
    _show_manifest(console, followed)
    for trouble in followed.trouble:
        console.print(printable(f"does not hold: {trouble}"), markup=False, style="red")
    claim = followed.claim
    if claim is not None:
        where = f"record: position {claim['position']} of {claim['origin']}, {claim['job']}"
        console.print(printable(where), markup=False)
        console.print(printable(f"leaf {claim['leaf']}"), markup=False)
    if followed.proved_in is not None:
        by = f", signed by {', '.join(followed.signed_by)}" if followed.signed_by else ""
        console.print(
            printable(f"proved to be among the first {format_count(followed.proved_in, 'record')}{by}")
        )
    if followed.record_found and not followed.trouble:
        console.print("the ledger has this record, in its tree")
    for copy in followed.published:
        console.print(
            printable(f"published at {copy['target'] or '[erased]'} by {copy['by']} at {copy['at'][:19]}Z"),
            markup=False,
        )
    for note in followed.notes:
        console.print(printable(note), markup=False, style="dim")
