"""``verify-bundle``: check evidence exported by others."""

from pathlib import Path

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation
from cli.options import common
from cli.text import output
from ledger.verify.verify_bundle import report
from render_service.evidence.bundles import check_received


@click.command("verify-bundle", short_help="Check exported evidence.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Your own checkpoint of the same size as the bundle's.",
)
@common.verifier
@common.invocation
def verify_bundle_command(
    inv: Invocation, *, file: Path, checkpoint: Path | None, verifier: tuple[str, ...]
) -> None:
    """Check a bundle like the verify_bundle.py in it, and say what it proves and what it does not.

    The bundle is treated as hostile: nothing is unpacked and nothing in it is run. Needs no ledger. Exit
    code 0 if the bundle is valid, 10 with findings, 2 if the file is not a bundle.

    \b
    Example:
      sora-ledger verify-bundle evidence.zip --verifier signing.pub
    """
    outcome = check_received(file, verifier, checkpoint)
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
        "build": outcome.build,
        "shows": outcome.shows,
        "shows_not": outcome.shows_not,
        "findings": [finding._asdict() for finding in outcome.findings],
        "more_findings": outcome.more_findings,
    }
    inv.emit(document, lambda _: output.print_text(report(outcome)))
    if outcome.findings:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)
