"""Deciding again where somebody else took the money between the decision and its append."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ledger.errors import BudgetExceeded
from render_service.telemetry import Log

T = TypeVar("T")

MOST_RACES = 100
"""How often is decided again. Each race that is lost was won by somebody, so budgets end before this does."""


async def decided_until_recorded(log: Log, decide_and_record: Callable[[], Awaitable[T]]) -> T:
    """Return what `decide_and_record` does once no budget refuses it; what is left is read anew each time."""
    for _ in range(MOST_RACES):
        try:
            return await decide_and_record()
        except BudgetExceeded as lost:
            log.info("budget.race_lost", because=str(lost))
    return await decide_and_record()
