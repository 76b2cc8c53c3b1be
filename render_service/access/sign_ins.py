"""Record sign-ins and sign-outs of the console: sessions that end immediately in every process.

A session is one person in one browser. Its id can begin only once in the ledger: a ticket whose id became a
session cannot begin another, in any process. An ended session is remembered until it would have expired
anyway.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from ledger.errors import EventIdConflict
from ledger.events import SessionBegan, SessionEnded
from ledger.log.ledger import Ledger
from ledger.record import timestamp
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY
from render_service.runtime.errors import NotAuthenticated
from render_service.session.event_ids import sign_in_id
from render_service.session.session import Session

STREAM = "sessions"
FRESH_S = 0.5


async def record_beginning(
    session: Session, session_id: str, expires: datetime, key_id: str | None = None
) -> None:
    """Record that the actor of `session` signed in; `NotAuthenticated` if this id was used before."""
    event = SessionBegan(session_id=session_id, key_id=key_id, expires_at=timestamp(expires))
    event_id = sign_in_id(session_id)
    try:
        records = await session.append(STREAM, ANY, [session.draft(event, event_id=event_id)])
    except EventIdConflict:
        records = []
    if not records or records[0].envelope.trace_id != session.trace.trace_id:
        raise NotAuthenticated(
            "this link was used already: `sora-ledger console` makes another",
            param="link",
            expected="a new link",
            found="one that was used",
        )


async def record_end(session: Session, session_id: str) -> None:
    """Record that the actor of `session` signed out."""
    await session.append(STREAM, ANY, [session.draft(SessionEnded(session_id=session_id))])


class EndedSessions:
    """The sessions whose people signed out, at most `FRESH_S` behind the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        longest: timedelta,
        clock: Callable[[], datetime],
        elapsing: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._elapsing = elapsing
        self._since = timestamp(clock() - longest)
        self._ended: set[str] = set()
        self._position = 0
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def has(self, session_id: str) -> bool:
        """Return whether a session has ended."""
        async with self._reading:
            if self._elapsing() - self._read_at > FRESH_S:
                began = self._elapsing()
                await asyncio.to_thread(self._renew)
                self._read_at = began
        return session_id in self._ended

    def add(self, session_id: str) -> None:
        """Note an end that was recorded here."""
        self._ended.add(session_id)

    def _renew(self) -> None:
        """Read the ends since the last time; at first, all that could otherwise still be valid."""
        wanted = RecordFilter(stream=STREAM, since=self._since)
        for record in self._ledger.read(wanted, after=self._position):
            if isinstance(record.event, SessionEnded):
                self._ended.add(record.event.session_id)
            self._position = record.position
