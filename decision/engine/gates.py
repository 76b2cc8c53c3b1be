"""The gates that a candidate must pass before it is scored. A gate either passes or fails; it has no weight.

Each gate has a name in the record and its detail codes; each detail code has one of Bickford's seven codes
and the invariant it protects (`REFUSALS`). A gate applies only where it is meaningful: server capabilities if
they are known, an attestation or an approved draft if the policy requires it, money if there is a cost.

A remix must change exactly one thing, so that lineage is meaningful. If that is unclear, the requester
declares the aspect it changes, unless the policy lets such remixes pass. Edits are exempt: the changes found
in their prompts are recorded in inputs and reasons, and cause no refusal.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from decision.engine.guardrails import ModerationStatus, codes_that
from decision.engine.inputs import Inputs, split_names
from decision.money import format_usd
from decision.request.attachments import Faces
from decision.rules.catalog import Catalog
from decision.rules.guardrails import MISSING, Action
from decision.rules.policy import FaceRule, Policy
from ledger.events import Candidate, GateFailure
from ledger.terms import DenialCode, Operation, Status


class Refusal(NamedTuple):
    """The meaning of a detail code."""

    code: DenialCode
    invariant: str


_PREREQUISITE = DenialCode.MISSING_CANON_PREREQS
_VIOLATION = DenialCode.INVARIANT_VIOLATION
_COST = DenialCode.COST_BOUND_EXCEEDED

REFUSALS: Mapping[str, Refusal] = {
    "OPERATION_NOT_OFFERED": Refusal(_VIOLATION, "INV_OFFERED_BY_PROFILE"),
    "OPTION_NOT_OFFERED": Refusal(_VIOLATION, "INV_OFFERED_BY_PROFILE"),
    "ATTESTATION_MISSING": Refusal(_PREREQUISITE, "INV_GUARDRAILS_ATTESTED"),
    "DRAFT_NOT_APPROVED": Refusal(_PREREQUISITE, "INV_DRAFT_APPROVED"),
    "MODEL_RETIRED": Refusal(_VIOLATION, "INV_OFFERED_BY_MODEL"),
    "FACE_IN_IMAGE": Refusal(_VIOLATION, "INV_NO_FACE_IN_IMAGE"),
    "FACES_NOT_CHECKED": Refusal(_PREREQUISITE, "INV_NO_FACE_IN_IMAGE"),
    "TERM_NOT_ALLOWED": Refusal(_VIOLATION, "INV_WITHIN_GUARDRAILS"),
    "MODERATION_FLAGGED": Refusal(_VIOLATION, "INV_WITHIN_GUARDRAILS"),
    "MODERATION_MISSING": Refusal(_PREREQUISITE, "INV_PROMPT_MODERATED"),
    "SIZE_NOT_OFFERED": Refusal(_VIOLATION, "INV_OFFERED_BY_MODEL"),
    "SECONDS_NOT_OFFERED": Refusal(_VIOLATION, "INV_OFFERED_BY_MODEL"),
    "SOURCE_DELETED": Refusal(_PREREQUISITE, "INV_SOURCE_COMPLETED"),
    "SOURCE_FAILED": Refusal(_PREREQUISITE, "INV_SOURCE_COMPLETED"),
    "SOURCE_NOT_COMPLETED": Refusal(_PREREQUISITE, "INV_SOURCE_COMPLETED"),
    "EXTENDED_TOO_OFTEN": Refusal(_VIOLATION, "INV_EXTENSION_WITHIN_LIMITS"),
    "EXTENDED_TOO_FAR": Refusal(_VIOLATION, "INV_EXTENSION_WITHIN_LIMITS"),
    "MODEL_FIXED_BY_SOURCE": Refusal(_VIOLATION, "INV_SOURCE_KEEPS_SHAPE"),
    "SIZE_FIXED_BY_SOURCE": Refusal(_VIOLATION, "INV_SOURCE_KEEPS_SHAPE"),
    "SECONDS_FIXED_BY_SOURCE": Refusal(_VIOLATION, "INV_SOURCE_KEEPS_SHAPE"),
    "SEVERAL_CHANGES": Refusal(_VIOLATION, "INV_SINGLE_CHANGE_REMIX"),
    "NO_CHANGE_FOUND": Refusal(_VIOLATION, "INV_SINGLE_CHANGE_REMIX"),
    "CHANGE_UNCLEAR": Refusal(_PREREQUISITE, "INV_SINGLE_CHANGE_REMIX"),
    "PRICE_UNKNOWN": Refusal(_PREREQUISITE, "INV_COST_KNOWN"),
    "COST_ABOVE_LIMIT": Refusal(_COST, "INV_COST_WITHIN_LIMIT"),
    "BUDGET_EXHAUSTED": Refusal(_COST, "INV_COST_WITHIN_BUDGET"),
}


class Entrant(NamedTuple):
    """A model before the gates; `cost_usd_micros` is None if the catalog has no price."""

    model: str
    cost_usd_micros: int | None


class Failure(NamedTuple):
    """Why a gate failed."""

    detail_code: str
    expected: str
    found: str


Gate = Callable[[Inputs, Entrant, Catalog], Failure | None]
"""Returns None if the candidate passes."""


def _operation_offered(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    return _check_offered("OPERATION_NOT_OFFERED", inputs.operations_missing, inputs.operations_offered)


def _options_offered(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    return _check_offered("OPTION_NOT_OFFERED", inputs.options_missing, inputs.options_offered)


def _check_offered(detail_code: str, missing: tuple[str, ...], offered: str | None) -> Failure | None:
    if not missing:
        return None
    return Failure(detail_code, _join_offers(split_names(offered or "")), _join_offers(missing))


def _check_attestation(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    return None if inputs.attested else Failure("ATTESTATION_MISSING", "attested", "not attested")


def _draft_approved(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    if inputs.draft_approved:
        return None
    found = "none was named" if inputs.draft_approved is None else "what it is made from was not approved"
    return Failure("DRAFT_NOT_APPROVED", "an approved draft", found)


def _check_served(_: Inputs, entrant: Entrant, catalog: Catalog) -> Failure | None:
    served = [model.name for model in catalog.models if not model.retired]
    return Failure("MODEL_RETIRED", _join_offers(served), catalog.explain_retirement(entrant.model) or "")


def _no_face(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    return Failure("FACE_IN_IMAGE", "no face", "a face") if inputs.reference_faces is Faces.FOUND else None


def _check_faces(inputs: Inputs, entrant: Entrant, catalog: Catalog) -> Failure | None:
    if inputs.reference_faces is Faces.NOT_CHECKED:
        return Failure("FACES_NOT_CHECKED", "looked for faces", "not checked")
    return _no_face(inputs, entrant, catalog)


def _size_offered(inputs: Inputs, entrant: Entrant, catalog: Catalog) -> Failure | None:
    model = catalog.model(entrant.model)
    offered = model.sizes if model else ()
    return None if inputs.size in offered else Failure("SIZE_NOT_OFFERED", _join_offers(offered), inputs.size)


def _seconds_offered(inputs: Inputs, entrant: Entrant, catalog: Catalog) -> Failure | None:
    model = catalog.model(entrant.model)
    offered = model.seconds if model else ()
    if inputs.seconds in offered:
        return None
    return Failure("SECONDS_NOT_OFFERED", _join_offers(offered), str(inputs.seconds))


def _join_offers(offered: Iterable[str | int]) -> str:
    return ", ".join(str(offer) for offer in offered) or "none"


def _source_completed(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    if inputs.source_deleted:
        return Failure("SOURCE_DELETED", Status.COMPLETED.value, "deleted")
    if inputs.source_status is Status.COMPLETED:
        return None
    detail = "SOURCE_FAILED" if inputs.source_status is Status.FAILED else "SOURCE_NOT_COMPLETED"
    found = inputs.source_status.value if inputs.source_status else "unknown"
    return Failure(detail, Status.COMPLETED.value, found)


def _extensions_left(inputs: Inputs, _: Entrant, catalog: Catalog) -> Failure | None:
    so_far, most = inputs.source_extensions or 0, catalog.extension.max_times
    return None if so_far < most else Failure("EXTENDED_TOO_OFTEN", f"at most {most}", str(so_far))


def _total_seconds(inputs: Inputs, _: Entrant, catalog: Catalog) -> Failure | None:
    total, most = (inputs.source_seconds or 0) + inputs.seconds, catalog.extension.max_total_seconds
    return None if total <= most else Failure("EXTENDED_TOO_FAR", f"at most {most}", str(total))


def _model_kept(inputs: Inputs, entrant: Entrant, _: Catalog) -> Failure | None:
    return _check_unchanged("MODEL_FIXED_BY_SOURCE", entrant.model, inputs.wished_model)


def _size_kept(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    return _check_unchanged("SIZE_FIXED_BY_SOURCE", inputs.size, inputs.wished_size)


def _seconds_kept(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    return _check_unchanged("SECONDS_FIXED_BY_SOURCE", inputs.seconds, inputs.wished_seconds)


def _check_unchanged(detail_code: str, fixed: str | int, wished: str | int | None) -> Failure | None:
    return None if wished in (None, fixed) else Failure(detail_code, str(fixed), str(wished))


def _single_change(inputs: Inputs, _: Entrant, __: Catalog) -> Failure | None:
    if inputs.change_verdict == "multiple":
        return Failure("SEVERAL_CHANGES", "1 change", f"{inputs.change_count} changes")
    if inputs.change_verdict == "none":
        return Failure("NO_CHANGE_FOUND", "1 change", "0 changes")
    return None


def _change_clear(inputs: Inputs, entrant: Entrant, catalog: Catalog) -> Failure | None:
    if inputs.change_verdict == "ambiguous" and not inputs.declared_change:
        return Failure("CHANGE_UNCLEAR", "1 change", "cannot be told")
    return _single_change(inputs, entrant, catalog)


def _terms(_: Inputs, codes: Sequence[str]) -> Failure | None:
    return Failure("TERM_NOT_ALLOWED", "none of its terms", _join_offers(codes)) if codes else None


def _moderation(inputs: Inputs, codes: Sequence[str]) -> Failure | None:
    if MISSING in codes:
        status = inputs.moderation_status or ModerationStatus.NOT_ASKED
        return Failure("MODERATION_MISSING", ModerationStatus.CHECKED, status)
    return Failure("MODERATION_FLAGGED", "none of its rules", _join_offers(codes)) if codes else None


def _price_known(inputs: Inputs, entrant: Entrant, _: Catalog) -> Failure | None:
    if entrant.cost_usd_micros is not None:
        return None
    return Failure("PRICE_UNKNOWN", "a price in the catalog", f"none for {entrant.model} at {inputs.size}")


def _check_limit(inputs: Inputs, entrant: Entrant, _: Catalog) -> Failure | None:
    return _check_bound("COST_ABOVE_LIMIT", inputs.max_cost_usd_micros, entrant.cost_usd_micros)


def _check_budget(inputs: Inputs, entrant: Entrant, _: Catalog) -> Failure | None:
    return _check_bound("BUDGET_EXHAUSTED", inputs.budget_left_usd_micros, entrant.cost_usd_micros)


def _check_bound(detail_code: str, bound: int | None, cost: int | None) -> Failure | None:
    if bound is None or cost is None or cost <= bound:
        return None
    return Failure(detail_code, f"at most {format_usd(bound)}", format_usd(cost))


_FACES: Mapping[FaceRule | None, Gate] = {FaceRule.BLOCK: _no_face, FaceRule.REQUIRE: _check_faces}
_MONEY: Mapping[str, Gate] = {"cost_limit": _check_limit, "budget": _check_budget}
_SAME_SHAPE: Mapping[str, Gate] = {"size_kept": _size_kept, "seconds_kept": _seconds_kept}
_OF_FILE: Mapping[str, Gate] = {"size_offered": _size_offered, **_SAME_SHAPE}
_OWN: Mapping[Operation, Mapping[str, Gate]] = {
    Operation.CREATE: {"size_offered": _size_offered, "seconds_offered": _seconds_offered},
    Operation.REMIX: {
        "source_completed": _source_completed,
        "model_kept": _model_kept,
        **_SAME_SHAPE,
        "single_change": _single_change,
        "price_known": _price_known,
    },
    Operation.EDIT: {
        "source_completed": _source_completed,
        "model_kept": _model_kept,
        **_SAME_SHAPE,
        "price_known": _price_known,
    },
    Operation.EXTEND: {
        "source_completed": _source_completed,
        "extensions_left": _extensions_left,
        "total_seconds": _total_seconds,
        "model_kept": _model_kept,
        "size_kept": _size_kept,
        "price_known": _price_known,
    },
}


def entrants(inputs: Inputs, catalog: Catalog) -> tuple[Entrant, ...]:
    """Return the candidates: every model of the catalog and the requested one, or only the source's."""
    wished = (inputs.wished_model,) if inputs.wished_model else ()
    models = (model.name for model in catalog.models)
    names = (inputs.source_model,) if inputs.source_model else dict.fromkeys((*models, *wished))
    day = inputs.priced_on
    return tuple(
        Entrant(name, catalog.cost_usd_micros(name, inputs.size, inputs.seconds, day)) for name in names
    )


def pass_gates(inputs: Inputs, entrant: Entrant, catalog: Catalog, policy: Policy) -> Candidate:
    """Return `entrant` as a candidate, with the gates it passed and failed."""
    gates = _gates(inputs, entrant, catalog, policy)
    outcomes = {name: gate(inputs, entrant, catalog) for name, gate in gates.items()}
    overridden = split_names(inputs.overridden or "")
    failures = {
        name: outcome
        for name, outcome in outcomes.items()
        if outcome and outcome.detail_code not in overridden
    }
    return Candidate(
        model=entrant.model,
        cost_usd_micros=entrant.cost_usd_micros,
        gates_passed=tuple(name for name in gates if name not in failures),
        gates_failed=tuple(
            GateFailure(gate=name, detail_code=detail_code, expected=expected, found=found)
            for name, (detail_code, expected, found) in failures.items()
        ),
    )


def _gates(inputs: Inputs, entrant: Entrant, catalog: Catalog, policy: Policy) -> Mapping[str, Gate]:
    """Return the gates that apply, ordered by the importance of their refusals."""
    gates: dict[str, Gate] = {}
    if inputs.operations_offered is not None:
        gates["operation_offered"] = _operation_offered
    if inputs.options_offered is not None:
        gates["options_offered"] = _options_offered
    if catalog.explain_retirement(entrant.model) and not policy.allow_retired_models:
        gates["model_served"] = _check_served
    if inputs.reference_faces is not None and policy.reference_faces in _FACES:
        gates["reference_faces"] = _FACES[policy.reference_faces]
    gates |= _guardrail_gates(inputs, policy)
    if policy.require_attestation:
        gates["attested"] = _check_attestation
    if inputs.purpose in (policy.require_approved_draft or ()):
        gates["draft_approved"] = _draft_approved
    of_file = inputs.operation is Operation.EDIT and inputs.source_model is None
    gates |= _OF_FILE if of_file else _OWN[inputs.operation]
    if "single_change" in gates and not policy.unclear_changes_pass:
        gates["single_change"] = _change_clear
    if entrant.cost_usd_micros is not None:
        gates |= _MONEY
    return gates


def _guardrail_gates(inputs: Inputs, policy: Policy) -> Mapping[str, Gate]:
    """Return the gates for findings of the policy's guardrails; those that only warn or hold fail none."""
    guardrails = policy.guardrails
    if guardrails is None or inputs.guardrails is None:
        return {}
    denied = codes_that(Action.DENY, inputs.guardrail_codes, guardrails, inputs.purpose)
    by_terms = {rule.code for rule in guardrails.terms}
    terms = [code for code in denied if code in by_terms]
    others = [code for code in denied if code not in by_terms]
    gates: dict[str, Gate] = {}
    if inputs.terms_found is not None:
        gates["terms"] = lambda inputs, _, __: _terms(inputs, terms)
    if inputs.moderation_status is not None:
        gates["moderation"] = lambda inputs, _, __: _moderation(inputs, others)
    return gates
