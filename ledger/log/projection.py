"""Digests of all job rows, recorded from time to time, so that a drift of the rows can be dated.

Each row is hashed to a number of 2,048 bits (SHAKE256), the numbers are added, and the sum is hashed
(SHA-256). The order of the rows does not matter, and a job that did not change adds what it added before. So
a replay, which folds job by job, computes all recorded digests along the way.

A digest describes the live rows at that time. Where it differs from the replayed rows, the live ones were
wrong.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from hashlib import sha256, shake_256
from typing import NamedTuple

from ledger.events import ProjectionRecorded
from ledger.job import ROW_FORM, Job
from ledger.log.ledger import Ledger
from ledger.record import entries
from ledger.store.filters import RecordFilter

STREAM = "projection"
_BYTES = 256
_MODULUS = 1 << (8 * _BYTES)
_LABEL = b"sora-ledger job row\n"


def row_number(row: bytes) -> int:
    """Return the number that a row adds to the sum."""
    return int.from_bytes(shake_256(_LABEL + row).digest(_BYTES))


def digest_of(total: int) -> str:
    """Return the digest of a sum of row numbers, in hex."""
    return sha256((total % _MODULUS).to_bytes(_BYTES)).hexdigest()


class Drifted(NamedTuple):
    """The rows were right at position `after`, wrong at `by`, and right again at `until`."""

    after: int
    by: int
    until: int | None
    """None: not by the last recorded digest."""


class Milestones:
    """The recorded digests up to a position, for comparison with the replayed jobs."""

    def __init__(self, ledger: Ledger, position: int) -> None:
        where = RecordFilter(stream=STREAM, before=position + 1)
        events = [entry.event for entry in entries(ledger.read(where), ProjectionRecorded)]
        self.recorded = sorted(
            (each for each in events if each.row_form == ROW_FORM), key=lambda e: e.position
        )
        self.of_other_forms = len(events) - len(self.recorded)
        self._positions = [each.position for each in self.recorded]
        self._added = [0] * len(self.recorded)
        self._jobs = [0] * len(self.recorded)

    def add(self, positions: Sequence[int], job: Job, fold_first: Callable[[int], Job]) -> None:
        """Count a job with records at `positions`; `fold_first(n)` folds the first n of them."""
        index = bisect_left(self._positions, positions[0])
        before = 0
        new = 1
        while index < len(self._positions):
            count = bisect_left(positions, self._positions[index] + 1)
            row = job if count == len(positions) else fold_first(count)
            number = row_number(row.canonical())
            self._added[index] += number - before
            self._jobs[index] += new
            if count == len(positions):
                return
            before, new = number, 0
            index = max(index + 1, bisect_left(self._positions, positions[count]))

    def find_drifts(self) -> list[Drifted]:
        """Return the spans in which the live rows differed; call it after every job was added."""
        spans: list[Drifted] = []
        total = jobs = good = 0
        for each, added, new in zip(self.recorded, self._added, self._jobs, strict=True):
            total, jobs = total + added, jobs + new
            if (each.digest, each.jobs) == (digest_of(total), jobs):
                good = each.position
                if spans and spans[-1].until is None:
                    spans[-1] = spans[-1]._replace(until=good)
            elif not spans or spans[-1].until is not None:
                spans.append(Drifted(good, each.position, None))
        return spans
