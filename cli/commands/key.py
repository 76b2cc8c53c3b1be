"""``key``: the signing key of checkpoints."""

from pathlib import Path

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from render_service.evidence.keys import default_name, new_key, read_verifier


@click.command("key", short_help="Create a signing key, or show its public half.")
@click.argument("action", metavar="new|show", type=click.Choice(["new", "show"]))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--name", metavar="NAME", help="What the key signs as.  [default: the ledger's origin]", default=None
)
@common.invocation
def key_command(inv: Invocation, *, action: str, file: Path, name: str | None) -> None:
    """Make an Ed25519 key for checkpoints (`new`), or show the public half of one (`show`).

    The file is made for its owner's eyes alone (mode 0600) and never overwritten. What is printed is the
    public key: give it to whoever is to check your checkpoints.

    \b
    Example:
      sora-ledger key new signing.key --name ledger.example.org
      sora-ledger key show signing.key
    """
    if action == "new":
        verifier = new_key(file, name or default_name(inv.settings))
        say(f"{file}: the private key. Keep it where the ledger's operator cannot reach it, if you can.")
    elif name:
        raise click.UsageError("--name is for `key new`; a key keeps its name")
    else:
        verifier = read_verifier(str(file))
    document = {
        "name": verifier.name,
        "key_id": verifier.key_id.hex(),
        "algorithm": "ed25519",
        "verifier": str(verifier),
    }
    inv.emit(document, lambda _: output.print_text(str(verifier)))
