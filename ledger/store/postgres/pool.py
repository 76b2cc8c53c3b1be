"""The connections of one store: as many as threads use at once, kept open, replaced where they died."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from ledger.store.postgres.connection import (
    LONG_ANSWER_S,
    Connection,
    Place,
    ServerSilent,
    is_alive,
)
from ledger.store.postgres.errors import is_broken
from ledger.store.postgres.outage import outage_of

Found = TypeVar("Found")

MOST_CONNECTIONS = 8
"""What more threads want waits for one; reading that goes through a whole ledger has one of its own."""


class Pool:
    """Connections to `place`; whoever needs one takes it, or opens another."""

    def __init__(self, place: Place, *, read_only: bool) -> None:
        self.outage = outage_of(place)
        self._generation = 0
        self._read_only = read_only
        self._idle: deque[Connection] = deque()
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def run(self, use: Callable[[Connection], Found]) -> Found:
        """Return what `use` finds, over another connection where one broke under it.

        So `use` may be done twice, of which the first may have had its effect: only what can be repeated
        belongs here. A server that is silent twice is given up.
        """
        silences, began = 0, 0.0
        while True:
            with self.taken() as db:
                try:
                    return use(db)
                except psycopg.OperationalError as error:
                    if not (is_broken(error) or db.closed):
                        raise
                    db.close()
                    self._distrust(db)
                    silences += isinstance(error, ServerSilent)
                    began = began or time.monotonic()
                    if silences > 1 or time.monotonic() - began >= self.outage.patience_s:
                        raise

    def _distrust(self, db: Connection) -> None:
        """Let go of whatever was opened before `db` broke: it leads to the same server.

        Otherwise each of them would have to be waited for, where the server is silent.
        """
        if db.generation == self._generation:
            self._generation += 1

    @contextmanager
    def taken(self) -> Iterator[Connection]:
        """Lend a live connection; what it left open is rolled back."""
        with self._room:
            db = self._take()
            try:
                yield db
            finally:
                self.put(db)

    @contextmanager
    def for_long(self) -> Iterator[Connection]:
        """Open a connection for one long piece of work, and close it."""
        db = self.outage.connect(read_only=self._read_only)
        db.answer_s = LONG_ANSWER_S
        try:
            yield db
        finally:
            db.close()

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
            if db.generation == self._generation and is_alive(db):
                return db
            db.close()
        generation = self._generation
        db = self.outage.connect(read_only=self._read_only)
        db.generation = generation
        return db

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()
