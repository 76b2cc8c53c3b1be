"""Decide an append ahead of the store, from what this process remembers of its own last append.

Everything an append depends on follows from the log, except leases. As long as nobody else appends or
rebuilds the job rows, this process remembers exactly what it would read. The store decides ahead with
`Ahead.decide` and then writes on two conditions: the head is where this process left it, and the leases of
`Decided.fences` are live. If either fails, or the database refuses a row (an event id that is already
recorded, a text sealed for another event), nothing was written. The store then reads the rows under its lock
and decides on those. So an append is only ever refused there, and the memory needs no protection beyond the
two conditions.

A miss costs a round trip. After one, the store tries again once `UNDISTURBED` appends in a row have found the
head where the previous one left it.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from ledger.job import Job
from ledger.record import Record
from ledger.store.append import Append, AppendRequest, BudgetRow, Changes, Present, decide
from ledger.store.interface import NEW, Fence
from ledger.tree.merkle import Frontier

MOST_STREAMS = 1_000
UNDISTURBED = 4


class Decided(Struct):
    """A group of appends decided ahead: nothing is written yet, and no request has its result."""

    before: Frontier
    present: Present
    changes: Changes
    fences: Collection[Fence]
    results: Sequence[list[Record]]


class _Unknown(LookupError):
    """An append depends on a row that is not remembered."""


class Ahead:
    """The memory of one process about the ledger at the edge `_tree`; None if it remembers nothing."""

    def __init__(self) -> None:
        self._tree: Frontier | None = None
        self._streams: dict[str, tuple[int, Job | None]] = {}
        self._budgets: dict[str, BudgetRow] = {}
        self._undisturbed = UNDISTURBED

    def decide(self, group: Sequence[AppendRequest]) -> Decided | None:
        """Decide `group` from memory; None if that is not enough, or a request would be refused."""
        if self._tree is None or self._undisturbed < UNDISTURBED:
            return None
        present, changes = Present(self._tree.copy(), self._budgets.__getitem__), Changes()
        try:
            for request in group:
                self._recall(request.work, present)
            results = [decide(request.work, present, changes) for request in group]
        except Exception:  # noqa: BLE001  # whatever it is, it is decided again under the lock
            return None
        if not changes.records or changes.erased:
            return None
        fences = {request.work.fence for request in group if request.work.fence} if present.tokens else ()
        return Decided(self._tree, present, changes, fences, results)

    def _recall(self, append: Append, present: Present) -> None:
        """Add the rows that `append` depends on to `present`."""
        for stream, expected, drafts in append.batches:
            if stream not in present.versions:
                version, job = self._streams.get(stream, (None, None))
                if version is None:
                    if expected != NEW or not drafts:
                        raise _Unknown(stream)
                    version = 0  # if this is wrong, the log refuses a second record with version 1
                present.versions[stream] = version
                if job is not None:
                    present.jobs[stream] = job
            if stream in append.jobs and present.versions[stream] and stream not in present.jobs:
                raise _Unknown(stream)
        if fence := append.fence:
            token = present.tokens.setdefault(fence.job_id, fence.token)
            if token != fence.token:
                raise _Unknown(fence.job_id)

    def missed(self) -> None:
        """Forget the ledger, which another process has changed, and do not decide ahead for a while."""
        if self._tree is not None:
            self._tree, self._undisturbed = None, 0

    def learn(self, before: Frontier, present: Present) -> None:
        """Remember the result of a commit that was decided on `present`, at the edge `before`."""
        known, self._tree = self._tree, None  # Ctrl-C at any line below leaves nothing half remembered
        if known is before or (known is not None and known.to_bytes() == before.to_bytes()):
            self._undisturbed += 1
        else:
            self._undisturbed = self._undisturbed if known is None else 0
            self._streams.clear()
            self._budgets.clear()
        for stream, version in present.versions.items():
            _, job = self._streams.pop(stream, (0, None))
            self._streams[stream] = version, present.jobs.get(stream, job)
        while len(self._streams) > MOST_STREAMS:
            del self._streams[next(iter(self._streams))]
        self._budgets |= present.budgets
        for name in present.growth.keys() | present.limits.keys():
            if row := self._budgets.get(name):
                limit = present.limits.get(name, row.limit)
                self._budgets[name] = BudgetRow(row.held + present.growth[name], limit)
        self._tree = present.tree
