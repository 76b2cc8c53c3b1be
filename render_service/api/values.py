"""Arguments and results of a desk's methods: frozen values, with money as `Decimal` dollars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from decision.money import MICROS_PER_USD, micros_of
from ledger.record import Record
from render_service.reports.spending import Spending, SpentMoney
from render_service.runtime.documents import record_document
from render_service.runtime.errors import BadInput
from sora_adapter.models import Observation, Page

Money: TypeAlias = Decimal | str
"""Dollars, exactly: ``Decimal("1.20")`` or ``"1.20"``."""


def usd_micros(what: str, amount: Money) -> int:
    """Return an amount in micro-dollars; `BadInput` if it is not one."""
    micros = micros_of(str(amount))
    if micros is None:
        raise BadInput(
            f'{what} must be dollars from 0 with at most six decimals, such as "1.20", found {amount!r}; '
            "nothing was recorded",
            param=what,
            expected='dollars from 0 with at most six decimals, such as "1.20"',
            found=f"{amount!r}",
        )
    return micros


def usd(micros: int | None) -> Decimal | None:
    """Return micro-dollars as dollars."""
    return None if micros is None else Decimal(micros) / MICROS_PER_USD


class ChangeOptions(TypedDict, total=False):
    """Options of `remix`, `edit` and `extend`."""

    fields: Mapping[str, str]
    augment: bool
    purpose: str
    request_key: str
    max_cost: Money
    max_cost_usd_micros: int
    deadline_minutes: int
    attested: bool


class CreateOptions(ChangeOptions, total=False):
    """Options of `create`. Without `model` the policy chooses one; the defaults are 1280x720 and 4 s.

    `further_references`, `seed` and `loop` are sent along with `input_reference`; if the server does not
    support one of them, the request is denied.
    """

    model: str
    size: str
    seconds: str | int
    input_reference: Path | str
    further_references: Sequence[Path | str]
    seed: int
    loop: bool
    promotes: str


@dataclass(frozen=True)
class Decided:
    """The decision on a request: `cost` in dollars, and the nearest allowed request if it is denied."""

    decision: str
    model: str | None
    cost: Decimal | None
    why: tuple[str, ...]
    what_now: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Questions that the prompt leaves open."""

    @property
    def allowed(self) -> bool:
        """Whether the request would be sent without asking a person."""
        return self.decision == "ALLOW" and not self.missing


@dataclass(frozen=True)
class VideoPage:
    """A page of the server's videos; `last_id` is the `after` of the next."""

    data: tuple[Observation, ...]
    has_more: bool | None
    last_id: str | None

    @classmethod
    def of(cls, page: Page) -> "VideoPage":
        """Return a page as read by the adapter."""
        return cls(page.observations, page.has_more, page.last_id)


@dataclass(frozen=True)
class LedgerEvent:
    """A record of the ledger. Pass `position` to `RenderDesk.events` to continue after it."""

    position: int
    type: str
    stream: str
    actor: str
    recorded_at: str
    payload: Mapping[str, Any]
    repeated: bool = False
    """Whether it was already recorded under the same event id."""

    @classmethod
    def of(cls, record: Record, *, repeated: bool = False) -> "LedgerEvent":
        """Return a record with its payload and its unerased private text."""
        document = record_document(record)
        names = ("position", "type", "stream", "actor", "recorded_at", "payload")
        return cls(**{name: document[name] for name in names}, repeated=repeated)


@dataclass(frozen=True)
class Amount:
    """The cost of some jobs: `reserved` may still be spent, `settled` was spent."""

    name: str
    jobs: int
    reserved: Decimal
    settled: Decimal

    @classmethod
    def of(cls, spent: SpentMoney) -> "Amount":
        """Return a group of a report."""
        reserved, settled = usd(spent.reserved_usd_micros), usd(spent.settled_usd_micros)
        return cls(spent.name, spent.jobs, reserved or Decimal(0), settled or Decimal(0))


@dataclass(frozen=True)
class Spend:
    """The money spent, in groups and in total, and the remainder of each budget."""

    parts: tuple[Amount, ...]
    total: Amount
    left: Mapping[str, Decimal | None] = field(default_factory=dict)
    """By budget; None if there is no limit."""

    @classmethod
    def of(cls, report: Spending) -> "Spend":
        """Return a report with its amounts in dollars."""
        left = {budget.budget: usd(budget.usd_micros) for budget in report.budgets}
        return cls(tuple(map(Amount.of, report.parts)), Amount.of(report.total), left)
