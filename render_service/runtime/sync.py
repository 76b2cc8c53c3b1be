"""The synchronous face: open a desk, run one use case on it to its end, close it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ledger.record import Authority
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Desk

T = TypeVar("T")


def at_desk(
    settings: Settings,
    trace: Trace,
    log: Log,
    use: Callable[[Desk], Coroutine[Any, Any, T]],
    *,
    even_if_retired: bool = False,
    authority: Authority = Authority.HUMAN,
) -> T:
    """Return what `use` returns, given a desk that is closed afterwards whatever happens.

    Ctrl-C cancels `use`, which finishes a submission that is under way, and raises KeyboardInterrupt.
    """

    async def at_it() -> T:
        desk = await asyncio.to_thread(
            Desk.open, settings, trace, log, even_if_retired=even_if_retired, authority=authority
        )
        try:
            return await use(desk)
        finally:
            await desk.close()

    return finished(at_it())


def finished(use: Coroutine[Any, Any, T]) -> T:
    """Return what `use` returns; Ctrl-C cancels it and raises KeyboardInterrupt."""
    return asyncio.run(use)
