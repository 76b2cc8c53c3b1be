"""``key``: the signing keys of checkpoints, requests and approvals."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.options.command import Group
from cli.text import output
from ledger.errors import LedgerUnusable
from ledger.log.opening import open_ledger
from ledger.log.tiles import origin_of
from ledger.tree.checkpoint import Verifier
from render_service.evidence.keys import new_key, read_verifier
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings

if TYPE_CHECKING:
    from ledger.tree.checkpoint import Verifier


@click.group("key", cls=Group, short_help="Create a signing key, or show its public half.")
def key_command() -> None:
    """Create an Ed25519 signing key, or show its public half.

    \b
    Example:
      sora-ledger key new signing.key --name ledger.example.org
      sora-ledger key show signing.key
    """


@key_command.command("new", short_help="Create a signing key and print its public half.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="What the key signs as.  [default: the ledger's origin]")
@common.invocation
def new_command(inv: Invocation, *, file: Path, name: str | None) -> None:
    """Create a signing key in FILE and print its public half.

    FILE is readable by its owner only (mode 0600) and never overwritten. Give the public key to everyone who
    checks your signatures.

    \b
    Example:
      sora-ledger key new signing.key --name ledger.example.org
    """
    verifier = new_key(file, name or default_name(inv.settings))
    say(f"{file}: the private key. Keep it where the ledger's operator cannot reach it, if you can.")
    _emit(inv, verifier)


@key_command.command("show", short_help="Print the public half of a signing key.")
@click.argument("file", type=click.Path(path_type=Path))
@common.invocation
def show_command(inv: Invocation, *, file: Path) -> None:
    """Print the public half of the signing key in FILE.

    \b
    Example:
      sora-ledger key show signing.key
    """
    _emit(inv, read_verifier(str(file)))


def _emit(inv: Invocation, verifier: "Verifier") -> None:
    document = {
        "name": verifier.name,
        "key_id": verifier.key_id.hex(),
        "algorithm": "ed25519",
        "verifier": str(verifier),
    }
    inv.emit(document, lambda _: output.print_text(str(verifier)))


def default_name(settings: Settings) -> str:
    """Return the name a key of this ledger signs under: the ledger's origin."""
    try:
        with open_ledger(settings.ledger_url) as ledger:
            return origin_of(ledger)
    except LedgerUnusable as error:
        raise BadInput(
            f"a key needs a name, and there is no ledger to take it from; add --name NAME ({error})"
        ) from None
