"""One process for each ledger of a folder: started, started again when it ends, and stopped together.

A process of its own keeps a ledger apart from the others: memory, threads, caches, secrets, and what waits
for a database that does not answer. The operating system shares processor time among them.

A process that ends although nobody stopped it is started again after a pause, which doubles up to
`LONGEST_PAUSE_S`. With `once`, as for `worker --drain`, it is not. A process stops, as at SIGTERM, when the
one that started it is gone.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any, NamedTuple

from render_service.runtime.telemetry import Log

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Started(NamedTuple):
    """What is started for one ledger: a command of this program, in its folder and environment."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


class Ended(NamedTuple):
    """How the last process of a ledger ended; `document` is what it printed as JSON, if it did."""

    code: int
    document: Any = None


@dataclass
class Processes:
    """The processes of a folder of ledgers, by the name of the ledger."""

    log: Log
    once: bool = False
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _ended: dict[str, Ended] = field(default_factory=dict)

    async def run(self, wanted: Mapping[str, Started], stop: asyncio.Event) -> Mapping[str, Ended]:
        """Keep a process running for each of `wanted` until `stop`, or until each has ended if `once`.

        When `stop` is set, they are told so at once, and this returns when the last of them has ended.
        """
        keeping = [asyncio.create_task(self._keep(name, one, stop)) for name, one in wanted.items()]
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

    async def _keep(self, name: str, started: Started, stop: asyncio.Event) -> None:
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

    async def _run(self, name: str, started: Started, stop: asyncio.Event) -> Ended:
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
            start_new_session=True,  # Ctrl-C is for this process, which stops them
        )
        self._running[name] = process
        self.log.info("ledger.process_started", ledger=name, pid=process.pid)
        if stop.is_set():  # it was set while the process was being started
            self.signal(SIGTERM)
        assert process.stdout is not None  # a pipe was asked for
        try:
            printed = await process.stdout.read()
            code = await process.wait()
        finally:
            self._running.pop(name, None)
        return Ended(code, _document(printed))


def _document(printed: bytes) -> Any:
    try:
        return json.loads(printed)
    except ValueError:
        return None


def environment_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process, which finds this program where this process found it."""
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path if folder)
    return {**environment, "PYTHONPATH": path}
