"""Open sessions for commands and programs; answers in the spool are recorded first.

`open_session` opens one; `in_session` runs one use case in a session, for synchronous callers.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ledger.log.opening import open_or_create
from ledger.record import Authority
from render_service.assets.store import AssetStore
from render_service.rules.measurements import Measuring
from render_service.rules.policies import InForce
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session, appends_to, clock_of, utc_now
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
    """Open the ledger for writing, creating it if it does not exist; no server is called.

    Answers that an earlier process could only save to the spool are recorded first.
    """
    AssetStore.of(settings)  # raises on invalid settings before a ledger is created
    ledger = open_or_create(settings.ledger_url, settings.provenance(trace), utc_now())
    session = Session(
        settings=settings,
        trace=trace,
        log=log,
        ledger=ledger,
        assets=AssetStore.of(settings, ledger),
        in_force=InForce(ledger),
        appends=appends_to(ledger),
        measuring=Measuring(ledger),
        clock=clock_of(ledger),
        even_if_retired=even_if_retired,
        authority=authority,
    )
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
    """Run `use` in a session that is always closed afterwards, and return its result.

    Ctrl-C cancels `use`, which finishes a submission in progress, and raises KeyboardInterrupt.
    """

    async def use_it() -> T:
        session = await asyncio.to_thread(
            open_session, settings, trace, log, even_if_retired=even_if_retired, authority=authority
        )
        try:
            return await use(session)
        finally:
            await session.close()

    return asyncio.run(use_it())


def finished(use: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result; Ctrl-C cancels it and raises KeyboardInterrupt."""
    return asyncio.run(use)
