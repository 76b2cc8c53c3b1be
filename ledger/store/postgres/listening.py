"""Hearing of appends as they are committed (LISTEN), on a connection of its own.

A notification says only that there is more; what there is, is read by position. One that is lost with its
connection costs a wait, so whoever follows looks again after each wait, heard or not.
"""

import threading

import psycopg

from ledger.store.postgres.connection import Connection, Place, connect
from ledger.store.postgres.write import CHANNEL


class Listener:
    """Waits for appends to the ledger at `place`, one thread at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._db: Connection | None = None
        self._waiting = threading.Lock()

    def wait(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`."""
        with self._waiting:
            if self._db is None or self._db.closed:
                self._db = connect(self._place, read_only=True)
                self._db.execute(f"LISTEN {CHANNEL}")
                return True  # what came before was not heard
            try:
                return any(True for _ in self._db.notifies(timeout=timeout_s, stop_after=1))
            except psycopg.OperationalError:
                self._db.close()
                raise

    def close(self) -> None:
        """Stop listening."""
        if self._db is not None:
            self._db.close()
