"""Notice that the clock of this machine was set, by comparing it with the time that passed.

Leases, due times and windows are moments of a clock. If it is set back by an hour, everything that was due in
a minute is due in an hour and a minute; if it is set forward, what is ten minutes old looks much older. Code
that waits for such a moment asks here whether the clock was set in the meantime (docs/decisions/0199-*).
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from ledger.log.ledger import Ledger

SMALLEST_STEP = timedelta(seconds=2)
"""Smaller steps are treated as the usual corrections of a clock."""

WINDOW_S = 3600.0
"""How long a step forward is remembered."""


class ClockSteps:
    """The steps of `clock` since it was first read; `elapsing` is a clock that cannot be set."""

    def __init__(self, clock: Callable[[], datetime], elapsing: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._elapsing = clock, elapsing
        self._last = clock(), elapsing()
        self._forward: deque[tuple[float, timedelta]] = deque()
        self._has_gone_back = False
        self._noticing = threading.Lock()

    def was_set_back(self) -> bool:
        """Return whether the clock was set back since the last call."""
        with self._noticing:
            self._notice()
            has_gone_back, self._has_gone_back = self._has_gone_back, False
            return has_gone_back

    def go_back(self, window: timedelta) -> datetime:
        """Return the time `window` ago, earlier if the clock was set forward since then."""
        with self._noticing:
            now, elapsed = self._notice()
            oldest = elapsed - window.total_seconds()
            return now - window - sum((step for at, step in self._forward if at > oldest), timedelta())

    def _notice(self) -> tuple[datetime, float]:
        now, elapsed = self._clock(), self._elapsing()
        step = (now - self._last[0]) - timedelta(seconds=elapsed - self._last[1])
        self._last = now, elapsed
        if step >= SMALLEST_STEP:
            self._forward.append((elapsed, step))
        self._has_gone_back |= step <= -SMALLEST_STEP
        while self._forward and self._forward[0][0] < elapsed - WINDOW_S:
            self._forward.popleft()
        return now, elapsed


def is_behind(ledger: Ledger, clock: Callable[[], datetime]) -> bool:
    """Return whether the newest record of `ledger` is in the future: the clock was set back since."""
    size = ledger.head().size
    newest = next(ledger.read(after=size - 1, limit=1), None) if size else None
    return newest is not None and datetime.fromisoformat(newest.recorded_at) > clock() + SMALLEST_STEP
