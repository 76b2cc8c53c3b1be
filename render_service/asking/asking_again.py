"""A question that costs nothing may be asked again when the server is in passing trouble."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sora_adapter.errors import ServerTrouble
from sora_adapter.polling import pace_after_trouble

T = TypeVar("T")
TRIES = 4
FIRST_PAUSE_S = 0.5


async def patiently(
    ask: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> T:
    """Return the answer of `ask`, asked up to four times; the last `ServerTrouble` is raised.

    The pause doubles, with jitter; what the server demands (``Retry-After``) is never undercut.
    """
    for failures in range(1, TRIES):
        try:
            return await ask()
        except ServerTrouble as trouble:
            pace = pace_after_trouble(trouble, failures, FIRST_PAUSE_S, random.random())  # noqa: S311  # jitter
            await sleep(pace.pause_s)
    return await ask()
