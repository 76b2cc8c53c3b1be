"""Hearing of appends as they are committed (LISTEN), on a connection of its own.

A notification says only that there is more; what there is, is read by position. One that is lost with its
connection costs a wait, so whoever follows looks again after each wait, heard or not. Behind a pooler nothing
is heard, so there the wait is short and the answer always "look again".
"""

import threading
import time
from contextlib import closing

import psycopg

from ledger.store.postgres.connection import Connection
from ledger.store.postgres.outage import Outage
from ledger.store.postgres.write import CHANNEL

POLL_S = 1.0


class Listener:
    """Waits for appends to a ledger, one thread at a time; `outage` knows the way to its server."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self._db: Connection | None = None
        self._is_deaf = False
        self._schema = ""
        self._waiting = threading.Lock()

    def wait(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`.

        A connection that broke is replaced, also by one to a server that takes a while to come back.
        """
        with self._waiting:
            if self._is_deaf:
                time.sleep(min(timeout_s, POLL_S))
                return True
            if self._db is None:
                self._listen()
                return True  # what came before was not heard
            try:
                with closing(self._db.notifies(timeout=timeout_s)) as heard:
                    return any(each.payload == self._schema for each in heard)
            except psycopg.OperationalError:
                self._db.close()
                self._listen()
                return True

    def _listen(self) -> None:
        db = self._outage.connect(read_only=True)
        if db.pooled:
            db.close()
            self._db, self._is_deaf = None, True
            return
        self._db = db
        db.execute(f"LISTEN {CHANNEL}")
        row = db.execute("SELECT current_schema()").fetchone()
        self._schema = row[0] if row else ""

    def close(self) -> None:
        """Stop listening."""
        if self._db is not None:
            self._db.close()
