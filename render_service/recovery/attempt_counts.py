"""Check that every attempt is accounted for.

intended = accepted + rejected + recovered + absent + unknown + in flight.

The equation holds at any position of the ledger: an attempt counts by its last event up to that position.
"""

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
from ledger.record import Record
from ledger.store.filters import RecordFilter

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
    """The attempts intended up to `position`, counted by standing, and records that do not add up.

    `strays` are records about attempts without an intent, and intents that reuse an id; `servers` are the
    profiles and addresses of all intents.
    """

    position: int
    intended: int
    standing: Mapping[Standing, int]
    strays: tuple[Record, ...]
    servers: frozenset[tuple[str, str]]

    @property
    def adds_up(self) -> bool:
        """Whether every intent has exactly one standing and every standing belongs to an intent."""
        return not self.strays and self.intended == sum(self.standing.values())

    def document(self) -> dict[str, int]:
        """Return the equation as JSON."""
        return {"intended": self.intended, **{name: self.standing[name] for name in STANDINGS}}


def count_attempts(ledger: Ledger, position: int) -> Attempts:
    """Count the attempts recorded up to `position`, by their last event."""
    intended, standing, strays = 0, dict[tuple[str, str], Standing](), list[Record]()
    servers = set[tuple[str, str]]()
    for record, event in _read_in_order(ledger, position):
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


def _read_in_order(ledger: Ledger, position: int) -> Iterator[tuple[Record, AttemptEvent]]:
    """Yield the attempt events up to `position`, in order."""
    where = RecordFilter(types=tuple(kind.type for kind in _SAYS), before=position + 1)
    for record in ledger.read(where, with_text=False):
        event = record.event
        if isinstance(event, AttemptEvent):
            yield record, event
