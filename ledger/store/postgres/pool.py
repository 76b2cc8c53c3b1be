"""The connections of one store: opened as threads need them, reused, replaced when they break."""

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
"""More threads wait for a connection; a read of the whole ledger has one of its own."""


class Pool:
    """Connections to `place`; a thread takes an idle one or opens another."""

    def __init__(self, place: Place, *, read_only: bool) -> None:
        self.outage = outage_of(place)
        self._generation = 0
        self._read_only = read_only
        self._idle: deque[Connection] = deque()
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def run(self, use: Callable[[Connection], Found]) -> Found:
        """Return the result of `use`, on another connection if the first one breaks.

        So `use` may run twice, and the first run may have had its effect: only pass functions that are safe
        to repeat. A server that is silent twice is given up.
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
        """Drop every connection that was opened before `db` broke: they lead to the same server.

        Otherwise each of them would cost a time-out if the server is silent.
        """
        if db.generation == self._generation:
            self._generation += 1

    @contextmanager
    def taken(self) -> Iterator[Connection]:
        """Lend a live connection; a transaction left open on it is rolled back."""
        with self._room:
            db = self._take()
            try:
                yield db
            finally:
                self.put(db)

    @contextmanager
    def for_long(self) -> Iterator[Connection]:
        """Open a connection for one long task, and close it."""
        db = self.outage.connect(read_only=self._read_only)
        db.answer_s = LONG_ANSWER_S
        try:
            yield db
        finally:
            db.close()

    def put(self, db: Connection) -> None:
        """Take `db` back after a rollback; close it if it is broken."""
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
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()
