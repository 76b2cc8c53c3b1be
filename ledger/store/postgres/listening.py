"""Hearing of appends as they are committed (LISTEN), on a connection of its own.

A notification says only that there is more; what there is, is read by position. One that is lost with its
connection costs a wait, so whoever follows looks again after each wait, heard or not.
"""

import threading
from contextlib import closing

import psycopg

from ledger.store.postgres.connection import Connection, Place, connect, connect_patiently
from ledger.store.postgres.write import CHANNEL


class Listener:
    """Waits for appends to the ledger at `place`, one thread at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._db: Connection | None = None
        self._schema = ""
        self._waiting = threading.Lock()

    def wait(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`.

        A connection that broke is replaced, also by one to a server that takes a while to come back.
        """
        with self._waiting:
            if self._db is None:
                self._listen(connect(self._place, read_only=True))
                return True  # what came before was not heard
            try:
                with closing(self._db.notifies(timeout=timeout_s)) as heard:
                    return any(each.payload == self._schema for each in heard)
            except psycopg.OperationalError:
                self._db.close()
                self._listen(connect_patiently(self._place))
                return True

    def _listen(self, db: Connection) -> None:
        self._db = db
        db.execute(f"LISTEN {CHANNEL}")
        row = db.execute("SELECT current_schema()").fetchone()
        self._schema = row[0] if row else ""

    def close(self) -> None:
        """Stop listening."""
        if self._db is not None:
            self._db.close()
