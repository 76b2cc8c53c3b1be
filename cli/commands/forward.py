"""``forward``: send what is recorded to other systems."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text.tables import columns
from cli.text.usage import Usage
from ledger.record import Authority
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import FORWARD

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.forwarding.forwarder import Forwarded
    from render_service.session.session import Session


@click.command("forward")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--drain", is_flag=True, help="Exit when every destination has accepted everything recorded so far."
)
@click.option("--forget", metavar="NAME", help="Delete the position of a removed destination, and exit.")
@common.invocation
def forward_command(inv: Invocation, *, file: Path | None, drain: bool, forget: str | None) -> None:
    """Send the events of the ledger as CloudEvents to the destinations in FILE.

    FILE is a TOML file; without it, SORA_LEDGER_FORWARD names it. Each destination gets every event at least
    once, in order for each job, and continues where the last run stopped. Any number of processes
    may run this: one sends to each destination, and another takes over within ten seconds if it
    dies. `queue` shows the position of each destination and the events that it refused.

    \b
    Example:
      sora-ledger forward forward.toml
      sora-ledger forward --drain
      sora-ledger forward --forget warehouse
    """
    if forget is not None:
        _forget(inv, forget, alone=file is None and not drain)
        return
    from render_service.forwarding.destinations import read_destinations
    from render_service.forwarding.forwarder import Forwarding
    from render_service.runtime.signals import stop_signals

    path = file or inv.settings.forward_file
    if path is None:
        raise BadInput(
            f"name a file of destinations, or set {FORWARD}; docs/events-out.md shows one",
            param=FORWARD,
            expected="a file of destinations",
            found="nothing",
        )
    destinations = read_destinations(path)

    async def forward(session: "Session") -> "list[Forwarded]":
        async with Forwarding(session, destinations) as forwarding:
            with stop_signals() as stop:
                say(f"forwarding until {'all is taken' if drain else 'Ctrl-C or SIGTERM'}")
                return await forwarding.run(stop, drains=drain)

    done = inv.session(forward, calls=False, authority=Authority.SYSTEM)

    def text(console: "Console") -> None:
        rows = [
            (
                destination.name,
                f"{destination.position:,}",
                f"{destination.sent:,}",
                f"{destination.refused:,}",
            )
            for destination in done
        ]
        columns(console, ("destination", "up to", "sent", "refused"), rows)

    inv.emit({"destinations": [destination._asdict() for destination in done]}, text)


def _forget(inv: Invocation, name: str, *, alone: bool) -> None:
    """Delete the position of a destination, and its dead letters."""
    from render_service.notifications.dead_letters import forget_destination

    if not alone:
        raise Usage(
            "--forget NAME is used without FILE and --drain",
            param="forget",
            expected="--forget without FILE and --drain",
            found="both",
        )

    async def forget(session: "Session") -> int:
        return forget_destination(session.ledger, name)

    position = inv.session(forget, calls=False, authority=Authority.SYSTEM)

    def text(console: "Console") -> None:
        console.print(f"{name} is forgotten; it was at {position:,}", highlight=False)

    inv.emit({"destination": name, "position": position}, text)
