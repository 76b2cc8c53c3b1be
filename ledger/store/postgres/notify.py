"""Notifications of committed appends (LISTEN), on a separate connection.

A notification only says that there is more to read; followers read by position. A notification lost with its
connection costs one wait, because followers read after every wait. Behind a pooler and on a standby there are
no notifications, so the wait is short and the result is always True.
"""

import threading
import time
from contextlib import closing

import psycopg

from ledger.store.postgres.connection import Connection
from ledger.store.postgres.outage import Outage

CHANNEL = "sora_ledger_appended"
"""A channel belongs to the database, which may hold several ledgers, so the payload names the schema."""

POLL_S = 1.0


class Listener:
    """Waits for appends to a ledger, in one thread at a time; `outage` connects to its server."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self._db: Connection | None = None
        self._is_pooled = False
        self._schema = ""
        self._waiting = threading.Lock()

    def wait(self, timeout_s: float) -> bool:
        """Return True when something was appended, or may have been; False after `timeout_s`.

        A broken connection is replaced, even if the server takes a while to return.
        """
        with self._waiting:
            if self._is_pooled:
                time.sleep(min(timeout_s, POLL_S))
                return True
            if self._db is None:
                self._listen()
                return True  # earlier appends were not notified
            try:
                with closing(self._db.notifies(timeout=timeout_s)) as notifications:
                    return any(notification.payload == self._schema for notification in notifications)
            except psycopg.OperationalError:
                self._db.close()
                self._listen()
                return True

    def _listen(self) -> None:
        db = self._outage.connect(read_only=True)
        if db.pooled or db.info.parameter_status("in_hot_standby") == "on":  # where LISTEN is refused
            db.close()
            self._db, self._is_pooled = None, True
            return
        self._db = db
        db.execute(f"LISTEN {CHANNEL}")
        row = db.execute("SELECT current_schema()").fetchone()
        self._schema = row[0] if row else ""

    def close(self) -> None:
        """Stop listening."""
        if self._db is not None:
            self._db.close()
