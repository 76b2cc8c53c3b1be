"""Sessions as commands and programs begin them: what waits in the spool is recorded first.

`open_session` opens one; `in_session` runs one use case in it, for callers that do not await.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ledger.log.opening import open_or_create
from ledger.record import Authority
from render_service.assets.store import AssetStore
from render_service.rules.policies import InForce
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session, clock_of, utc_now
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
    """Open the ledger for writing, beginning it if there is none; no server is called.

    Answers that an earlier process could only leave in files are recorded first.
    """
    AssetStore.of(settings)  # wrong: begin no ledger
    ledger = open_or_create(settings.ledger_url, settings.provenance(trace), utc_now())
    session = Session(
        settings=settings,
        trace=trace,
        log=log,
        ledger=ledger,
        assets=AssetStore.of(settings, ledger),
        in_force=InForce(ledger),
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

    return asyncio.run(use_it())


def finished(use: Coroutine[Any, Any, T]) -> T:
    """Return what `use` returns; Ctrl-C cancels it and raises KeyboardInterrupt."""
    return asyncio.run(use)
