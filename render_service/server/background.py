"""Background work in the server's event loop, from its start to its end.

Each piece of work gets an event that says when to stop, and the time it needs to release what it holds. Work
that fails, for example because the ledger is unreachable for a while, restarts after a pause; the server
continues to answer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from render_service.runtime.telemetry import Log
from sora_adapter.errors import loggable

Work = Callable[[asyncio.Event], Awaitable[object]]
"""Work until the event is set; it has stopped when it returns."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


@asynccontextmanager
async def working(works: Sequence[Work], stop: asyncio.Event, log: Log) -> AsyncIterator[None]:
    """Run `works` during the block; at its end, set `stop` and wait for them."""
    tasks = [asyncio.create_task(_work(work, stop, log)) for work in works]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _work(work: Work, stop: asyncio.Event, log: Log) -> None:
    pause_s = FIRST_PAUSE_S
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        began = loop.time()
        try:
            await work(stop)
        except Exception as error:  # noqa: BLE001  # whatever it was, the rest of the server is needed
            log.warning("background.failed", pause_s=pause_s, **loggable(error))
        else:
            return
        if loop.time() - began > LONGEST_PAUSE_S:
            pause_s = FIRST_PAUSE_S
        try:
            await asyncio.wait_for(stop.wait(), pause_s)
        except TimeoutError:
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
