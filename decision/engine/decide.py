"""The decision: gates first, then a score among the candidates that pass; if none passes, it is denied.

`decide` returns the event itself. An explicitly requested model is used if the gates allow it, and the event
says what the policy would have chosen. If every candidate fails, the request is denied; there is no fallback.

The same inputs, policy, catalog and engine give the same ``decision_id``, in any order. No digest covers
free text.
"""

from collections.abc import Iterable
from functools import lru_cache

from msgspec import structs

from decision.engine.fixes import fixes_for
from decision.engine.gates import REFUSALS, entrants, pass_gates
from decision.engine.guardrails import ModerationStatus, found_in
from decision.engine.inputs import DecisionContext, Inputs
from decision.engine.judge import judged
from decision.errors import BadDocument
from decision.one_change.verdict import JudgeStatus, check_remix
from decision.request.attachments import Faces
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import FaceRule, Policy
from ledger.canonical import digest
from ledger.events import (
    Basis,
    BudgetHold,
    Candidate,
    Change,
    DenialTrace,
    RenderDecided,
    RenderDenied,
    Ruling,
)
from ledger.terms import Operation

__all__ = ["ENGINE", "DecisionContext", "decide", "rule"]

ENGINE = "decide/7"
"""The version of these rules, including the one-change rules; other versions are not reproduced."""

MOST_CHANGES_SHOWN = 50
"""The most changes that a trace locates, to limit the size of a record; the inputs have the full count."""

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
    inputs, changes = requested_inputs(request, context, policy)
    return rule(inputs, catalog=catalog, policy=policy, changes=changes)


def requested_inputs(
    request: RenderRequest, context: DecisionContext, policy: Policy
) -> tuple[Inputs, tuple[Change, ...]]:
    """Return the inputs of the decision on `request`, and the positions of the changes in its prompt."""
    changes = request.operation in (Operation.REMIX, Operation.EDIT)
    verdict = check_remix(request.prompt, request.fields) if changes else None
    judge = policy.judge if request.operation is Operation.REMIX else None
    verdict, by_judge = judged(verdict, judge, context.judge)
    guarded = found_in(request.sent_prompt, policy.guardrails, context.moderation)
    return Inputs.of(request, context, verdict, {**guarded, **by_judge}), verdict.changes if verdict else ()


def rule(inputs: Inputs, *, catalog: Catalog, policy: Policy, changes: tuple[Change, ...] = ()) -> Ruling:
    """Return the ruling on recorded `inputs`; `changes` only says where in the prompt each change stands.

    Equal inputs are ruled on once and share their ruling, which nobody changes. Whether a person is needed
    besides is `decision.engine.approval`'s to say.
    """
    return _ruled(inputs, catalog, policy, changes)


@lru_cache(maxsize=128)
def _ruled(inputs: Inputs, catalog: Catalog, policy: Policy, changes: tuple[Change, ...]) -> Ruling:
    gated = [pass_gates(inputs, entrant, catalog, policy) for entrant in entrants(inputs, catalog)]
    candidates = _scored(gated, inputs, policy)
    basis = Basis(
        decision_id=_decision_id(inputs, catalog, policy),
        policy_sha256=policy.digest,
        catalog_sha256=catalog.digest,
        engine=ENGINE,
        inputs=inputs.recorded(),
        candidates=candidates,
    )
    choice = _best(candidates)
    winner = _wished(candidates, inputs) if inputs.wished_model and not inputs.source_model else choice
    if winner is None or winner.gates_failed:
        refused = winner or _nearest_to_passing(candidates)
        return RenderDenied(basis=basis, denial_trace=_trace(refused, inputs, catalog, changes))
    return _decided(basis, winner, choice, inputs, policy)


def _decision_id(inputs: Inputs, catalog: Catalog, policy: Policy) -> str:
    return digest(
        {
            "inputs": inputs.recorded(),
            "policy_sha256": policy.digest,
            "catalog_sha256": catalog.digest,
            "engine": ENGINE,
        }
    )


def _scored(gated: list[Candidate], inputs: Inputs, policy: Policy) -> tuple[Candidate, ...]:
    """Give features and a score to the candidates that passed every gate."""
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


def _wished(candidates: Iterable[Candidate], inputs: Inputs) -> Candidate:
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


def _decided(
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
        why_not_runner_up=_why_not(runner_up, winner, inputs) if runner_up else (),
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
    """Return what is recorded of a request that was let through."""
    status = inputs.judge_status
    judge = ("JUDGED" if status == JudgeStatus.CHECKED else "JUDGE_MISSING",) if status else ()
    return *judge, *_about_face(inputs, policy), *_about_guardrails(inputs, policy)


def _about_guardrails(inputs: Inputs, policy: Policy) -> tuple[str, ...]:
    """Return what the guardrails found: marked, approved by a person, or set aside by one."""
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


def _about_face(inputs: Inputs, policy: Policy) -> tuple[str, ...]:
    """Return what would be a guess to deny for."""
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
    """Return what was found in the prompt; several changes or none are let through in an edit only."""
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


def _why_not(runner_up: Candidate, winner: Candidate, inputs: Inputs) -> tuple[str, ...]:
    if runner_up.gates_failed:
        return tuple(failure.detail_code for failure in runner_up.gates_failed)
    lower = (runner_up.score or 0) < (winner.score or 0)
    dearer = (runner_up.cost_usd_micros or 0) > (winner.cost_usd_micros or 0)
    reasons = {
        "NOT_THE_EXPLICIT_MODEL": inputs.wished_model is not None,
        "LOWER_SCORE": lower,
        "COSTS_MORE": dearer,
        "SLOWER": _more("expected_seconds", runner_up, winner),
        "FAILS_MORE_OFTEN": _more("failure_ppm", runner_up, winner),
    }
    return tuple(code for code, holds in reasons.items() if holds)


def _more(feature: str, candidate: Candidate, other: Candidate) -> bool:
    """Return whether `feature` is known of both and more for `candidate`."""
    known = feature in candidate.features and feature in other.features
    return known and candidate.features[feature] > other.features[feature]
