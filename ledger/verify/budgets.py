"""What jobs hold of each budget, added up along the log, against the budget's limit at that position.

The sum over all jobs may pass a limit only by money that was spent, or because the limit was lowered later:
what reserves more than the limit leaves is refused when it is appended.
"""

from typing import Any

from ledger.verify.report import Report
from ledger.verify.rules import Json
from ledger.verify.spill import Memory

PREFIX = "budget_"
ONE_APPEND = 1_000
"""Limits hold at the end of an append, which may free money at a later position than it takes some. Where an
append ends is not recorded, so a sum that is within its limit again so many positions later is no finding."""


Money = tuple[Any, Any, Json]
"""What one job has reserved and settled, and how much of each budget it reserves."""

_NOTHING: Money = (0, None, {})


def money(job: Json | None) -> Money:
    """Return what `job` holds."""
    return (job["reserved_usd_micros"], job["settled_usd_micros"], job["budgets"]) if job else _NOTHING


def _held(money: Money, budget: str) -> int:
    reserved, settled, budgets = money
    if budget not in budgets:
        return 0
    amount: int = budgets[budget] if reserved else 0
    return amount + (settled or 0)


class Budgets:
    """The sums of all budgets; a budget's own is kept with its stream, whose `money` it is."""

    def __init__(self, memory: Memory, report: Report) -> None:
        self._memory = memory
        self._report = report

    def limit(self, budget: str, usd_micros: int, position: int) -> None:
        """Take in the limit of `budget` from `position` on."""
        one = self._of(budget)
        one["limit"] = usd_micros
        self._settle(budget, one, position)

    def move(self, before: Money, after: Money, position: int) -> None:
        """Take in that a job holds what is `after` instead of what was `before`."""
        for budget in {*before[2], *after[2]}:
            growth = _held(after, budget) - _held(before, budget)
            if growth:
                one = self._of(budget)
                one["held"] += growth
                within = one["limit"] is None or one["held"] <= one["limit"]
                if not within and growth > 0 and after[0] and one["over"] is None:
                    one["over"] = [position, one["limit"], one["held"]]
                self._settle(budget, one, position)

    def finish(self) -> None:
        """Report the budgets that are still over their limit; every stream has been put away."""
        for stream, one in self._memory.moneys():
            if one["over"] is not None:
                self._over(stream.removeprefix(PREFIX), one)

    def _of(self, budget: str) -> Json:
        stream = self._memory.stream(PREFIX + budget)
        if stream.money is None:
            stream.money = {"held": 0, "limit": None, "over": None}
        return stream.money

    def _settle(self, budget: str, one: Json, position: int) -> None:
        if one["over"] is not None and one["held"] <= one["limit"]:
            if position - one["over"][0] > ONE_APPEND:
                self._over(budget, one)
            one["over"] = None

    def _over(self, budget: str, one: Json) -> None:
        position, limit, held = one["over"]
        self._report.add("BUDGET_OVER", position, f"budget {budget}", f"at most {limit} micro-dollars", held)
