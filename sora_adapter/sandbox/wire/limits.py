"""How many jobs are taken in: so many a minute, and so many under way, of each model.

The minute is remembered by this process alone, and forgotten with it; what is under way is in the store.
Requests that were refused for what they asked are not counted.
"""

import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sora_adapter.sandbox.wire.errors import ApiError

_MINUTE_S = 60.0


class Limits:
    """The door new jobs go through; `running` counts the jobs of a model that are not over."""

    def __init__(
        self, requests_per_minute: int | None, running_jobs: int | None, running: Callable[[str, float], int]
    ) -> None:
        self._requests_per_minute, self._running_jobs, self._running = (
            requests_per_minute,
            running_jobs,
            running,
        )
        self._asked: dict[str, deque[float]] = defaultdict(deque)
        self._door = threading.Lock()

    @contextmanager
    def admitted(self, model: str, now: float) -> Iterator[None]:
        """Let one job in, which has to be in the store when the block ends; raises ApiError."""
        with self._door:
            if self._requests_per_minute is not None:
                self._check_minute(model, now, self._requests_per_minute)
            if self._running_jobs is not None and self._running(model, now) >= self._running_jobs:
                raise ApiError.too_many_running()
            yield

    def _check_minute(self, model: str, now: float, most: int) -> None:
        asked = self._asked[model]
        while asked and asked[0] <= now - _MINUTE_S:
            asked.popleft()
        if len(asked) >= most:
            wait_s = asked[0] + _MINUTE_S - now if asked else _MINUTE_S
            raise ApiError.too_many_requests(model, most, math.ceil(wait_s))
        asked.append(now)
