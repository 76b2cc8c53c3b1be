"""`serve --all DIR` and `worker --all DIR`: one process for each ledger of a folder."""

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.text.usage import Usage
from ledger.errors import SoraLedgerError
from render_service.runtime.errors import BadInput
from render_service.runtime.ledgers import PLACED, OneLedger, Placed, apart
from render_service.server.processes import Ended, Processes, Started, environment_of

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

option = click.option(
    "--all",
    "all_in",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Every ledger in this folder, each in a process of its own: DIR/NAME/ledger.db or "
    "DIR/NAME/settings.env.",
)

_NOT_PASSED_ON = {"all_in", "json_out", "ledger"}
_OF_ONE = {"ledger": "--ledger", "key": "--key", "publish": "--publish"}


def refuse_copies(ledgers: Iterable[OneLedger]) -> None:
    """Raise `BadInput` if two folders have the same ledger: each would submit what waits in it, and pay."""
    from ledger.log.opening import open_now

    known: dict[str, str] = {}
    for one in ledgers:
        try:
            with open_now(one.url) as ledger:
                ledger_id = ledger.ledger_id
        except SoraLedgerError:  # it does not exist yet, or its own process says what is wrong
            continue
        if (other := known.setdefault(ledger_id, one.shown)) != one.shown:
            raise BadInput(
                f"{one.shown}: it is a copy of {other}, so what waits in it would be paid for twice; "
                "move one of them out of the folder",
                param="all",
                expected="each ledger once",
                found="a copy",
            )


def work_all(inv: Invocation, folder: Path, *, drains: bool) -> None:
    """Work the queues of all ledgers until a signal, or with `drains` until nothing is left in any."""
    check_options()
    ledgers = apart(folder)
    refuse_copies(ledgers.values())
    wanted = {
        name: _started(ledger, ("worker", *passed_on()), Placed(name)) for name, ledger in ledgers.items()
    }

    async def work() -> Mapping[str, Ended]:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, loop, stop)
        return await Processes(inv.log, once=drains).run(wanted, stop)

    say(
        f"working {len(ledgers)} ledgers "
        + ("until nothing is left" if drains else "until Ctrl-C or SIGTERM")
    )
    _report(inv, asyncio.run(work()))


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop at the first signal; the second ends this process, and with it the others."""
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    stop.set()


def _report(inv: Invocation, ended: Mapping[str, Ended]) -> None:
    """Print how each process ended; end with the first code that is not 0."""
    ledgers = [
        {"ledger": name, "exit_code": outcome.code, "worked": outcome.document}
        for name, outcome in sorted(ended.items())
    ]
    inv.emit({"ledgers": ledgers}, lambda console: _print(console, ledgers))
    if bad := [ledger for ledger in ledgers if ledger["exit_code"]]:
        code = bad[0]["exit_code"]
        raise click.exceptions.Exit(code if code > 0 else ExitCode.FAILED)


def _print(console: "Console", ledgers: list[Json]) -> None:
    for ledger in ledgers:
        done = ledger["worked"] or {}
        words = ", ".join(f"{number} {what}" for what, number in done.items())
        console.print(f"{ledger['ledger']}: {words or 'ended with ' + str(ledger['exit_code'])}")


class Site(NamedTuple):
    """Where all ledgers are served: the origin, and the host and port that the processes are told."""

    origin: str
    host: str
    port: int


Serve = Callable[[Mapping[str, Path], Callable[[], None], asyncio.Event], Awaitable[None]]
"""Serves the ledgers of these names from these sockets: says when it is ready, ends when the event is set."""


def serve_all(inv: Invocation, folder: Path, site: Site, serve: Serve, *, console: bool) -> None:
    """Serve all ledgers at `site`, each in a process behind `serve`, until a signal."""
    check_options()
    ledgers = apart(folder)
    refuse_copies(ledgers.values())
    documents = [_addresses(site.origin, name, console=console) for name in ledgers]
    document = {"serving": site.origin, "ledgers": documents}

    def started() -> None:
        inv.emit(document, lambda out: _print_addresses(out, document))
        say("serving until Ctrl-C or SIGTERM")

    async def serving(place: Path) -> None:
        stop = asyncio.Event()
        sockets = {name: place / f"{number}" for number, name in enumerate(ledgers)}
        wanted = {
            name: _started(
                ledger, ("serve", *passed_on()), Placed(name, str(sockets[name]), site.host, site.port)
            )
            for name, ledger in ledgers.items()
        }
        running = asyncio.create_task(Processes(inv.log).run(wanted, stop))
        try:
            await serve(sockets, started, stop)
        finally:
            stop.set()
            await running

    with tempfile.TemporaryDirectory(prefix="sora-ledger-") as place:  # only this user may enter it
        asyncio.run(serving(Path(place)))


def _addresses(origin: str, name: str, *, console: bool) -> Json:
    at = f"{origin}/t/{name}"
    return {"ledger": name, "gateway": f"{at}/v1", "console": f"{at}/console" if console else None}


def _print_addresses(out: "Console", document: Mapping[str, Any]) -> None:
    out.print(document["serving"])
    for one in document["ledgers"]:
        out.print(f"\n{one['ledger']}\n  OPENAI_BASE_URL={one['gateway']}")
        if one["console"]:
            out.print(f"  the console: {one['console']}")


def _started(ledger: OneLedger, command: tuple[str, ...], placed: Placed) -> Started:
    environment = environment_of({**ledger.environment, PLACED: placed.variable})
    return Started(command, ledger.folder, environment)


def check_options() -> None:
    """Raise a usage error if an option that is about one ledger was used with --all."""
    context = click.get_current_context()
    for name, flag in _OF_ONE.items():
        if context.params.get(name):
            raise Usage(
                f"{flag} is about one ledger; leave it or --all out, or set it in DIR/NAME/settings.env",
                param="all",
                expected="one ledger, or another command",
                found="--all",
            )


def passed_on() -> list[str]:
    """Return the options that were typed, as arguments, without those that are about the whole folder."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if (
            name in _NOT_PASSED_ON
            or not isinstance(parameter, click.Option)
            or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE
        ):
            continue
        value, flag = context.params[name], parameter.opts[0]
        if parameter.is_flag:
            words += [flag] if value else []
        else:
            for each in value if parameter.multiple else [value]:
                words += [flag, str(each)]
    return words
