"""Reading a ledger from a replica of its PostgreSQL, without hiding anyone's own records from them.

A replica lags behind its primary. Before each use both are asked for their sizes, which costs one row each,
so how far the replica is behind is known, and can be shown.

1. The replica must be this ledger: the same first record, and the same record where it ends.
2. A person never reads a state from before their own records: if the replica lacks the person's newest
   record, wait for it for up to `WAIT_S`, then read from the primary.
3. A replica that does not answer is skipped for `AWAY_S`, and the primary is read.
4. If the primary does not answer, the replica is read, and its lag is unknown.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ledger.errors import LedgerUnusable, NotAReplica
from ledger.log.ledger import EVERYTHING, Ledger
from ledger.log.urls import label_of
from ledger.store.filters import RecordFilter

WAIT_S = 2.0
AWAY_S = 30.0
_POLL_S = 0.05


class ReadFrom(NamedTuple):
    """Source of a read: the replica or the primary, and how far the replica was behind.

    `records_behind` None means that the primary did not answer; `because` says why the primary was read.
    """

    is_replica: bool
    records_behind: int | None = 0
    seconds_behind: float | None = 0.0
    because: str | None = None

    @property
    def sentence(self) -> str:
        """The text shown to people."""
        if not self.is_replica:
            return f"from the primary: {self.because}"
        if self.records_behind is None:
            return "from the replica; the primary does not answer, so how far it is behind is not known"
        if not self.records_behind:
            return "from the replica, which has every record"
        records = "1 record" if self.records_behind == 1 else f"{self.records_behind:,} records"
        return f"from the replica, which is {records} ({self.seconds_behind or 0:.1f} s) behind"

    def document(self) -> dict[str, object]:
        """Return it as JSON."""
        return {
            "source": "replica" if self.is_replica else "primary",
            "records_behind": self.records_behind,
            "seconds_behind": None if self.seconds_behind is None else round(self.seconds_behind, 3),
            "because": self.because,
        }


@dataclass
class Replica:
    """The replica at `url` of the ledger `primary`, which may be None if it does not answer.

    `open_at` opens a ledger for reading without waiting for its server.
    """

    url: str
    primary: Ledger | None
    open_at: Callable[[str], Ledger]
    elapsing: Callable[[], float] = time.monotonic
    _ledger: Ledger | None = None
    _away_until: float = 0.0
    _because: str = ""
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def choose_for(self, actor: str) -> tuple[Ledger, ReadFrom]:
        """Return the ledger that `actor` reads now, and its source; `NotAReplica` for another ledger."""
        try:
            replica = self._open()
            there = replica.head().size
        except NotAReplica:
            raise
        except LedgerUnusable as error:
            self._leave_alone(error)
            if self.primary is None:
                raise
            return self.primary, ReadFrom(
                is_replica=False, records_behind=None, seconds_behind=None, because=self._because
            )
        try:
            return self._compare(replica, there, actor)
        except LedgerUnusable:
            return replica, ReadFrom(is_replica=True, records_behind=None, seconds_behind=None)

    def close(self) -> None:
        """Close the connections to the replica; the caller closes the primary."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _compare(self, replica: Ledger, there: int, actor: str) -> tuple[Ledger, ReadFrom]:
        if self.primary is None:
            raise LedgerUnusable("the primary does not answer")
        here = self.primary.head().size
        if here <= there:
            return replica, ReadFrom(is_replica=True)
        own = self.primary.newest(RecordFilter(actor=actor), before=here + 1, after=there, limit=1)
        if own and (there := self._wait_for(replica, own[0].position)) < own[0].position:
            because = "the replica does not have your newest record yet"
            return self.primary, ReadFrom(
                is_replica=False,
                records_behind=here - there,
                seconds_behind=self._seconds(there),
                because=because,
            )
        behind = max(0, here - there)
        return replica, ReadFrom(
            is_replica=True,
            records_behind=behind,
            seconds_behind=self._seconds(there) if behind else 0.0,
        )

    def _wait_for(self, replica: Ledger, position: int) -> int:
        ends = self.elapsing() + WAIT_S
        while (there := replica.head().size) < position and self.elapsing() < ends:
            time.sleep(_POLL_S)
        return there

    def _seconds(self, there: int) -> float:
        """Return the age of the oldest record that the replica lacks."""
        assert self.primary is not None  # its size was read
        first = next(self.primary.read(EVERYTHING, after=there, limit=1), None)
        if first is None:
            return 0.0
        recorded = datetime.fromisoformat(first.envelope.recorded_at)
        return max(0.0, (self.primary.store.now() - recorded).total_seconds())

    def _open(self) -> Ledger:
        with self._opening:
            if self._ledger is None:
                if self.elapsing() < self._away_until:
                    raise LedgerUnusable(self._because)
                ledger = self.open_at(self.url)
                try:
                    self._check(ledger)
                except BaseException:
                    ledger.close()
                    raise
                self._ledger = ledger
            return self._ledger

    def _check(self, ledger: Ledger) -> None:
        """Raise `NotAReplica` unless `ledger` is a prefix of the primary."""
        if self.primary is None:
            return
        if ledger.ledger_id != self.primary.ledger_id:
            raise NotAReplica(
                f"SORA_LEDGER_READ_URL {label_of(self.url)}: it is another ledger, with the origin "
                f"sora-ledger/{ledger.ledger_id}; expected a replica of sora-ledger/{self.primary.ledger_id}",
                param="SORA_LEDGER_READ_URL",
                expected=f"a replica of sora-ledger/{self.primary.ledger_id}",
                found=f"sora-ledger/{ledger.ledger_id}",
            )
        there = ledger.head().size
        last, same = (ledger_.store.rows(there - 1, 1, EVERYTHING) for ledger_ in (ledger, self.primary))
        if [row.leaf for row in last] != [row.leaf for row in same]:
            raise NotAReplica(
                f"SORA_LEDGER_READ_URL {label_of(self.url)}: its record {there} is another one than that of "
                "the ledger; expected a replica, found a ledger that went its own way: run `sora-ledger "
                "verify` on both",
                param="SORA_LEDGER_READ_URL",
                expected="a replica of the ledger",
                found=f"another record {there}",
            )

    def _leave_alone(self, error: LedgerUnusable) -> None:
        with self._opening:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None
            if self.elapsing() >= self._away_until:
                self._away_until = self.elapsing() + AWAY_S
                words = str(error).replace("SORA_LEDGER_URL", "SORA_LEDGER_READ_URL")
                self._because = f"the replica cannot be read ({words})"
