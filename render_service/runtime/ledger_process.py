"""The process of one ledger: `serve --all` and `worker --all` start one for each ledger of a folder.

They pass the ledger in an environment variable, and hold the other end of its standard input.
"""

import json
import os
import signal
import threading
from functools import cache
from typing import NamedTuple

from render_service.runtime.errors import BadInput

PLACED = "SORA_LEDGER_PLACED"
"""Set by `serve --all` and `worker --all` for the process of one ledger, as JSON."""


class LedgerProcess(NamedTuple):
    """The ledger of this process by its name, and for `serve` where the front end reaches it."""

    name: str
    socket: str = ""
    """The Unix socket to listen at; empty for a worker."""
    host: str = ""
    port: int = 0

    @property
    def below(self) -> str:
        """The path below which the front end serves this ledger."""
        return f"/t/{self.name}" if self.socket else ""

    @property
    def variable(self) -> str:
        """The text of the variable `PLACED`."""
        return json.dumps(self._asdict())


@cache
def ledger_process() -> LedgerProcess | None:
    """Return the ledger of this process; None outside `serve --all` and `worker --all`."""
    text = os.environ.get(PLACED)
    try:
        return LedgerProcess(**json.loads(text)) if text else None
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{PLACED}: it is set by `serve --all` and `worker --all`; unset it",
            param=PLACED,
            expected="nothing",
            found="text that they did not write",
        ) from error


def read_path_prefix() -> str:
    """Return the path below which this process is served: empty unless `serve --all` started it."""
    process = ledger_process()
    return "" if process is None else process.below


def end_with_parent() -> None:
    """Stop this process, as SIGTERM does, once the process that started it is gone for any reason."""

    def wait() -> None:
        while os.read(0, 1):  # the other end is only ever closed
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if ledger_process() is not None:
        threading.Thread(target=wait, name="parent", daemon=True).start()
