"""The gates: what a candidate must pass before anything is scored. No gate weighs; it is passed or it is not.

Each gate has a name in the record, the detail codes it refuses with, and for each of those the code of
Bickford's seven and the invariant it guards (`REFUSALS`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from decision.catalog import Catalog
from decision.inputs import Inputs
from decision.money import format_usd
from ledger.events import Candidate, DenialCode, GateFailure, Operation, Status


class Refusal(NamedTuple):
    """What a detail code stands for."""

    code: DenialCode
    invariant: str


_PREREQUISITE = DenialCode.MISSING_CANON_PREREQS
_VIOLATION = DenialCode.INVARIANT_VIOLATION
_COST = DenialCode.COST_BOUND_EXCEEDED

REFUSALS: Mapping[str, Refusal] = {
    "SIZE_NOT_OFFERED": Refusal(_VIOLATION, "INV_OFFERED_BY_MODEL"),
    "SECONDS_NOT_OFFERED": Refusal(_VIOLATION, "INV_OFFERED_BY_MODEL"),
    "SOURCE_DELETED": Refusal(_PREREQUISITE, "INV_REMIX_SOURCE_COMPLETED"),
    "SOURCE_FAILED": Refusal(_PREREQUISITE, "INV_REMIX_SOURCE_COMPLETED"),
    "SOURCE_NOT_COMPLETED": Refusal(_PREREQUISITE, "INV_REMIX_SOURCE_COMPLETED"),
    "MODEL_FIXED_BY_SOURCE": Refusal(_VIOLATION, "INV_REMIX_KEEPS_SHAPE"),
    "SIZE_FIXED_BY_SOURCE": Refusal(_VIOLATION, "INV_REMIX_KEEPS_SHAPE"),
    "SECONDS_FIXED_BY_SOURCE": Refusal(_VIOLATION, "INV_REMIX_KEEPS_SHAPE"),
    "SEVERAL_CHANGES": Refusal(_VIOLATION, "INV_SINGLE_CHANGE_REMIX"),
    "NO_CHANGE_FOUND": Refusal(_VIOLATION, "INV_SINGLE_CHANGE_REMIX"),
    "PRICE_UNKNOWN": Refusal(_PREREQUISITE, "INV_COST_KNOWN"),
    "COST_ABOVE_LIMIT": Refusal(_COST, "INV_COST_WITHIN_LIMIT"),
    "BUDGET_EXHAUSTED": Refusal(_COST, "INV_COST_WITHIN_BUDGET"),
}


class Entrant(NamedTuple):
    """One model before the gates; `cost_usd_micros` is None where the catalog has no price."""

    model: str
    cost_usd_micros: int | None


Gate = Callable[[Inputs, Entrant, Catalog], tuple[str, str, str] | None]
"""Returns detail code, expected and found of a failure; None when the candidate passes."""


def _size_offered(inputs: Inputs, entrant: Entrant, catalog: Catalog) -> tuple[str, str, str] | None:
    model = catalog.model(entrant.model)
    offered = model.sizes if model else ()
    return None if inputs.size in offered else ("SIZE_NOT_OFFERED", _listed(offered), inputs.size)


def _seconds_offered(inputs: Inputs, entrant: Entrant, catalog: Catalog) -> tuple[str, str, str] | None:
    model = catalog.model(entrant.model)
    offered = model.seconds if model else ()
    if inputs.seconds in offered:
        return None
    return "SECONDS_NOT_OFFERED", _listed(offered), str(inputs.seconds)


def _listed(offered: Iterable[str | int]) -> str:
    return ", ".join(str(offer) for offer in offered) or "none"


def _source_completed(inputs: Inputs, _: Entrant, __: Catalog) -> tuple[str, str, str] | None:
    if inputs.source_deleted:
        return "SOURCE_DELETED", Status.COMPLETED.value, "deleted"
    if inputs.source_status is Status.COMPLETED:
        return None
    detail = "SOURCE_FAILED" if inputs.source_status is Status.FAILED else "SOURCE_NOT_COMPLETED"
    return detail, Status.COMPLETED.value, inputs.source_status.value if inputs.source_status else "unknown"


def _model_kept(inputs: Inputs, entrant: Entrant, _: Catalog) -> tuple[str, str, str] | None:
    return _kept("MODEL_FIXED_BY_SOURCE", entrant.model, inputs.wished_model)


def _size_kept(inputs: Inputs, _: Entrant, __: Catalog) -> tuple[str, str, str] | None:
    return _kept("SIZE_FIXED_BY_SOURCE", inputs.size, inputs.wished_size)


def _seconds_kept(inputs: Inputs, _: Entrant, __: Catalog) -> tuple[str, str, str] | None:
    return _kept("SECONDS_FIXED_BY_SOURCE", inputs.seconds, inputs.wished_seconds)


def _kept(detail_code: str, fixed: str | int, wished: str | int | None) -> tuple[str, str, str] | None:
    return None if wished in (None, fixed) else (detail_code, str(fixed), str(wished))


def _single_change(inputs: Inputs, _: Entrant, __: Catalog) -> tuple[str, str, str] | None:
    if inputs.change_verdict == "multiple":
        return "SEVERAL_CHANGES", "1 change", f"{inputs.change_count} changes"
    if inputs.change_verdict == "none":
        return "NO_CHANGE_FOUND", "1 change", "0 changes"
    return None


def _price_known(inputs: Inputs, entrant: Entrant, _: Catalog) -> tuple[str, str, str] | None:
    if entrant.cost_usd_micros is not None:
        return None
    return "PRICE_UNKNOWN", "a price in the catalog", f"none for {entrant.model} at {inputs.size}"


def _within_limit(inputs: Inputs, entrant: Entrant, _: Catalog) -> tuple[str, str, str] | None:
    return _within("COST_ABOVE_LIMIT", inputs.max_cost_usd_micros, entrant.cost_usd_micros)


def _within_budget(inputs: Inputs, entrant: Entrant, _: Catalog) -> tuple[str, str, str] | None:
    return _within("BUDGET_EXHAUSTED", inputs.budget_left_usd_micros, entrant.cost_usd_micros)


def _within(detail_code: str, bound: int | None, cost: int | None) -> tuple[str, str, str] | None:
    if bound is None or cost is None or cost <= bound:
        return None
    return detail_code, f"at most {format_usd(bound)}", format_usd(cost)


_MONEY: Mapping[str, Gate] = {"cost_limit": _within_limit, "budget": _within_budget}
_OFFER: Mapping[str, Gate] = {"size_offered": _size_offered, "seconds_offered": _seconds_offered}
_LINEAGE: Mapping[str, Gate] = {
    "source_completed": _source_completed,
    "model_kept": _model_kept,
    "size_kept": _size_kept,
    "seconds_kept": _seconds_kept,
    "single_change": _single_change,
    "price_known": _price_known,
}


def entrants(inputs: Inputs, catalog: Catalog) -> tuple[Entrant, ...]:
    """Return who enters: every model of the catalog and the one asked for; in a remix the source's alone."""
    wished = (inputs.wished_model,) if inputs.wished_model else ()
    names = (inputs.source_model,) if inputs.source_model else dict.fromkeys((*catalog.model_names, *wished))
    return tuple(Entrant(name, catalog.cost_usd_micros(name, inputs.size, inputs.seconds)) for name in names)


def pass_gates(inputs: Inputs, entrant: Entrant, catalog: Catalog) -> Candidate:
    """Return `entrant` with the gates it passed and failed; a gate about money needs a cost to be asked."""
    gates = dict(_LINEAGE if inputs.operation is Operation.REMIX else _OFFER)
    if entrant.cost_usd_micros is not None:
        gates |= _MONEY
    outcomes = {name: gate(inputs, entrant, catalog) for name, gate in gates.items()}
    failures = {name: outcome for name, outcome in outcomes.items() if outcome}
    return Candidate(
        model=entrant.model,
        cost_usd_micros=entrant.cost_usd_micros,
        gates_passed=tuple(name for name in gates if name not in failures),
        gates_failed=tuple(
            GateFailure(gate=name, detail_code=detail_code, expected=expected, found=found)
            for name, (detail_code, expected, found) in failures.items()
        ),
    )
