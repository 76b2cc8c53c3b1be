"""Check the holds of each budget, summed along the log, against the limit at each position.

The sum over all jobs may exceed a limit only by money that was spent, or because the limit was lowered later:
an append that reserves more than the limit allows is refused.
"""

from typing import Any

from ledger.verify.report import Report
from ledger.verify.rules import Json
from ledger.verify.spill import Memory

PREFIX = "budget_"
ONE_APPEND = 1_000
"""Limits apply at the end of an append, which may release money at a later position than it reserves. Its end
is not recorded, so a sum that returns below its limit within this many positions is not a finding."""


Money = tuple[Any, Any, Json]
"""The reserved and settled money of one job, and how much of each budget it reserves."""

_NOTHING: Money = (0, None, {})


def money(job: Json | None) -> Money:
    """Return the money of `job`."""
    return (job["reserved_usd_micros"], job["settled_usd_micros"], job["budgets"]) if job else _NOTHING


def _held(money: Money, budget: str) -> int:
    reserved, settled, budgets = money
    if budget not in budgets:
        return 0
    amount: int = budgets[budget] if reserved else 0
    return amount + (settled or 0)


class Budgets:
    """The sums of all budgets; each is stored as the `money` of the budget's stream."""

    def __init__(self, memory: Memory, report: Report) -> None:
        self._memory = memory
        self._report = report

    def limit(self, budget: str, usd_micros: int, position: int) -> None:
        """Set the limit of `budget` from `position` on."""
        budget_sums = self._of(budget)
        budget_sums["limit"] = usd_micros
        self._settle(budget, budget_sums, position)

    def move(self, before: Money, after: Money, position: int) -> None:
        """Replace what a job holds, `before`, with `after`."""
        for budget in {*before[2], *after[2]}:
            growth = _held(after, budget) - _held(before, budget)
            if growth:
                budget_sums = self._of(budget)
                budget_sums["held"] += growth
                within = budget_sums["limit"] is None or budget_sums["held"] <= budget_sums["limit"]
                if not within and growth > 0 and after[0] and budget_sums["over"] is None:
                    budget_sums["over"] = [position, budget_sums["limit"], budget_sums["held"]]
                self._settle(budget, budget_sums, position)

    def finish(self) -> None:
        """Report the budgets that are still over their limit; every stream must have been put away."""
        for stream, budget_sums in self._memory.moneys():
            if budget_sums["over"] is not None:
                self._over(stream.removeprefix(PREFIX), budget_sums)

    def _of(self, budget: str) -> Json:
        stream = self._memory.stream(PREFIX + budget)
        if stream.money is None:
            stream.money = {"held": 0, "limit": None, "over": None}
        return stream.money

    def _settle(self, budget: str, budget_sums: Json, position: int) -> None:
        if budget_sums["over"] is not None and budget_sums["held"] <= budget_sums["limit"]:
            if position - budget_sums["over"][0] > ONE_APPEND:
                self._over(budget, budget_sums)
            budget_sums["over"] = None

    def _over(self, budget: str, budget_sums: Json) -> None:
        position, limit, held = budget_sums["over"]
        self._report.add("BUDGET_OVER", position, f"budget {budget}", f"at most {limit} micro-dollars", held)
