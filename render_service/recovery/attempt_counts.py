"""Whether every attempt is accounted for.

intended = accepted + rejected + recovered + absent + unknown + in flight.

It holds at any position of the ledger, because an attempt is whatever was last said about it up to there.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ledger.events import (
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRecovered,
    SubmissionRejected,
    SubmissionUnknown,
)
from ledger.log.ledger import Ledger
from ledger.record import Entry, Record

Standing = Literal["accepted", "rejected", "recovered", "absent", "unknown", "in_flight"]
STANDINGS: tuple[Standing, ...] = ("accepted", "rejected", "recovered", "absent", "unknown", "in_flight")
AttemptEvent = (
    SubmissionIntended
    | SubmissionAccepted
    | SubmissionRejected
    | SubmissionRecovered
    | SubmissionAbsent
    | SubmissionUnknown
)
_SAYS: Mapping[type[AttemptEvent], Standing] = {
    SubmissionAccepted: "accepted",
    SubmissionRejected: "rejected",
    SubmissionRecovered: "recovered",
    SubmissionAbsent: "absent",
    SubmissionUnknown: "unknown",
    SubmissionIntended: "in_flight",
}


@dataclass(frozen=True)
class Attempts:
    """How many attempts were intended up to `position`, where each stands, and what does not add up.

    `strays` are records about attempts that nobody intended, and intents whose id was used before; `servers`
    the profiles and addresses that anything was intended for.
    """

    position: int
    intended: int
    standing: Mapping[Standing, int]
    strays: tuple[Record, ...]
    servers: frozenset[tuple[str, str]]

    @property
    def adds_up(self) -> bool:
        """Whether every intent has exactly one standing, and every standing an intent."""
        return not self.strays and self.intended == sum(self.standing.values())

    def document(self) -> dict[str, int]:
        """Return the equation as JSON."""
        return {"intended": self.intended, **{name: self.standing[name] for name in STANDINGS}}


def count_attempts(ledger: Ledger, position: int) -> Attempts:
    """Count what was said about attempts up to `position`."""
    intended, standing, strays = 0, dict[tuple[str, str], Standing](), list[Record]()
    servers = set[tuple[str, str]]()
    for entry in _in_order(ledger, position):
        record, event = entry.record, entry.event
        attempt, is_intent = (record.stream, event.attempt_id), isinstance(event, SubmissionIntended)
        intended += is_intent
        if isinstance(event, SubmissionIntended):
            servers.add((event.profile, event.server))
        if is_intent == (attempt in standing):
            strays.append(record)
        standing[attempt] = _SAYS[type(event)]
    counted = Counter(standing.values())
    by_standing = {name: counted[name] for name in STANDINGS}
    return Attempts(position, intended, by_standing, tuple(strays), frozenset(servers))


def _in_order(ledger: Ledger, position: int) -> Iterator[Entry[AttemptEvent]]:
    """Yield what was recorded about attempts up to `position`, in order."""
    by_type = (ledger.entries(kind) for kind in _SAYS)  # each is in order by itself
    for entry in heapq.merge(*by_type, key=lambda entry: entry.record.position):
        if entry.record.position > position:
            return
        yield entry
