"""Everything a decision is made from, and nothing else: flat, without text, as it stands in the record.

A ruling is a function of these inputs, the catalog and the policy (`decision.decide.rule`); so a recorded
decision can be made again from its own record. Free text enters only as what was found in it: the aspects
a remix changes.
"""

from collections import Counter
from typing import Self

from pydantic import BaseModel, ConfigDict

from decision.remix import RemixVerdict
from decision.request import AUTO, RenderRequest
from ledger.events import Operation, Status


class DecisionContext(BaseModel):
    """What the caller knows besides the request: which budgets would hold the cost, and what is left.

    `budget_left_usd_micros` is the least that any of them has left, None where no limit is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_left_usd_micros: int | None = None
    budgets: tuple[str, ...] = ()


class Inputs(BaseModel):
    """The inputs of one decision, in the names of ``Basis.inputs``; money in micro-dollars.

    `wished_*` is what was asked for by name, None where it was left open. In a remix, `size` and
    `seconds` are those of the source. `change_aspects` (``camera:1,palette:2``) and
    `budgets` are lists in alphabetical order, joined with commas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Operation
    purpose: str
    profile: str
    size: str
    seconds: int
    wished_model: str | None = None
    wished_size: str | None = None
    wished_seconds: int | None = None
    max_cost_usd_micros: int | None = None
    budget_left_usd_micros: int | None = None
    budgets: str = ""
    augment: bool = True
    input_reference: bool = False
    source_job: str | None = None
    source_video_id: str | None = None
    source_status: Status | None = None
    source_deleted: bool | None = None
    source_model: str | None = None
    change_verdict: str | None = None
    change_count: int | None = None
    change_aspects: str | None = None

    @classmethod
    def of(cls, request: RenderRequest, context: DecisionContext, changes: RemixVerdict | None) -> Self:
        """Gather the inputs of `request` in its `context`; `changes` of a remix only."""
        remix = request.source is not None
        return cls(
            operation=request.operation,
            purpose=request.purpose,
            profile=request.profile,
            size=request.size,
            seconds=request.seconds,
            wished_model=None if request.requested_model == AUTO else request.requested_model,
            wished_size=request.wished.size if remix else None,
            wished_seconds=request.wished.seconds if remix else None,
            max_cost_usd_micros=request.max_cost_usd_micros,
            budget_left_usd_micros=context.budget_left_usd_micros,
            budgets=",".join(sorted(set(context.budgets))),
            augment=request.augment,
            input_reference=request.input_reference is not None,
            **_of_source(request),
            **_of_changes(changes),
        )

    def recorded(self) -> dict[str, str | int | bool | None]:
        """Return the inputs as plain values, for ``Basis.inputs``."""
        return self.model_dump(mode="json")

    @property
    def budget_names(self) -> tuple[str, ...]:
        """The budgets to reserve the cost in."""
        return tuple(name for name in self.budgets.split(",") if name)


def _of_source(request: RenderRequest) -> dict[str, object]:
    if request.source is None:
        return {}
    source = request.source
    return {
        "source_job": source.job_id,
        "source_video_id": source.video_id,
        "source_status": source.status,
        "source_deleted": source.deleted,
        "source_model": source.model,
    }


def _of_changes(changes: RemixVerdict | None) -> dict[str, object]:
    if changes is None:
        return {}
    counts = Counter(change.aspect for change in changes.changes)
    return {
        "change_verdict": changes.verdict,
        "change_count": len(changes.changes),
        "change_aspects": ",".join(f"{aspect}:{count}" for aspect, count in sorted(counts.items())),
    }
