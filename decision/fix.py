"""The smallest change that would be allowed.

All fixes of a denial belong together: applied together, the request is allowed. Where a request for a new
render is refused, every combination of model, size and seconds the catalog knows is compared with what was
asked for, and the nearest one wins: the fewest changes first; then a change of the caller's own limit before
one of the model, of the seconds, of the size; raising a budget, which is not the caller's, comes last.
In a remix each failed gate has its own remedy, and a source that is gone for good leaves a create.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from decision.catalog import Catalog
from decision.inputs import Inputs
from decision.request import DEFAULT_SECONDS, DEFAULT_SIZE
from decision.vocabulary import size_distance
from ledger.events import Candidate, Fix, Operation, Status

_COST_OF_CHANGING: Mapping[str, int] = {
    "max_cost_usd_micros": 1,
    "model": 2,
    "seconds": 3,
    "size": 4,
    "budget_left_usd_micros": 5,
}


class _Shape(NamedTuple):
    """What would be rendered; `model` None leaves the choice open."""

    model: str | None
    size: str
    seconds: int


def fixes_for(inputs: Inputs, refused: Candidate, catalog: Catalog) -> tuple[Fix, ...]:
    """Return the fixes that together would have `inputs` allowed; `refused` came nearest."""
    if inputs.operation is not Operation.REMIX:
        return _nearest_allowed(inputs, catalog)
    details = [failure.detail_code for failure in refused.gates_failed]
    if {"SOURCE_DELETED", "SOURCE_FAILED"} & set(details):
        return _create_instead(inputs, catalog)
    return tuple(_remedy(detail, inputs, refused) for detail in details)


def _remedy(detail_code: str, inputs: Inputs, refused: Candidate) -> Fix:
    remedies = {
        "SOURCE_NOT_COMPLETED": Fix(field="source", action="wait", value=Status.COMPLETED.value),
        "MODEL_FIXED_BY_SOURCE": Fix(field="model", action="drop"),
        "SIZE_FIXED_BY_SOURCE": Fix(field="size", action="drop"),
        "SECONDS_FIXED_BY_SOURCE": Fix(field="seconds", action="drop"),
        "SEVERAL_CHANGES": Fix(field="prompt", action="split", value=inputs.change_count),
        "NO_CHANGE_FOUND": Fix(field="prompt", action="set"),
        "PRICE_UNKNOWN": Fix(field="catalog", action="set"),
        "COST_ABOVE_LIMIT": Fix(field="max_cost_usd_micros", action="raise", value=refused.cost_usd_micros),
        "BUDGET_EXHAUSTED": Fix(
            field="budget_left_usd_micros", action="raise", value=refused.cost_usd_micros
        ),
    }
    return remedies[detail_code]


def _create_instead(inputs: Inputs, catalog: Catalog) -> tuple[Fix, ...]:
    """Return the step to a new render with what was asked for by name, and what that one would need."""
    create = inputs.model_copy(
        update={
            "operation": Operation.CREATE,
            "size": inputs.wished_size or DEFAULT_SIZE,
            "seconds": inputs.wished_seconds or DEFAULT_SECONDS,
        }
    )
    return Fix(field="operation", action="set", value=Operation.CREATE.value), *_nearest_allowed(
        create, catalog
    )


def _nearest_allowed(inputs: Inputs, catalog: Catalog) -> tuple[Fix, ...]:
    asked = _Shape(inputs.wished_model, inputs.size, inputs.seconds)
    ways = [(_fixes(inputs, asked, shape, cost), shape) for shape, cost in _allowed_shapes(asked, catalog)]
    return min(ways, key=lambda way: _effort(way[0], asked, way[1]))[0]


def _allowed_shapes(asked: _Shape, catalog: Catalog) -> Iterator[tuple[_Shape, int]]:
    """Yield what the catalog offers, with the least it would cost; an open choice of model stays open."""
    for size in catalog.sizes:
        for seconds in catalog.seconds:
            costs = {
                model.name: cost
                for model in catalog.models
                if seconds in model.seconds and (cost := model.cost_usd_micros(size, seconds)) is not None
            }
            if asked.model:
                yield from ((_Shape(name, size, seconds), cost) for name, cost in costs.items())
            elif costs:
                yield _Shape(None, size, seconds), min(costs.values())


def _fixes(inputs: Inputs, asked: _Shape, shape: _Shape, cost: int) -> tuple[Fix, ...]:
    changed = [
        Fix(field=field, action="set", value=value)
        for field, value in shape._asdict().items()
        if value != getattr(asked, field)
    ]
    raised = [
        Fix(field=field, action="raise", value=cost)
        for field in ("max_cost_usd_micros", "budget_left_usd_micros")
        if (bound := getattr(inputs, field)) is not None and cost > bound
    ]
    return (*changed, *raised)


def _effort(fixes: tuple[Fix, ...], asked: _Shape, shape: _Shape) -> tuple[object, ...]:
    kinds = sorted((_COST_OF_CHANGING[fix.field] for fix in fixes), reverse=True)
    away = size_distance(asked.size, shape.size), abs(asked.seconds - shape.seconds)
    return len(fixes), kinds, away, shape.seconds
