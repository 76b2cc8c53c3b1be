"""`serve --all DIR` and `worker --all DIR`: one process for each ledger of a folder.

They are started, restarted when they end, and stopped together. A separate process isolates each ledger from
the others: memory, threads, caches, secrets, and waits for a silent database. The operating system shares
processor time among them.

A process that ends unasked is restarted after a pause, which doubles up to `LONGEST_PAUSE_S`; with `once`, as
for `worker --drain`, it is not restarted. A process stops, as at SIGTERM, when its parent is gone.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.text.usage import Usage
from ledger.errors import SoraLedgerError
from render_service.runtime.documents import Json
from render_service.runtime.errors import BadInput
from render_service.runtime.ledger_process import PLACED, LedgerProcess
from render_service.runtime.ledgers import OneLedger, list_separate
from render_service.runtime.telemetry import Log

if TYPE_CHECKING:
    from rich.console import Console


FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class LedgerCommand(NamedTuple):
    """The process of one ledger: a command of this program, in its folder and environment."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


class CommandResult(NamedTuple):
    """The end of a ledger's last process; `document` is its JSON output, if any."""

    code: int
    document: Any = None


@dataclass
class Processes:
    """The processes of a folder of ledgers, by the name of the ledger."""

    log: Log
    once: bool = False
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _ended: dict[str, CommandResult] = field(default_factory=dict)

    async def run(
        self, wanted: Mapping[str, LedgerCommand], stop: asyncio.Event
    ) -> Mapping[str, CommandResult]:
        """Keep a process running for each of `wanted` until `stop`, or until each has ended if `once`.

        When `stop` is set, all are stopped together, and this returns when the last has ended.
        """
        keeping = [asyncio.create_task(self._keep(name, command, stop)) for name, command in wanted.items()]
        stopping = asyncio.create_task(self._stop_all(stop))
        try:
            await asyncio.gather(*keeping)
        finally:
            stopping.cancel()
        return self._ended

    def signal(self, number: Signals) -> None:
        """Send a signal to every process."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _stop_all(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.signal(SIGTERM)

    async def _keep(self, name: str, started: LedgerCommand, stop: asyncio.Event) -> None:
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            self._ended[name] = ended = await self._run(name, started, stop)
            if stop.is_set() or self.once:
                return
            if loop.time() - began > 2 * LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            self.log.warning("ledger.process_ended", ledger=name, exit_code=ended.code, pause_s=pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run(self, name: str, started: LedgerCommand, stop: asyncio.Event) -> CommandResult:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing in the folder of a ledger is imported
            "-m",
            "cli",
            *started.command,
            cwd=started.folder,
            env=started.environment,
            stdin=asyncio.subprocess.PIPE,  # closed by the system when this process ends
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which stops the others
        )
        self._running[name] = process
        self.log.info("ledger.process_started", ledger=name, pid=process.pid)
        if stop.is_set():  # it was set while the process was being started
            self.signal(SIGTERM)
        assert process.stdout is not None  # started with a pipe
        try:
            printed = await process.stdout.read()
            code = await process.wait()
        finally:
            self._running.pop(name, None)
        return CommandResult(code, _document(printed))


def _document(printed: bytes) -> Any:
    try:
        return json.loads(printed)
    except ValueError:
        return None


def environment_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process, which finds this program where this process found it."""
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path if folder)
    return {**environment, "PYTHONPATH": path}


option = click.option(
    "--all",
    "all_in",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Every ledger in this folder, each in its own process: DIR/NAME/ledger.db or DIR/NAME/settings.env.",
)

_NOT_PASSED_ON = {"all_in", "json_out", "ledger"}
_OF_ONE = {"ledger": "--ledger", "key": "--key", "publish": "--publish"}


def refuse_copies(ledgers: Iterable[OneLedger]) -> None:
    """Raise `BadInput` if two folders have the same ledger: each would submit its waiting jobs, and pay."""
    from ledger.log.opening import open_now

    known: dict[str, str] = {}
    for place in ledgers:
        try:
            with open_now(place.url) as ledger:
                ledger_id = ledger.ledger_id
        except SoraLedgerError:  # it does not exist yet, or its own process reports the problem
            continue
        if (other := known.setdefault(ledger_id, place.shown)) != place.shown:
            raise BadInput(
                f"{place.shown}: it is a copy of {other}, so what waits in it would be paid for twice; "
                "move one of them out of the folder",
                param="all",
                expected="each ledger once",
                found="a copy",
            )


def work_all(inv: Invocation, folder: Path, *, drains: bool) -> None:
    """Work the queues of all ledgers until a signal, or with `drains` until all are empty."""
    check_options()
    ledgers = list_separate(folder)
    refuse_copies(ledgers.values())
    wanted = {
        name: _start(ledger, ("worker", *collect_passed_on()), LedgerProcess(name))
        for name, ledger in ledgers.items()
    }

    async def work() -> Mapping[str, CommandResult]:
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


def _report(inv: Invocation, ended: Mapping[str, CommandResult]) -> None:
    """Print the end of each process; exit with the first code that is not 0."""
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
    """The address of all ledgers: the origin, and the host and port passed to the processes."""

    origin: str
    host: str
    port: int


Serve = Callable[[Mapping[str, Path], Callable[[], None], asyncio.Event], Awaitable[None]]
"""Serves the ledgers of these names from these sockets: reports when it is ready, ends with the event."""


def serve_all(inv: Invocation, folder: Path, site: Site, serve: Serve, *, console: bool) -> None:
    """Serve all ledgers at `site`, each in a process behind `serve`, until a signal."""
    check_options()
    ledgers = list_separate(folder)
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
            name: _start(
                ledger,
                ("serve", *collect_passed_on()),
                LedgerProcess(name, str(sockets[name]), site.host, site.port),
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
    for entry in document["ledgers"]:
        out.print(f"\n{entry['ledger']}\n  OPENAI_BASE_URL={entry['gateway']}")
        if entry["console"]:
            out.print(f"  the console: {entry['console']}")


def _start(ledger: OneLedger, command: tuple[str, ...], process: LedgerProcess) -> LedgerCommand:
    environment = environment_of({**ledger.environment, PLACED: process.variable})
    return LedgerCommand(command, ledger.folder, environment)


def check_options() -> None:
    """Raise a usage error if an option for a single ledger was used with --all."""
    context = click.get_current_context()
    for name, flag in _OF_ONE.items():
        if context.params.get(name):
            raise Usage(
                f"{flag} is about one ledger; leave it or --all out, or set it in DIR/NAME/settings.env",
                param="all",
                expected="one ledger, or another command",
                found="--all",
            )


def collect_passed_on() -> list[str]:
    """Return the typed options as arguments, without those about the whole folder."""
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
            for item in value if parameter.multiple else [value]:
                words += [flag, str(item)]
    return words
