"""The smallest change that would make a denied request allowed.

All fixes of a denial belong together: with all of them applied, the request is allowed. There are two kinds.

Obstacles have one remedy each: a value that the source does not allow is dropped, a source is waited for,
several changes are split, guardrails are confirmed. Options that the server does not take are dropped; if it
lacks the operation itself, only another profile helps. If the source is gone, or cannot be extended further,
the remedy is a create.

For money and for what a model offers, everything in the catalog that the operation leaves open is compared
with the request, and the nearest wins: the fewest changes first; then the caller's own limit before the
model, the seconds and the size; raising a budget, which is not up to the caller, comes last. A create leaves
model, size and seconds open, an extension its seconds, an edit of a file its model.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import structs

from decision.engine.guardrails import ModerationStatus
from decision.engine.inputs import Inputs
from decision.one_change.aspects import DEFAULT_ASPECT
from decision.request.attachments import SERVER_OPTIONS, SEVERAL_IMAGES
from decision.request.dimensions import size_distance
from decision.request.request import DEFAULT_SECONDS, DEFAULT_SIZE
from decision.rules.catalog import Catalog
from ledger.events import Candidate, Fix
from ledger.terms import Operation, Status

_COST_OF_CHANGING: Mapping[str, int] = {
    "max_cost_usd_micros": 1,
    "model": 2,
    "seconds": 3,
    "size": 4,
    "budget_left_usd_micros": 5,
}
_NEEDED_BY: Mapping[str, str] = {
    "character": "character_ids",
    "url": "reference_url",
    "file_id": "reference_file_id",
    **{name: name for name in SERVER_OPTIONS},
    SEVERAL_IMAGES: SEVERAL_IMAGES,
}
"""The request field behind each server option that can be left out."""


class _Shape(NamedTuple):
    """A possible render; `model` None leaves the choice open, or to the source."""

    model: str | None
    size: str
    seconds: int


def fixes_for(inputs: Inputs, refused: Candidate, catalog: Catalog) -> tuple[Fix, ...]:
    """Return the fixes that together make `inputs` allowed; `refused` is the nearest candidate."""
    details = [failure.detail_code for failure in refused.gates_failed]
    people = tuple(_PEOPLE[detail] for detail in details if detail in _PEOPLE)
    if _leaves_a_create(inputs, details, catalog):
        create = _create_instead(inputs)
        step = Fix(field="operation", action="set", value=Operation.CREATE.value)
        own = (fix for fix in _remedies(refused, inputs) if fix.field in {"terms", "moderation"})
        return step, *_for_profile(create), *people, *own, *_nearest_allowed(create, catalog)
    remedies = _remedies(refused, inputs)
    return *_for_profile(inputs), *people, *remedies, *_nearest_allowed(inputs, catalog)


def _leaves_a_create(inputs: Inputs, details: Iterable[str], catalog: Catalog) -> bool:
    if "MODEL_RETIRED" in details and inputs.source_model:
        return True
    if {"SOURCE_DELETED", "SOURCE_FAILED", "EXTENDED_TOO_OFTEN"} & set(details):
        return True
    return inputs.operation is Operation.EXTEND and not catalog.extension.fitting(inputs.source_seconds or 0)


def _create_instead(inputs: Inputs) -> Inputs:
    """Return a create with the explicitly requested values."""
    asked_seconds = inputs.seconds if inputs.operation is Operation.EXTEND else inputs.wished_seconds
    return inputs.model_copy(
        update={
            "operation": Operation.CREATE,
            "operations_needed": Operation.CREATE.value,
            "source_model": None,
            "size": inputs.wished_size or DEFAULT_SIZE,
            "seconds": asked_seconds or DEFAULT_SECONDS,
        }
    )


def _for_profile(inputs: Inputs) -> tuple[Fix, ...]:
    """Return what to leave out for this server, or that another server is needed."""
    missing = (*inputs.operations_missing, *inputs.options_missing)
    if any(name not in _NEEDED_BY for name in missing):
        return (Fix(field="profile", action="set"),)
    return tuple(Fix(field=_NEEDED_BY[name], action="drop") for name in missing)


_PEOPLE: Mapping[str, Fix] = {
    "ATTESTATION_MISSING": Fix(field="attested", action="set"),
    "DRAFT_NOT_APPROVED": Fix(field="draft", action="wait", value="approved"),
}
"""Remedies that only people can provide."""

_REMEDIED: Mapping[str, Fix] = {
    "FACE_IN_IMAGE": Fix(field="input_reference", action="drop"),
    "FACES_NOT_CHECKED": Fix(field="reference_faces", action="set", value="checked"),
    "SOURCE_NOT_COMPLETED": Fix(field="source", action="wait", value=Status.COMPLETED.value),
    "MODEL_FIXED_BY_SOURCE": Fix(field="model", action="drop"),
    "SIZE_FIXED_BY_SOURCE": Fix(field="size", action="drop"),
    "SECONDS_FIXED_BY_SOURCE": Fix(field="seconds", action="drop"),
    "SEVERAL_CHANGES": Fix(field="prompt", action="split"),
    "NO_CHANGE_FOUND": Fix(field="prompt", action="set"),
    "CHANGE_UNCLEAR": Fix(field="declared_change", action="set"),
    "TERM_NOT_ALLOWED": Fix(field="terms", action="drop"),
    "MODERATION_FLAGGED": Fix(field="moderation", action="drop"),
    "MODERATION_MISSING": Fix(field="moderation", action="wait", value=ModerationStatus.CHECKED.value),
    "PRICE_UNKNOWN": Fix(field="catalog", action="set"),
}


def _remedies(refused: Candidate, inputs: Inputs) -> Iterator[Fix]:
    for failure in refused.gates_failed:
        fix = _REMEDIED.get(failure.detail_code)
        if fix:
            if fix.action == "split":
                fix = structs.replace(fix, value=inputs.change_count)
            elif fix.field == "declared_change":
                fix = structs.replace(fix, value=_aspect_found(inputs))
            elif fix.field in {"terms", "moderation"} and fix.action == "drop":
                fix = structs.replace(fix, value=failure.found)
            yield fix


def _aspect_found(inputs: Inputs) -> str:
    """Return the aspect that the prompt seems to be about, the first of several."""
    return (inputs.change_aspects or DEFAULT_ASPECT).partition(":")[0]


def _nearest_allowed(inputs: Inputs, catalog: Catalog) -> tuple[Fix, ...]:
    original = _Shape(None if inputs.source_model else inputs.wished_model, inputs.size, inputs.seconds)
    shapes = _shapes_of_source(inputs, catalog) if inputs.source_model else _shapes(inputs, original, catalog)
    ways = [(_fixes(inputs, original, shape, cost), shape) for shape, cost in shapes]
    return min(ways, key=lambda way: _effort(way[0], original, way[1]))[0]


def _shapes_of_source(inputs: Inputs, catalog: Catalog) -> Iterator[tuple[_Shape, int]]:
    """Yield what can be made from the source, with its cost; an unknown source has its own remedy."""
    extends = inputs.operation is Operation.EXTEND
    lengths = catalog.extension.fitting(inputs.source_seconds or 0) if extends else (inputs.seconds,)
    for seconds in lengths:
        cost = catalog.cost_usd_micros(inputs.source_model or "", inputs.size, seconds, inputs.priced_on)
        yield _Shape(None, inputs.size, seconds), cost or 0


def _shapes(inputs: Inputs, original: _Shape, catalog: Catalog) -> Iterator[tuple[_Shape, int]]:
    """Yield what the catalog offers, with its lowest cost; an open choice of model stays open."""
    of_file = inputs.operation is Operation.EDIT
    wished = catalog.model(original.model) if original.model else None
    models = {model.name: model for model in (*catalog.models, *([wished] if wished else ()))}
    for size in (original.size,) if of_file else catalog.sizes:
        for seconds in (original.seconds,) if of_file else catalog.seconds:
            costs = {
                name: cost
                for name, model in models.items()
                if (of_file or seconds in model.seconds)
                and not model.retired
                and (cost := model.cost_usd_micros(size, seconds, inputs.priced_on)) is not None
            }
            if original.model:
                yield from ((_Shape(name, size, seconds), cost) for name, cost in costs.items())
            elif costs:
                yield _Shape(None, size, seconds), min(costs.values())


def _fixes(inputs: Inputs, original: _Shape, shape: _Shape, cost: int) -> tuple[Fix, ...]:
    changed = [
        Fix(field=field, action="set", value=value)
        for field, value in shape._asdict().items()
        if value != getattr(original, field)
    ]
    raised = [
        Fix(field=field, action="raise", value=cost)
        for field in ("max_cost_usd_micros", "budget_left_usd_micros")
        if (bound := getattr(inputs, field)) is not None and cost > bound
    ]
    return (*changed, *raised)


def _effort(fixes: tuple[Fix, ...], original: _Shape, shape: _Shape) -> tuple[object, ...]:
    kinds = sorted((_COST_OF_CHANGING[fix.field] for fix in fixes), reverse=True)
    away = size_distance(original.size, shape.size), abs(original.seconds - shape.seconds)
    return len(fixes), kinds, away, shape.seconds
