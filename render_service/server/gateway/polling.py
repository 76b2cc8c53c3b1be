"""How often a client may poll.

Polling costs the server of the videos nothing, because answers come from the ledger; it costs this process
time that other clients need. One key may poll one video twice a second; after a burst it is asked to wait.
"""

import time
from collections.abc import Callable

from render_service.runtime.errors import TooManyRequests

INTERVAL_S = 0.5
BURST = 5
"""Polls that may come at once, as from several parts of one program."""

MOST_WATCHED = 20_000
"""Pairs of a key and a video that are remembered; the oldest are forgotten first."""


class PollingLimit:
    """Counts the polls of each key for each video (the generic cell rate algorithm)."""

    def __init__(self, elapsing: Callable[[], float] = time.monotonic) -> None:
        self._elapsing = elapsing
        self._free_at: dict[tuple[str, str], float] = {}

    def admit(self, key: str, name: str) -> None:
        """Count a poll of the video `name`; `TooManyRequests` if it comes too soon."""
        now = self._elapsing()
        free_at = max(self._free_at.pop((key, name), now), now)
        wait_s = free_at - now - (BURST - 1) * INTERVAL_S
        if wait_s > 0:
            self._free_at[key, name] = free_at
            raise TooManyRequests(
                f"{name[:64]} is polled more than {1 / INTERVAL_S:.0f} times a second: wait for the "
                "milliseconds in the header openai-poll-after-ms, or register a webhook",
                retry_after_s=wait_s,
            )
        self._free_at[key, name] = free_at + INTERVAL_S
        if len(self._free_at) > MOST_WATCHED:
            del self._free_at[next(iter(self._free_at))]
