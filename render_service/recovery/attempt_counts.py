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
from ledger.record import Record
from ledger.store.interface import RecordFilter

Standing = Literal["accepted", "rejected", "recovered", "absent", "unknown", "in_flight"]
STANDINGS: tuple[Standing, ...] = ("accepted", "rejected", "recovered", "absent", "unknown", "in_flight")
_Said = (
    SubmissionIntended
    | SubmissionAccepted
    | SubmissionRejected
    | SubmissionRecovered
    | SubmissionAbsent
    | SubmissionUnknown
)
_SAYS: Mapping[type[_Said], Standing] = {
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
    for record, said in _said(ledger, position):
        attempt, is_intent = (record.stream, said.attempt_id), isinstance(said, SubmissionIntended)
        intended += is_intent
        if isinstance(said, SubmissionIntended):
            servers.add((said.profile, said.server))
        if is_intent == (attempt in standing):
            strays.append(record)
        standing[attempt] = _SAYS[type(said)]
    counted = Counter(standing.values())
    by_standing = {name: counted[name] for name in STANDINGS}
    return Attempts(position, intended, by_standing, tuple(strays), frozenset(servers))


def _said(ledger: Ledger, position: int) -> Iterator[tuple[Record, _Said]]:
    """Yield what was said about attempts, in order."""
    each = (ledger.read(RecordFilter(type=kind.type)) for kind in _SAYS)
    for record in heapq.merge(*each, key=lambda said: said.position):  # each is in order by itself
        if record.position > position:
            return
        event = record.event
        assert isinstance(event, _Said)  # noqa: S101  # read by type
        yield record, event
