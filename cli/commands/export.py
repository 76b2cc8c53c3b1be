"""``export`` and ``verify-bundle``: write evidence for others, and check theirs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.commands.checkpoint import UNSIGNED, head_document
from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.job_names import JOB
from cli.text import output
from cli.text.usage import Usage
from ledger.garbage import collect_rarely
from ledger.verify.verify_bundle import report
from render_service.assets.store import AssetStore
from render_service.evidence import bundles
from render_service.evidence.bundles import check_received, export_tiles
from render_service.provenance.embedded import manifest_finder
from render_service.runtime.documents import format_count

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.evidence.bundles import ExportedBundle


@click.command("export")
@click.argument("job", required=False, type=JOB)
@click.option("--range", "positions", metavar="A..B", help="Export the records of these positions.")
@click.option("--all", "everything", is_flag=True, help="Export all records.")
@click.option(
    "--tiles",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Export the whole log as C2SP tlog-tiles, to serve and check with other tools; extends DIR.",
)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="The zip file to write.")
@click.option("--without-text", is_flag=True, help="Omit private text; the records can still be checked.")
@common.add_with_assets_option("Include the stored files.")
@common.signing
@common.by_checkpoint
@click.option("--force", is_flag=True, help="Replace an existing file.")
@common.invocation
def export_command(  # one parameter per option
    inv: Invocation,
    *,
    job: str | None,
    positions: str | None,
    everything: bool,
    tiles: Path | None,
    out: Path | None,
    without_text: bool,
    with_assets: bool,
    key: Path | None,
    checkpoint: Path | None,
    force: bool,
) -> None:
    """Export a bundle: the records of a job, a range or everything, with all that a check needs.

    A bundle contains verify_bundle.py, which checks it with nothing but Python and says what it proves and
    what it does not. A bundle of one job reveals nothing about other jobs.

    \b
    Example:
      sora-ledger export job_01a2 --out evidence.zip --key signing.key
      sora-ledger export --range 1..500 --out first-500.zip --without-text
      sora-ledger export --tiles public --key signing.key
    """
    if sum((job is not None, positions is not None, everything, tiles is not None)) != 1:
        raise Usage(
            "name one thing to export: JOB, --range A..B, --all or --tiles DIR",
            param="job",
            expected="one of JOB, --range A..B, --all and --tiles DIR",
            found="none or several",
        )
    if tiles is not None:
        if out or without_text or with_assets or checkpoint:
            raise Usage(
                "--tiles takes --key and nothing else; tiles hold no text and no files",
                param="tiles",
                expected="--key and nothing else",
                found="other options",
            )
        _export_tiles(inv, tiles, key or inv.settings.key_file)
        return
    if out is None:
        raise Usage(
            "name the file to write: --out FILE, such as --out evidence.zip",
            param="out",
            expected="the name of a file",
            found="nothing",
        )
    with inv.reader() as ledger, collect_rarely():
        assets = AssetStore.of(inv.settings)
        wanted = bundles.Export(
            target=out,
            scope=bundles.scope_of(ledger, job, positions),
            key=key or inv.settings.key_file,
            checkpoint=checkpoint,
            with_text=not without_text,
            with_assets=with_assets,
            find_manifest=manifest_finder(assets, stored=with_assets),
            force=force,
        )
        done = bundles.export_bundle(ledger, wanted, assets)
    _emit_bundle(inv, done)


def _emit_bundle(inv: Invocation, done: "ExportedBundle") -> None:
    for asset in done.contents.absent:
        say(f"not in the bundle: the file recorded at position {asset.position} is missing or was changed")
    if done.head.note is None:
        say(UNSIGNED)
    document = {
        "bundle": str(done.path),
        "bytes": done.bytes,
        "scope": done.scope.document(),
        "records": done.contents.records,
        "texts": done.contents.texts,
        "documents": done.contents.documents,
        "assets": done.contents.assets,
        "assets_absent": [asset.sha256 for asset in done.contents.absent],
        "manifests": done.contents.manifests,
        "copies_absent": done.contents.copies_absent,
        "head": head_document(done.head),
    }
    inv.emit(document, lambda console: _text(console, done))


def _export_tiles(inv: Invocation, folder: Path, key: Path | None) -> None:
    with inv.reader() as ledger:
        done = export_tiles(ledger, folder, key)
    document = {
        "tiles": str(done.folder),
        "old_size": done.old_size,
        "written": done.written,
        "head": head_document(done.head),
    }
    size = done.head.checkpoint.size
    tiles = format_count(done.written, "tile")
    text = f"{folder}: {format_count(size, 'record')}, {size - done.old_size:,} of them new; {tiles} written"
    inv.emit(document, lambda console: console.print(text, markup=False))


def _text(console: "Console", done: "ExportedBundle") -> None:
    held = done.contents
    console.print(
        f"{done.path}: {done.scope}, {format_count(held.records, 'record')}, "
        f"{format_count(held.texts, 'private text')}, {format_count(held.assets, 'file')}; checked",
        markup=False,
    )
    if held.manifests:
        console.print(f"with {format_count(held.manifests, 'C2PA manifest')}", markup=False)
    if held.copies_absent:
        console.print(
            "without the manifests of "
            f"{format_count(held.copies_absent, 'published copy', 'published copies')}, "
            "which are in a bucket, or not where they were published any more",
            markup=False,
        )
    console.print(
        f"to check it elsewhere: unzip -p {done.path} verify_bundle.py > verify_bundle.py", markup=False
    )
    console.print(f"                       python3 verify_bundle.py {done.path}", markup=False)


@click.command("verify-bundle")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Your own checkpoint of the same size as the bundle's.",
)
@common.verifier
@common.by_policy
@common.invocation
def verify_bundle_command(
    inv: Invocation,
    *,
    file: Path,
    checkpoint: Path | None,
    verifier: tuple[str, ...],
    witnesses: Path | None,
) -> None:
    """Check a bundle as the verify_bundle.py in it does, and say what it proves and what it does not.

    The bundle is treated as hostile: nothing is unpacked and nothing in it is run. Needs no ledger. Exit
    code 0 if the bundle is valid, 10 with findings, 2 if the file is not a bundle.

    \b
    Example:
      sora-ledger verify-bundle evidence.zip --verifier signing.pub
    """
    outcome = check_received(file, verifier, checkpoint, witnesses)
    document = {
        "clean": not outcome.findings,
        "title": outcome.title,
        "origin": outcome.origin,
        "size": outcome.size,
        "root": outcome.root,
        "records": outcome.records,
        "texts": outcome.texts,
        "texts_absent": outcome.texts_absent,
        "signed_by": outcome.signed_by,
        "cosigned_by": outcome.cosigned_by,
        "timestamps": outcome.timestamps,
        "build": outcome.build,
        "shows": outcome.shows,
        "shows_not": outcome.shows_not,
        "findings": [finding._asdict() for finding in outcome.findings],
        "more_findings": outcome.more_findings,
    }
    inv.emit(document, lambda _: output.print_text(report(outcome)))
    if outcome.findings:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)
