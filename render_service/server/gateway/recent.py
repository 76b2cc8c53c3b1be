"""Find recent jobs that may have a request's text, without storing a digest of the text in the ledger.

The index is in memory, from the records of requests in the order of the log: each is read once. It holds
Python's hash of a text, salted per process, not the text.
"""

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from ledger.events import RenderRequested
from ledger.log.ledger import Ledger
from ledger.record import Record, timestamp
from ledger.store.filters import RecordFilter
from render_service.session.clock_steps import ClockSteps

Owner = tuple[str | None, str]
"""The owner of requests: the id of an access key, or None and the name of a person without one."""


class RecentRequests:
    """The requests recorded within `window`, by owner and text; for the threads of one process."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], window: timedelta) -> None:
        self._ledger, self._steps, self._window = ledger, ClockSteps(clock), window
        self._jobs: dict[tuple[Owner, int], list[str]] = {}
        self._order: deque[tuple[str, tuple[Owner, int]]] = deque()
        self._position = 0
        self._reading = threading.Lock()

    def find(self, owner: Owner, text: str) -> list[str]:
        """Return the jobs of `owner` that may have this text, the newest first; reads the log."""
        with self._reading:
            self._renew()
            return list(reversed(self._jobs.get((owner, hash(text)), ())))

    def since(self, window: timedelta) -> datetime:
        """Return the time `window` ago, even if the clock was set in between."""
        return self._steps.go_back(window)

    def _renew(self) -> None:
        oldest = timestamp(self.since(self._window))
        where = RecordFilter(type=RenderRequested.type, since=oldest)
        for record in self._ledger.read(where, after=self._position):
            self._position = record.position
            self._add(record)
        while self._order and self._order[0][0] < oldest:
            _, key = self._order.popleft()
            del self._jobs[key][0]
            if not self._jobs[key]:
                del self._jobs[key]

    def _add(self, record: Record) -> None:
        event = record.event
        if not isinstance(event, RenderRequested) or event.request_key is not None or not event.prompt.text:
            return
        owner = (event.access_key_id, "" if event.access_key_id else record.actor)
        key = owner, hash(event.prompt.text)
        self._jobs.setdefault(key, []).append(record.stream)
        self._order.append((record.recorded_at, key))
