"""Deciding again where others took the money, or replaced the policy, between a decision and its append."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ledger.errors import BudgetExceeded, WrongExpectedVersion
from render_service.errors import NotReady
from render_service.governance.policies import InForce, Rules
from render_service.telemetry import Log

T = TypeVar("T")

MOST_RACES = 100
"""How often is decided again. Each race that is lost was won by somebody, so budgets end before this does."""


class PolicyReplaced(NotReady):
    """Another policy is in force than the one that decided; nothing was recorded, and nothing sent."""

    def __init__(self) -> None:
        super().__init__(
            "the policy was replaced while this was decided; nothing was sent: repeat the command"
        )


@contextmanager
def replaced_if_refused(in_force: InForce, under: Rules) -> Iterator[None]:
    """Raise `PolicyReplaced` where the append within is refused because `under` are not in force any more."""
    try:
        yield
    except WrongExpectedVersion as refused:
        if not in_force.renew(under):
            raise
        raise PolicyReplaced from refused


async def decided_until_recorded(log: Log, decide_and_record: Callable[[], Awaitable[T]]) -> T:
    """Return what `decide_and_record` does once no budget refuses it, and its policy is in force still.

    What is left, and the policy, are read anew each time.
    """
    for _ in range(MOST_RACES):
        try:
            return await decide_and_record()
        except BudgetExceeded as lost:
            log.info("budget.race_lost", because=str(lost))
        except PolicyReplaced:
            log.info("policy.replaced")
    return await decide_and_record()
