"""Hearing of appends as they are committed (LISTEN), on a connection of its own.

A notification says only that there is more; what there is, is read by position. One that is lost with its
connection costs a wait, so whoever follows looks again after each wait, heard or not.
"""

import threading
from contextlib import closing

import psycopg

from ledger.store.postgres.connection import Connection, Place, connect
from ledger.store.postgres.write import CHANNEL


class Listener:
    """Waits for appends to the ledger at `place`, one thread at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._db: Connection | None = None
        self._schema = ""
        self._waiting = threading.Lock()

    def wait(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`."""
        with self._waiting:
            if self._db is None or self._db.closed:
                self._begin()
                return True  # what came before was not heard
            try:
                with closing(self._db.notifies(timeout=timeout_s)) as heard:
                    return any(each.payload == self._schema for each in heard)
            except psycopg.OperationalError:
                self._db.close()  # the next call connects again, or says why not
                return True

    def _begin(self) -> None:
        self._db = connect(self._place, read_only=True)
        self._db.execute(f"LISTEN {CHANNEL}")
        row = self._db.execute("SELECT current_schema()").fetchone()
        self._schema = row[0] if row else ""

    def close(self) -> None:
        """Stop listening."""
        if self._db is not None:
            self._db.close()
