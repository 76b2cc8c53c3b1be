"""The synchronous face: open a session, run one use case on it to its end, close it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ledger.record import Authority
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session

T = TypeVar("T")


def in_session(
    settings: Settings,
    trace: Trace,
    log: Log,
    use: Callable[[Session], Coroutine[Any, Any, T]],
    *,
    even_if_retired: bool = False,
    authority: Authority = Authority.HUMAN,
) -> T:
    """Return what `use` returns, given a session that is closed afterwards whatever happens.

    Ctrl-C cancels `use`, which finishes a submission that is under way, and raises KeyboardInterrupt.
    """

    async def at_it() -> T:
        session = await asyncio.to_thread(
            Session.open, settings, trace, log, even_if_retired=even_if_retired, authority=authority
        )
        try:
            return await use(session)
        finally:
            await session.close()

    return finished(at_it())


def finished(use: Coroutine[Any, Any, T]) -> T:
    """Return what `use` returns; Ctrl-C cancels it and raises KeyboardInterrupt."""
    return asyncio.run(use)
