"""Set the limits of budgets, and report the remainder of the budgets that a render is paid from.

The store enforces the limit, inside the append that reserves the money. The values read here are inputs of
the decision, and may be out of date by then. If the append loses such a race, the decision is repeated with
the remainder.

The first decision in a new month or day records the limit of that period before any money is held in it, on
condition that it is not recorded yet and that the limit of every period is still the one it read.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from decision.rules.approvals import Change
from ledger.errors import BudgetExceeded, WrongExpectedVersion
from ledger.events import BudgetSet
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Authority, Entry, Provenance, Record, draft, entries
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, NEW, Batch
from render_service.rules.budget_names import BudgetName, Scope, parse_name, stream_of
from render_service.rules.policies import STREAM, InForce, Rules, read_active_rules
from render_service.runtime.errors import NotReady
from render_service.runtime.telemetry import Log

T = TypeVar("T")

MOST_RACES = 100
"""Limit of repeated decisions. Each lost race was won by another render, so budgets run out first."""


class PolicyReplaced(NotReady):
    """Another policy is in force than the one that decided; nothing was recorded or sent."""

    def __init__(self) -> None:
        super().__init__(
            "the policy was replaced during this decision; nothing was sent: repeat the command",
            param="policy",
            expected="the policy that decided",
            found="another one in force",
        )


@contextmanager
def translate_refusal(in_force: InForce, under: Rules) -> Iterator[None]:
    """Raise `PolicyReplaced` if the append within is refused because `under` is no longer in force."""
    try:
        yield
    except WrongExpectedVersion as refused:
        if not in_force.renew(under):
            raise
        raise PolicyReplaced from refused


class Races:
    """Count the races a decision lost: others took the budget, or activated another policy."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._count = 0

    def log_lost(self, race: BudgetExceeded | PolicyReplaced) -> None:
        """Log a lost race, after which the caller decides again; raise it after too many."""
        self._count += 1
        if self._count > MOST_RACES:
            raise race
        if isinstance(race, PolicyReplaced):
            self._log.info("policy.replaced")
        else:
            self._log.info("budget.race_lost", because=str(race))


NO_LIMIT = 2**53 - 1
"""The largest possible amount: it is recorded when a limit is lifted."""

NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Limit:
    """The limit of a budget, in micro-dollars; None once it was lifted."""

    budget: str
    usd_micros: int | None
    record: Record
    version: int
    """The version of the stream, where an erasure may follow the limit."""


@dataclass(frozen=True)
class RemainingBudget:
    """What a budget allows and holds, in micro-dollars; `limit_usd_micros` None means no limit."""

    budget: str
    limit_usd_micros: int | None
    held_usd_micros: int

    @property
    def usd_micros(self) -> int | None:
        """The remainder, 0 if the limit was exceeded; None without a limit."""
        return None if self.limit_usd_micros is None else max(0, self.limit_usd_micros - self.held_usd_micros)

    def document(self) -> dict[str, Any]:
        """Return the budget as JSON; null if it has no limit."""
        return {
            "budget": self.budget,
            "limit_usd_micros": self.limit_usd_micros,
            "held_usd_micros": self.held_usd_micros,
            "left_usd_micros": self.usd_micros,
        }


@dataclass(frozen=True)
class ApplicableBudgets:
    """The budgets a render is paid from."""

    budgets: tuple[RemainingBudget, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the budgets."""
        return tuple(left.budget for left in self.budgets)

    @property
    def left_usd_micros(self) -> int | None:
        """The smallest remainder of any of them; None if none has a limit."""
        return min((left.usd_micros for left in self.budgets if left.usd_micros is not None), default=None)


def limit_of(ledger: Ledger, budget: str) -> Limit | None:
    """Return the limit of one budget; None if none was ever set."""
    records = list(ledger.read(RecordFilter(stream=stream_of(budget))))
    last = next(entries(reversed(records), BudgetSet), None)
    return _limit(last, records[-1].version) if last else None


def limits(ledger: Ledger) -> dict[str, Limit]:
    """Return every budget that has or had a limit, by name."""
    return {entry.event.budget: _limit(entry, entry.record.version) for entry in ledger.entries(BudgetSet)}


def _limit(entry: Entry[BudgetSet], version: int) -> Limit:
    amount = entry.event.limit_usd_micros
    return Limit(entry.event.budget, None if amount == NO_LIMIT else amount, entry.record, version)


def purse(
    ledger: Ledger, scope: Scope, now: datetime, who: Provenance | None, taken: Mapping[str, int] = NOTHING
) -> ApplicableBudgets:
    """Return the budgets that apply to `scope`, with the remainder of each.

    A month or day that has no limit yet gets it, recorded by `who`; with None nothing is recorded. `taken` is
    the amount that unrecorded decisions take from each.
    """
    if not any(True for _ in ledger.read(RecordFilter(type=BudgetSet.type), limit=1)):
        return ApplicableBudgets(())
    current = (_current(ledger, name, now, who) for name in scope.names())
    return ApplicableBudgets(
        tuple(_compute_remaining(ledger, limit, budget, taken) for budget, limit in filter(None, current))
    )


def _current(
    ledger: Ledger, name: BudgetName, now: datetime, who: Provenance | None
) -> tuple[str, Limit] | None:
    """Return the budget and limit that apply now under `name`; None if there is none."""
    every = limit_of(ledger, str(name))
    if every is None or not name.is_limit_only:
        return (str(name), every) if every else None
    dated = str(name.resolve(now))
    limit = limit_of(ledger, dated)
    if limit is None and who is not None:
        _begin(ledger, dated, every, now, who)
        return _current(ledger, name, now, who)
    return dated, limit or every


def _begin(ledger: Ledger, dated: str, every: Limit, now: datetime, who: Provenance) -> None:
    """Record the limit of a new month or day; another process doing so at the same moment is fine."""
    amount = NO_LIMIT if every.usd_micros is None else every.usd_micros
    event = BudgetSet(budget=dated, limit_usd_micros=amount)
    begun = draft(event, replace(who, authority=Authority.SYSTEM), now, causation_id=every.record.event_id)
    unchanged = Batch(stream_of(every.budget), every.version, [])
    with suppress(WrongExpectedVersion):
        ledger.append([unchanged, Batch(stream_of(dated), NEW, [begun])])


def _compute_remaining(
    ledger: Ledger, limit: Limit, budget: str, taken: Mapping[str, int]
) -> RemainingBudget:
    return RemainingBudget(budget, limit.usd_micros, ledger.store.held(budget) + taken.get(budget, 0))


def set_limit(
    ledger: Ledger, name: BudgetName, usd_micros: int | None, why: str | None, now: datetime, who: Provenance
) -> list[Record]:
    """Record the limit of `name`, None to lift it, and of the current month or day; return the records.

    `NeedsApproval` if the policy in force requires one.
    """
    while True:
        active = read_active_rules(ledger)
        active.check_free(Change.BUDGET)
        unchanged = Batch(STREAM, active.version, [])
        try:
            return ledger.append([*limit_batches(name, usd_micros, why, now, who), unchanged])
        except WrongExpectedVersion:
            if read_active_rules(ledger).version == active.version:
                raise


def limit_batches(
    name: BudgetName,
    usd_micros: int | None,
    why: str | None,
    now: datetime,
    who: Provenance,
    causation_id: str | None = None,
) -> list[Batch]:
    """Return the batches that record the limit of `name`, and of the current month or day."""
    names = [str(name), *([str(name.resolve(now))] if name.is_limit_only else [])]
    amount = NO_LIMIT if usd_micros is None else usd_micros
    batches = []
    for budget in names:
        sealed = Private.seal("why", why) if why else None
        event = BudgetSet(budget=budget, limit_usd_micros=amount, why=sealed)
        made = draft(event, who, now, causation_id=causation_id)
        batches.append(Batch(stream_of(budget), ANY, [made]))
    return batches


class KnownLimits:
    """The limits of all budgets; each refresh reads only new records."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._limits: dict[str, Limit] = {}
        self._read_to = 0
        self._reading = threading.Lock()

    def get(self) -> dict[str, Limit]:
        """Return every budget that has or had a limit, by name."""
        with self._reading:
            for entry in self._ledger.entries(BudgetSet, after=self._read_to):
                self._limits[entry.event.budget] = _limit(entry, entry.record.version)
                self._read_to = entry.record.position
            return dict(self._limits)


def list_remaining(
    ledger: Ledger, now: datetime, *, past: bool = False, known: Mapping[str, Limit] | None = None
) -> list[RemainingBudget]:
    """Return the budgets a render may be paid from now, sorted by name; with `past` all of them.

    A month or day without decisions so far is listed with the limit it will get. `known` are the limits, if
    they were read before.
    """
    all_limits = limits(ledger) if known is None else known
    standing_now: dict[str, Limit] = {}
    for budget, limit in all_limits.items():
        name = parse_name(budget)
        if name and name.is_limit_only:
            current = str(name.resolve(now))
            standing_now[current] = all_limits.get(current, limit)
        elif past or name is None or name.dated is None:
            standing_now[budget] = limit
    return [
        _compute_remaining(ledger, limit, budget, NOTHING) for budget, limit in sorted(standing_now.items())
    ]
