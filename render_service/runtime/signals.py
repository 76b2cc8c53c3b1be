"""The signals that ask a process to stop: a service manager sends SIGTERM, Ctrl-C sends SIGINT."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set; a second signal ends the process immediately."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    names = (signal.SIGTERM, signal.SIGINT)

    def request_stop() -> None:
        stop.set()
        for name in names:
            loop.remove_signal_handler(name)

    for name in names:
        loop.add_signal_handler(name, request_stop)
    try:
        yield stop
    finally:
        for name in names:
            loop.remove_signal_handler(name)
