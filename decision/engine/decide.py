"""The decision: gates first, then a score among the candidates that pass; if none passes, a denial.

`decide` returns the event itself. An explicitly requested model is used if the gates allow it, and the event
records the policy's own choice. If every candidate fails, the request is denied; there is no fallback.

The same inputs, policy, catalog and engine give the same ``decision_id``, in any order. No digest covers
free text.

A denial contains the smallest change that would be allowed: its fixes belong together. Obstacles have one
remedy each: drop what the source or the server does not accept, wait for a source, split several changes,
confirm guardrails, or create instead. For money and model limits, every value that the operation leaves open
is compared with the request, and the nearest wins: the fewest changes; then the caller's own limit before the
model, the seconds and the size; raising a budget, which is not up to the caller, comes last. A create leaves
model, size and seconds open, an extension its seconds, an edit of a file its model.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import structs

from decision.engine.gates import REFUSALS, entrants, pass_gates
from decision.engine.guardrails import ModerationStatus, find_in
from decision.engine.inputs import DecisionContext, Inputs
from decision.engine.judge import apply_judgement
from decision.errors import BadDocument
from decision.one_change.lexicon import DEFAULT_ASPECT
from decision.one_change.verdict import JudgeStatus, check_remix
from decision.request.attachments import SERVER_OPTIONS, SEVERAL_IMAGES, Faces
from decision.request.dimensions import size_distance
from decision.request.request import DEFAULT_SECONDS, DEFAULT_SIZE, RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import FaceRule, Policy
from ledger.canonical import digest
from ledger.events import (
    Basis,
    BudgetHold,
    Candidate,
    Change,
    DenialTrace,
    Fix,
    RenderDecided,
    RenderDenied,
    Ruling,
)
from ledger.terms import Operation, Status

__all__ = ["ENGINE", "DecisionContext", "decide", "rule"]

ENGINE = "decide/7"
"""The version of these rules, including the one-change rules; other versions are not reproduced."""

MOST_CHANGES_SHOWN = 50
"""The maximum number of changes in a trace, to limit the size of a record; the inputs have the full count."""

_NO_BUDGET = DecisionContext()


def decide(
    request: RenderRequest, *, catalog: Catalog, policy: Policy, context: DecisionContext = _NO_BUDGET
) -> Ruling:
    """Return the ruling on `request`: `RenderDecided` or `RenderDenied`, ready to be recorded.

    A policy with approval rules is for `decision.engine.approval.consider`; here it is a `BadDocument`.
    """
    if policy.approvals:
        raise BadDocument(
            f"policy {policy.name} has approval rules: nothing is decided without asking for them",
            param="policy",
            expected="a policy without approval rules",
            found=f"{policy.name}",
        )
    inputs, changes = collect_inputs(request, context, policy)
    return rule(inputs, catalog=catalog, policy=policy, changes=changes)


def collect_inputs(
    request: RenderRequest, context: DecisionContext, policy: Policy
) -> tuple[Inputs, tuple[Change, ...]]:
    """Return the inputs of the decision on `request`, and the positions of the changes in its prompt."""
    changes = request.operation in (Operation.REMIX, Operation.EDIT)
    verdict = check_remix(request.prompt, request.fields) if changes else None
    judge = policy.judge if request.operation is Operation.REMIX else None
    verdict, by_judge = apply_judgement(verdict, judge, context.judge)
    guarded = find_in(request.sent_prompt, policy.guardrails, context.moderation)
    return Inputs.collect(
        request, context, verdict, {**guarded, **by_judge}
    ), verdict.changes if verdict else ()


def rule(inputs: Inputs, *, catalog: Catalog, policy: Policy, changes: tuple[Change, ...] = ()) -> Ruling:
    """Return the ruling on recorded `inputs`; `changes` only says where in the prompt each change is.

    Equal inputs are ruled on once and share their ruling, which is never modified. `decision.engine.approval`
    decides whether a person is needed too.
    """
    return _rule(inputs, catalog, policy, changes)


@lru_cache(maxsize=128)
def _rule(inputs: Inputs, catalog: Catalog, policy: Policy, changes: tuple[Change, ...]) -> Ruling:
    gated = [pass_gates(inputs, entrant, catalog, policy) for entrant in entrants(inputs, catalog)]
    candidates = _score_candidates(gated, inputs, policy)
    basis = Basis(
        decision_id=_decision_id(inputs, catalog, policy),
        policy_sha256=policy.digest,
        catalog_sha256=catalog.digest,
        engine=ENGINE,
        inputs=inputs.to_record(),
        candidates=candidates,
    )
    choice = _best(candidates)
    winner = _find_wished(candidates, inputs) if inputs.wished_model and not inputs.source_model else choice
    if winner is None or winner.gates_failed:
        refused = winner or _nearest_to_passing(candidates)
        return RenderDenied(basis=basis, denial_trace=_trace(refused, inputs, catalog, changes))
    return _make_decision(basis, winner, choice, inputs, policy)


def _decision_id(inputs: Inputs, catalog: Catalog, policy: Policy) -> str:
    return digest(
        {
            "inputs": inputs.to_record(),
            "policy_sha256": policy.digest,
            "catalog_sha256": catalog.digest,
            "engine": ENGINE,
        }
    )


def _score_candidates(gated: list[Candidate], inputs: Inputs, policy: Policy) -> tuple[Candidate, ...]:
    """Compute features and a score for the candidates that passed every gate."""
    costs = [candidate.cost_usd_micros for candidate in gated if not candidate.gates_failed]
    cheapest = min((cost for cost in costs if cost is not None), default=None)
    return tuple(_with_score(candidate, inputs, policy, cheapest) for candidate in gated)


def _with_score(candidate: Candidate, inputs: Inputs, policy: Policy, cheapest: int | None) -> Candidate:
    cost = candidate.cost_usd_micros
    if candidate.gates_failed or cost is None or cheapest is None:
        return candidate
    features = {
        **policy.features(candidate.model, inputs.purpose, cost=cost, cheapest=cheapest),
        **inputs.features_of(candidate.model),
    }
    return structs.replace(candidate, features=features, score=policy.score(features))


def _best(candidates: Iterable[Candidate]) -> Candidate | None:
    """Return the passing candidate with the highest score, then the lower cost, then the first name."""
    passed = [candidate for candidate in candidates if not candidate.gates_failed]
    return min(passed, key=_rank, default=None)


def _rank(candidate: Candidate) -> tuple[int, int, str]:
    return -(candidate.score or 0), candidate.cost_usd_micros or 0, candidate.model


def _find_wished(candidates: Iterable[Candidate], inputs: Inputs) -> Candidate:
    return next(candidate for candidate in candidates if candidate.model == inputs.wished_model)


def _nearest_to_passing(candidates: Iterable[Candidate]) -> Candidate:
    """Return the candidate that failed the fewest gates, then the cheapest."""
    return min(
        candidates,
        key=lambda candidate: (
            len(candidate.gates_failed),
            candidate.cost_usd_micros is None,
            candidate.cost_usd_micros or 0,
        ),
    )


def _trace(refused: Candidate, inputs: Inputs, catalog: Catalog, changes: tuple[Change, ...]) -> DenialTrace:
    failure = refused.gates_failed[0]
    refusal = REFUSALS[failure.detail_code]
    return DenialTrace(
        code=refusal.code,
        detail_code=failure.detail_code,
        failed_invariant=refusal.invariant,
        expected=failure.expected,
        found=failure.found,
        minimal_fix=fixes_for(inputs, refused, catalog),
        changes=changes[:MOST_CHANGES_SHOWN],
    )


def _make_decision(
    basis: Basis, winner: Candidate, choice: Candidate | None, inputs: Inputs, policy: Policy
) -> RenderDecided:
    cost = winner.cost_usd_micros or 0
    runner_up = _runner_up(basis.candidates, winner)
    return RenderDecided(
        basis=basis,
        model=winner.model,
        cost_usd_micros=cost,
        holds=tuple(BudgetHold(budget=name, usd_micros=cost) for name in inputs.budget_names),
        reason_codes=(*_reasons(basis, winner, choice, inputs), *_warnings(inputs, policy)),
        policy_choice=choice.model if choice else None,
        runner_up=runner_up.model if runner_up else None,
        why_not_runner_up=_explain_runner_up(runner_up, winner, inputs) if runner_up else (),
    )


def _runner_up(candidates: Iterable[Candidate], winner: Candidate) -> Candidate | None:
    others = [candidate for candidate in candidates if candidate.model != winner.model]
    if not others:
        return None
    return _best(others) or _nearest_to_passing(others)


def _reasons(basis: Basis, winner: Candidate, choice: Candidate | None, inputs: Inputs) -> tuple[str, ...]:
    answered = {"APPROVED": inputs.approved, "OVERRIDDEN": inputs.overridden}
    return (
        *_reasons_for_model(basis, winner, choice, inputs),
        *_reasons_about_changes(inputs),
        *(code for code, is_override in answered.items() if is_override),
    )


def _warnings(inputs: Inputs, policy: Policy) -> tuple[str, ...]:
    """Return the reasons recorded for an allowed request."""
    status = inputs.judge_status
    judge = ("JUDGED" if status == JudgeStatus.CHECKED else "JUDGE_MISSING",) if status else ()
    return *judge, *_collect_face_reasons(inputs, policy), *_collect_guardrail_reasons(inputs, policy)


def _collect_guardrail_reasons(inputs: Inputs, policy: Policy) -> tuple[str, ...]:
    """Return the findings of the guardrails: marked, approved by a person, or overridden by one."""
    if policy.guardrails is None or inputs.guardrails is None:
        return ()
    terms = policy.guardrails.terms
    moderated = policy.guardrails.moderation and inputs.moderation_status
    by_terms = {rule.code for rule in terms}
    others = [code for code in inputs.guardrail_codes if code not in by_terms]
    checked = moderated is ModerationStatus.CHECKED
    codes = {
        "TERMS_NOT_SEARCHED": bool(terms) and inputs.terms_found is None,
        "TERM_FOUND": any(code in by_terms for code in inputs.guardrail_codes),
        "MODERATION_FLAGGED": checked and bool(others),
        "MODERATION_PASSED": checked and not others,
        "MODERATION_MISSING": bool(moderated) and not checked,
    }
    return tuple(code for code, holds in codes.items() if holds)


def _collect_face_reasons(inputs: Inputs, policy: Policy) -> tuple[str, ...]:
    """Return the uncertainties that would be a guess to deny for."""
    if inputs.reference_faces is None or policy.reference_faces is FaceRule.IGNORE:
        return ()
    codes = {Faces.FOUND: "FACE_IN_REFERENCE", Faces.NOT_CHECKED: "FACES_NOT_CHECKED"}
    return tuple(code for found, code in codes.items() if inputs.reference_faces is found)


def _reasons_for_model(
    basis: Basis, winner: Candidate, choice: Candidate | None, inputs: Inputs
) -> tuple[str, ...]:
    if inputs.source_model:
        return ("MODEL_OF_SOURCE",)
    if inputs.wished_model:
        differs = choice is not None and choice.model != winner.model
        return ("EXPLICIT_MODEL", "POLICY_WOULD_CHOOSE_OTHER" if differs else "POLICY_AGREES")
    passed = [candidate for candidate in basis.candidates if not candidate.gates_failed]
    return ("HIGHEST_SCORE",) if len(passed) > 1 else ("ONLY_ONE_PASSED_GATES",)


def _reasons_about_changes(inputs: Inputs) -> tuple[str, ...]:
    """Return the changes found in the prompt; several changes or none are allowed only in an edit."""
    codes = {
        "single": "SINGLE_CHANGE",
        "ambiguous": "SINGLE_CHANGE_NOT_ESTABLISHED",
        "multiple": "EDIT_OF_SEVERAL_CHANGES",
        "none": "EDIT_OF_NO_CHANGE_FOUND",
    }
    if inputs.operation is Operation.REMIX and inputs.change_verdict in {"multiple", "none"}:
        return ()  # only an override gets here, and says so
    if inputs.change_verdict == "ambiguous" and inputs.declared_change:
        return ("SINGLE_CHANGE_DECLARED",)
    return (codes[inputs.change_verdict],) if inputs.change_verdict else ()


def _explain_runner_up(runner_up: Candidate, winner: Candidate, inputs: Inputs) -> tuple[str, ...]:
    if runner_up.gates_failed:
        return tuple(failure.detail_code for failure in runner_up.gates_failed)
    lower = (runner_up.score or 0) < (winner.score or 0)
    dearer = (runner_up.cost_usd_micros or 0) > (winner.cost_usd_micros or 0)
    reasons = {
        "NOT_THE_EXPLICIT_MODEL": inputs.wished_model is not None,
        "LOWER_SCORE": lower,
        "COSTS_MORE": dearer,
        "SLOWER": _has_more("expected_seconds", runner_up, winner),
        "FAILS_MORE_OFTEN": _has_more("failure_ppm", runner_up, winner),
    }
    return tuple(code for code, holds in reasons.items() if holds)


def _has_more(feature: str, candidate: Candidate, other: Candidate) -> bool:
    """Return whether `feature` is known of both and higher for `candidate`."""
    known = feature in candidate.features and feature in other.features
    return known and candidate.features[feature] > other.features[feature]


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
"""The request field for each server option that can be omitted."""


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
        return step, *_fix_for_profile(create), *people, *own, *_nearest_allowed(create, catalog)
    remedies = _remedies(refused, inputs)
    return *_fix_for_profile(inputs), *people, *remedies, *_nearest_allowed(inputs, catalog)


def _leaves_a_create(inputs: Inputs, details: Iterable[str], catalog: Catalog) -> bool:
    if "MODEL_RETIRED" in details and inputs.source_model:
        return True
    if {"SOURCE_DELETED", "SOURCE_FAILED", "EXTENDED_TOO_OFTEN"} & set(details):
        return True
    return inputs.operation is Operation.EXTEND and not catalog.extension.list_fitting(
        inputs.source_seconds or 0
    )


def _create_instead(inputs: Inputs) -> Inputs:
    """Return a create with the explicitly requested values."""
    wished = inputs.seconds if inputs.operation is Operation.EXTEND else inputs.wished_seconds
    return inputs.model_copy(
        update={
            "operation": Operation.CREATE,
            "operations_needed": Operation.CREATE.value,
            "source_model": None,
            "size": inputs.wished_size or DEFAULT_SIZE,
            "seconds": wished or DEFAULT_SECONDS,
        }
    )


def _fix_for_profile(inputs: Inputs) -> tuple[Fix, ...]:
    """Return the options to omit for this server, or that another server is needed."""
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
    """Return the first aspect that the prompt seems to be about."""
    return (inputs.change_aspects or DEFAULT_ASPECT).partition(":")[0]


def _nearest_allowed(inputs: Inputs, catalog: Catalog) -> tuple[Fix, ...]:
    original = _Shape(None if inputs.source_model else inputs.wished_model, inputs.size, inputs.seconds)
    shapes = _shapes_of_source(inputs, catalog) if inputs.source_model else _shapes(inputs, original, catalog)
    ways = [(_fixes(inputs, original, shape, cost), shape) for shape, cost in shapes]
    return min(ways, key=lambda way: _effort(way[0], original, way[1]))[0]


def _shapes_of_source(inputs: Inputs, catalog: Catalog) -> Iterator[tuple[_Shape, int]]:
    """Yield the options for a source, with their cost; an unknown source has its own remedy."""
    extends = inputs.operation is Operation.EXTEND
    lengths = catalog.extension.list_fitting(inputs.source_seconds or 0) if extends else (inputs.seconds,)
    for seconds in lengths:
        cost = catalog.cost_usd_micros(inputs.source_model or "", inputs.size, seconds, inputs.priced_on)
        yield _Shape(None, inputs.size, seconds), cost or 0


def _shapes(inputs: Inputs, original: _Shape, catalog: Catalog) -> Iterator[tuple[_Shape, int]]:
    """Yield the catalog's offers, with their lowest cost; an open choice of model stays open."""
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
