"""Report spent and reserved money by model, purpose, actor, team, day or budget.

The day of a job is that of its request, in UTC. Reserved money may still be spent, and includes jobs with an
unknown outcome; settled money is the reported cost, or the estimate. Adopted videos were paid for elsewhere
and are not included.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.filters import ALL_JOBS, JobFilter
from ledger.store.interface import SpentBy
from render_service.rules.budgets import Limit, RemainingBudget, list_remaining

UNDECIDED = "not decided"


class Grouping(StrEnum):
    """The groupings of spending."""

    MODEL = "model"
    PURPOSE = "purpose"
    ACTOR = "actor"
    TEAM = "team"
    DAY = "day"
    BUDGET = "budget"


@dataclass(frozen=True)
class SpentMoney:
    """The money of some jobs; `estimated_usd_micros` is the settled part that no server reported."""

    name: str
    jobs: int = 0
    reserved_usd_micros: int = 0
    settled_usd_micros: int = 0
    estimated_usd_micros: int = 0

    @property
    def usd_micros(self) -> int:
        """The sum of reserved and settled money."""
        return self.reserved_usd_micros + self.settled_usd_micros

    def add(self, job: Job, reserved_usd_micros: int) -> "SpentMoney":
        """Return the sum with one more job."""
        settled = job.settled_usd_micros or 0
        return replace(
            self,
            jobs=self.jobs + 1,
            reserved_usd_micros=self.reserved_usd_micros + reserved_usd_micros,
            settled_usd_micros=self.settled_usd_micros + settled,
            estimated_usd_micros=self.estimated_usd_micros
            + (settled if job.cost_basis == "estimated" else 0),
        )


@dataclass(frozen=True)
class Spending:
    """The money spent since a time, in groups and in total, and the current remainder of each budget."""

    by: Grouping
    parts: tuple[SpentMoney, ...]
    total: SpentMoney
    budgets: tuple[RemainingBudget, ...]


def spending(
    ledger: Ledger,
    by: Grouping,
    now: datetime,
    since: str | None = None,
    *,
    sees: Sequence[JobFilter] = ALL_JOBS,
    known: Mapping[str, Limit] | None = None,
) -> Spending:
    """Return the cost of the jobs requested since `since` (RFC 3339 UTC), grouped `by`.

    The most expensive group comes first; days are in order. A render may be paid from several budgets, whose
    groups then add up to more than the total. `sees` restricts whose jobs count, except by budget.
    `known` are the limits whose budgets are wanted; None means all of them.
    """
    if by is Grouping.BUDGET or not ledger.store.is_searchable():
        total, parts = _add_up(ledger, by, since)
    else:
        total, parts = _read_sums(ledger, by, since, sees)
    ordered = sorted(parts, key=_ORDER.get(by, lambda part: (-part.usd_micros, part.name)))
    return Spending(by, tuple(ordered), total, tuple(list_remaining(ledger, now, known=known)))


def _read_sums(
    ledger: Ledger, by: Grouping, since: str | None, sees: Sequence[JobFilter]
) -> tuple[SpentMoney, list[SpentMoney]]:
    sums = ledger.store.spent(_SUMMED[by], JobFilter(since=since), sees=sees)
    empty = UNDECIDED if by is Grouping.MODEL else ""
    parts = [SpentMoney(name or empty, *money) for name, money in sums.items()]
    numbers = [sum(column) for column in zip(*sums.values(), strict=True)] or [0, 0, 0, 0]
    return SpentMoney("total", *numbers), parts


_SUMMED: dict[Grouping, SpentBy] = {
    Grouping.MODEL: "model",
    Grouping.PURPOSE: "purpose",
    Grouping.ACTOR: "actor",
    Grouping.TEAM: "team",
    Grouping.DAY: "day",
}


def _add_up(ledger: Ledger, by: Grouping, since: str | None) -> tuple[SpentMoney, list[SpentMoney]]:
    jobs = (
        job for job in ledger.iterate_jobs() if job.operation is not None and (since or "") <= job.created_at
    )
    total = SpentMoney("total")
    parts: defaultdict[str, SpentMoney] = defaultdict(lambda: SpentMoney(""))
    for job in jobs:
        total = total.add(job, job.reserved_usd_micros)
        for name, reserved in _shares(job, by):
            parts[name] = replace(parts[name], name=name).add(job, reserved)
    return total, list(parts.values())


_ORDER: dict[Grouping, Callable[[SpentMoney], tuple[int, str]]] = {Grouping.DAY: lambda part: (0, part.name)}


def _shares(job: Job, by: Grouping) -> Iterable[tuple[str, int]]:
    """Return the groups of a job, and its reserved money in each."""
    if by is Grouping.BUDGET:
        return _budgets(job)
    names: dict[Grouping, str] = {
        Grouping.MODEL: job.model or UNDECIDED,
        Grouping.PURPOSE: job.purpose or "",
        Grouping.ACTOR: job.actor,
        Grouping.TEAM: job.team or "",
        Grouping.DAY: job.created_at[:10],
    }
    return [(names[by], job.reserved_usd_micros)]


def _budgets(job: Job) -> Iterator[tuple[str, int]]:
    for budget, usd_micros in job.budgets.items():
        yield budget, usd_micros if job.reserved_usd_micros else 0
