"""``key``: the signing keys of checkpoints, requests and approvals."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.options.command import Group
from cli.text import output
from cli.text.usage import Usage
from ledger.errors import LedgerUnusable
from ledger.log.opening import open_ledger
from ledger.log.tiles import origin_of
from ledger.tree.checkpoint import Verifier
from render_service.evidence.keys import new_key, read_verifier
from render_service.runtime.errors import BadInput
from render_service.runtime.printable import printable
from render_service.runtime.settings import Settings

if TYPE_CHECKING:
    from ledger.tree.checkpoint import Verifier


@click.group("key", cls=Group)
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


@key_command.command("certificate", short_help="Import a certificate that signs videos.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--chain",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The certificates (PEM), the signer's first.",
)
@click.option(
    "--private-key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Its key (PEM): EC, RSA or Ed25519.",
)
@click.option("--test-ca", is_flag=True, help="Make an authority for tests, and a certificate.")
@click.option("--name", metavar="NAME", default="sora-ledger test", help="Its signer, with --test-ca.")
@common.invocation
def certificate_command(
    inv: Invocation, *, file: Path, chain: Path | None, private_key: Path | None, test_ca: bool, name: str
) -> None:
    """Import the certificate that signs published videos, with its key, into FILE.

    FILE is readable by its owner only (mode 0600) and never overwritten. With --test-ca nobody else trusts
    the certificate; FILE.authority.pem is a trust list for your own checks.

    \b
    Example:
      sora-ledger key certificate a.pem --chain chain.pem --private-key key.pem
      sora-ledger key certificate test.pem --test-ca
    """
    from render_service.provenance.certificates import import_certificate, make_test_certificate
    from render_service.session.session import utc_now

    if test_ca == bool(chain or private_key) or (not test_ca and not (chain and private_key)):
        raise Usage(
            "give --chain and --private-key, or --test-ca",
            param="chain",
            expected="--chain and --private-key, or --test-ca",
            found="none or both",
        )
    authority = None
    if test_ca:
        made, authority = make_test_certificate(file, name, utc_now())
    else:
        assert chain is not None
        assert private_key is not None
        made = import_certificate(file, chain, private_key, utc_now())
    document = {
        "file": str(file),
        "signer": made.signer,
        "algorithm": made.algorithm,
        "sha256": made.sha256,
        "not_after": made.not_after.isoformat(),
        "authority": str(authority) if authority else None,
    }
    say(f"{file}: the private key and its certificates. Only its owner can read it.")
    line = f"{made.signer}, {made.algorithm}, until {made.not_after:%Y-%m-%d}, sha256 {made.sha256}"
    inv.emit(document, lambda _: output.print_text(printable(line)))


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
            f"a key needs a name, and there is no ledger to take it from; add --name NAME ({error})",
            param="name",
            expected="a name",
            found="nothing",
        ) from None
