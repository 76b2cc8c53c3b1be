"""Open, reuse and replace connections, and wait out an outage of up to two minutes.

A failed connection is retried until `FAILOVER_S` after the outage was first noticed, at intervals that grow
to half a second, by one thread of the process at a time. All stores of a process share that moment, so a
process waits once, and requests after that time fail at their first attempt. The stores also share which host
answered last and try it first. They share which hosts were silent, too: an attempt at those costs a time-out,
so they are skipped for some seconds while there are others. An error that waiting cannot fix (a wrong
password, a missing database) is never retried.

Each store has a `Pool`, in which connections are opened as threads need them and replaced when they break.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TypeVar

import psycopg

from ledger.errors import LedgerUnusable
from ledger.store.postgres.connection import (
    LONG_ANSWER_S,
    PROBE_S,
    Connection,
    Place,
    ServerSilent,
    accepts,
    connect,
    hosts_of,
    is_alive,
    position_of,
)
from ledger.store.postgres.errors import hosts as names_of
from ledger.store.postgres.errors import is_broken, may_pass, meaning, was_timed_out

FAILOVER_S = 120.0
VARIABLE = "SORA_LEDGER_FAILOVER_SECONDS"
LONGEST_S = 3_600.0

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 0.5
_LEFT_OUT_S = 10.0
"""How long a silent host is skipped; each process retries it after that."""
_PROBED_S = 2.0
"""How long the threads of a process rely on one probe."""
_LOG = logging.getLogger("sora_ledger")
"""Warnings go to stderr unless the program that uses this library redirects them."""


def patience_s() -> float:
    """Return how long to wait for a server: `FAILOVER_S`, or the value from the environment."""
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return FAILOVER_S
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_S:
        raise LedgerUnusable(
            f"{VARIABLE}: expected 0 to {LONGEST_S:g} seconds, found {value!r}",
            expected=f"0 to {LONGEST_S:g} seconds",
            found=f"{value!r}",
        )
    return seconds


def outage_of(place: Place, patient_s: float | None = None) -> "Outage":
    """Return the shared state of this process about the server of `place`."""
    return _outage_of(place, patience_s() if patient_s is None else patient_s)


@cache
def _outage_of(place: Place, patience_s: float) -> "Outage":
    return Outage(place, patience_s)


class Outage:
    """The state of an outage of a server, shared by the threads of one process."""

    def __init__(self, place: Place, patience_s: float) -> None:
        self.patience_s = patience_s
        self._first = 0
        self._hosts = hosts_of(place)
        self._left_out: dict[int, float] = {}
        """When to retry each silent host."""
        self._place = place
        self._changing = threading.Lock()
        self._began: float | None = None
        self._turns = {read_only: threading.Lock() for read_only in (False, True)}
        self._probing = threading.Lock()
        self._probed: dict[int, tuple[float, bool]] = {}
        """When each host was last probed with another connection, and whether it was silent."""

    def connect(self, *, read_only: bool) -> Connection:
        """Open a connection as soon as a server accepts one."""
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._turns[read_only] if self._waits() else nullcontext():
                try:
                    db = self._connect_once(read_only=read_only)
                except psycopg.OperationalError as error:
                    if not may_pass(error) or self.noticed(error) >= self.patience_s:
                        raise
                    # Within the turn: the waiting threads would only try the same hosts.
                    time.sleep(pause_s)
                else:
                    self._over(db)
                    return db
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _waits(self) -> bool:
        """Return True during an outage that is still being waited out."""
        began = self._began
        return began is not None and time.monotonic() - began <= self.patience_s

    def _connect_once(self, *, read_only: bool) -> Connection:
        """Try the hosts once; note which of them were silent."""
        hosts = self._order()
        was_silent = len(self._hosts) > 1 and any(host in self._left_out for host in hosts)
        timeout_s = PROBE_S if was_silent else None
        try:
            return connect(
                self._place, read_only=read_only, hosts=hosts, timeout_s=timeout_s, is_silent=self.is_silent
            )
        except psycopg.OperationalError as error:
            for host in hosts:
                if was_timed_out(error, *self._hosts[host], of=len(hosts)):
                    self._leave_out(host)
            raise

    def _order(self) -> list[int]:
        """Return the hosts to try: the last that answered first; the silent ones last or not at all."""
        now, number = time.monotonic(), len(self._hosts)
        every = [(self._first + host) % number for host in range(number)]
        some = [host for host in every if self._left_out.get(host, 0.0) <= now]
        return sorted(some or every, key=self._left_out.__contains__)

    def _leave_out(self, host: int) -> None:
        self._left_out[host] = time.monotonic() + _LEFT_OUT_S

    def is_silent(self, db: Connection) -> bool:
        """Return True if the server of `db` accepts no other connection; one thread probes at a time."""
        host, doubted = position_of(self._place, db), time.monotonic()
        with self._probing:
            probed, silent = self._probed.get(host, (float("-inf"), False))
            if probed < doubted - _PROBED_S:
                silent = not accepts(db, self._place)
                self._probed[host] = time.monotonic(), silent
        if silent:
            self._leave_out(host)
        return silent

    def noticed(self, error: psycopg.Error) -> float:
        """Note that the server is unavailable; return for how many seconds it has been."""
        with self._changing:
            now = time.monotonic()
            if self._began is None:
                self._began = now
                if self.patience_s > 0:
                    self._warn(error)
            return now - self._began

    def _warn(self, error: psycopg.Error) -> None:
        _LOG.warning(
            "ledger %s: %s; waiting up to %g s for %s (a restart or a fail-over?); Ctrl-C stops it",
            self._place.label,
            meaning(error, advise=False),
            self.patience_s,
            names_of(self._place.url),
        )

    def _over(self, db: Connection) -> None:
        with self._changing:
            self._first = position_of(self._place, db)
            self._left_out.pop(self._first, None)
            began, self._began = self._began, None
        if began is not None and self.patience_s > 0:
            outage_s = time.monotonic() - began
            _LOG.warning("ledger %s: the server is available again after %.1f s", self._place.label, outage_s)


Found = TypeVar("Found")

MOST_CONNECTIONS = 8
"""More threads wait for a connection; a read of the whole ledger uses a separate one."""


class Pool:
    """Connections to `place`; a thread takes an idle one or opens another."""

    def __init__(self, place: Place, *, read_only: bool, patient_s: float | None = None) -> None:
        self.outage = outage_of(place, patient_s)
        self._generation = 0
        self._read_only = read_only
        self._idle: deque[Connection] = deque()
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def run(self, use: Callable[[Connection], Found]) -> Found:
        """Return the result of `use`, on another connection if the first one breaks.

        So `use` may run twice, and the first run may have taken effect: only pass functions that are safe to
        repeat. After a second silence the server is given up.
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
