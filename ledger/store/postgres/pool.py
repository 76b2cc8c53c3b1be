"""The connections of one store: as many as threads use at once, kept open, replaced where they died."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ledger.store.postgres.connection import Connection, Place, connect, is_alive


class Pool:
    """Idle connections to `place`; whoever needs one takes it, or opens another."""

    def __init__(self, place: Place, *, read_only: bool) -> None:
        self._place = place
        self._read_only = read_only
        self._idle: deque[Connection] = deque()

    @contextmanager
    def taken(self) -> Iterator[Connection]:
        """Lend a live connection; what it left open is rolled back."""
        db = self._take()
        try:
            yield db
        finally:
            self.put(db)

    def put(self, db: Connection) -> None:
        """Take `db` in, without the transaction that may still be open; a broken one is let go."""
        try:
            db.rollback()
        except psycopg.Error:
            db.close()
        else:
            self._idle.append(db)

    def _take(self) -> Connection:
        while self._idle:
            try:
                db = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if is_alive(db):
                return db
            db.close()
        return connect(self._place, read_only=self._read_only)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()
