"""Sessions as commands and programs begin them: what waits in the spool is recorded first.

`open_session` opens one; `in_session` runs one use case in it, for callers that do not await.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ledger.record import Authority
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session
from render_service.submission.drain import drain

T = TypeVar("T")


def open_session(
    settings: Settings,
    trace: Trace,
    log: Log,
    *,
    even_if_retired: bool = False,
    authority: Authority = Authority.HUMAN,
) -> Session:
    """Open a session, and record the answers that an earlier process could only leave in files."""
    session = Session.open(settings, trace, log, even_if_retired=even_if_retired, authority=authority)
    drain(session)
    return session


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

    async def use_it() -> T:
        session = await asyncio.to_thread(
            open_session, settings, trace, log, even_if_retired=even_if_retired, authority=authority
        )
        try:
            return await use(session)
        finally:
            await session.close()

    return finished(use_it())


def finished(use: Coroutine[Any, Any, T]) -> T:
    """Return what `use` returns; Ctrl-C cancels it and raises KeyboardInterrupt."""
    return asyncio.run(use)
