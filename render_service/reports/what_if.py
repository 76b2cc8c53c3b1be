"""Apply another policy to the past: the same requests, decided from their recorded inputs.

Each job counts once, by the first decision on it, before any person intervened. Nothing is recorded. The
outcome of an approval cannot be predicted, so what would be held is counted separately.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from decision.engine.approval import Considered, consider_inputs
from decision.engine.decide import rule
from decision.engine.inputs import Inputs
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.errors import LedgerUnusable
from ledger.events import RenderDecided, RenderDenied, RenderHeld
from ledger.log.ledger import Ledger
from ledger.record import Record
from render_service.reports.redecide import Documents, decisions
from render_service.session.history import Decision

FIRST_DECISION = 2
"""The version of the first decision in the stream of its job, after the request."""

MOST_SHOWN = 1_000
"""Limit of the differing decisions that are listed; all are counted."""


@dataclass(frozen=True)
class Outlook:
    """The result for one request: the decision, and its cost; no cost if it is denied."""

    decision: str
    model: str | None
    cost_usd_micros: int
    why: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Differing:
    """One past decision that would have a different result."""

    record: Record
    inputs: Inputs
    before: Outlook
    after: Outlook

    @property
    def difference_usd_micros(self) -> int:
        """The additional cost, negative if it would cost less."""
        return self.after.cost_usd_micros - self.before.cost_usd_micros


@dataclass
class Tally:
    """The totals; money is counted separately for what is allowed and what is held."""

    decisions: int = 0
    different: int = 0
    unreadable: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    before_usd_micros: int = 0
    after_usd_micros: int = 0
    held_before_usd_micros: int = 0
    held_after_usd_micros: int = 0
    shown: list[Differing] = field(default_factory=list)

    def add(self, differing: Differing) -> None:
        """Count one decision."""
        self.decisions += 1
        for outlook, when in ((differing.before, "before"), (differing.after, "after")):
            name = f"held_{when}_usd_micros" if outlook.decision == "HOLD" else f"{when}_usd_micros"
            setattr(self, name, getattr(self, name) + outlook.cost_usd_micros)
        if differing.before == differing.after:
            return
        self.different += 1
        self.kinds[f"{differing.before.decision} to {differing.after.decision}"] += 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append(differing)


def what_if(ledger: Ledger, policy: Policy, catalog: Catalog | None, since: str | None = None) -> Tally:
    """Repeat the decisions since `since` under `policy`; `catalog` None uses the one each of them cited."""
    tally = Tally()
    for differing in _compared(ledger, policy, catalog, since):
        if differing is None:
            tally.unreadable += 1
        else:
            tally.add(differing)
    return tally


def _compared(
    ledger: Ledger, policy: Policy, catalog: Catalog | None, since: str | None
) -> Iterator[Differing | None]:
    documents = Documents(ledger)
    for decision in decisions(ledger, since):
        if decision.record.version != FIRST_DECISION:
            continue
        basis = decision.event.basis
        try:
            inputs = Inputs.model_validate(basis.inputs)
            cited = documents.catalog(basis.catalog_sha256)
            before = _recorded(decision.event, inputs, cited, documents)
        except (ValidationError, LedgerUnusable):
            yield None
            continue
        now = consider_inputs(inputs, catalog=catalog or cited, policy=policy)
        after = _outlook(now, rule(inputs, catalog=catalog or cited, policy=policy))
        yield Differing(decision.record, inputs, before, after)


def _recorded(ruling: Decision, inputs: Inputs, catalog: Catalog, documents: Documents) -> Outlook:
    if not isinstance(ruling, RenderHeld):
        return _outlook(ruling, ruling)
    policy = documents.policy(ruling.basis.policy_sha256)
    return _outlook(ruling, rule(inputs, catalog=catalog, policy=policy))


def _outlook(considered: Considered, without_people: Considered) -> Outlook:
    """Return the result; `without_people` has the model and cost of what is held."""
    if isinstance(considered, RenderDenied):
        return Outlook(considered.decision, None, 0, considered.denial_trace.detail_code)
    why = ", ".join(considered.reason_codes) if isinstance(considered, RenderHeld) else None
    if not isinstance(without_people, RenderDecided):
        return Outlook(considered.decision, None, 0, why)
    return Outlook(considered.decision, without_people.model, without_people.cost_usd_micros, why)
