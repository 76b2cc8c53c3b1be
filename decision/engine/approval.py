"""Renders that need approval, and denials that a person overrides. Pure; does not know the approvers.

`consider` is `decision.engine.decide.decide` for a policy that has approval rules: an allowed request that
matches a rule is held. `rule_after_approval` and `override` decide again from the recorded inputs, so every
gate is checked again. The person's answer is an input, so the new decision can be reproduced like any other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date

from decision.engine.decide import DecisionContext, collect_inputs, rule
from decision.engine.inputs import Inputs, split_names
from decision.errors import BadRequest
from decision.request import validators
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.events import Basis, Change, Considered, RenderDecided, RenderDenied, RenderHeld, Ruling

_UNKNOWN = DecisionContext()


def consider(
    request: RenderRequest, *, catalog: Catalog, policy: Policy, context: DecisionContext = _UNKNOWN
) -> Considered:
    """Return the ruling on `request`, `RenderHeld` if the policy requires approval."""
    inputs, changes = collect_inputs(request, context, policy)
    return consider_inputs(inputs, catalog=catalog, policy=policy, changes=changes)


def consider_inputs(
    inputs: Inputs, *, catalog: Catalog, policy: Policy, changes: tuple[Change, ...] = ()
) -> Considered:
    """Return the ruling for recorded `inputs`, with or without people's answers."""
    ruling = rule(inputs, catalog=catalog, policy=policy, changes=changes)
    return _hold_if_matched(ruling, inputs, policy) or ruling


def rule_after_approval(
    held: RenderHeld,
    *,
    catalog: Catalog,
    policy: Policy,
    budget_left_usd_micros: int | None = None,
    budgets: Sequence[str] | None = None,
    lapsed: Collection[str] = (),
    priced_on: date | None = None,
) -> Considered:
    """Return the ruling on what was `held`, now that enough people approved; a gate may have closed since.

    The approval covers the model chosen at that time, at that cost or less. If the choice has changed or the
    cost has risen since, the request is considered again and may be held again.

    `budgets` are the budgets that pay for it now, with the smallest remainder of any (None: no limit);
    without them the recorded budgets and remainder are used. Overrides in `lapsed` no longer apply. Prices
    are those of `priced_on`, by default the day it was held.
    """
    answer: dict[str, str | bool | int | None] = {}
    if budgets is not None:
        answer |= {"budgets": ",".join(sorted(budgets)), "budget_left_usd_micros": budget_left_usd_micros}
    elif budget_left_usd_micros is not None:
        answer |= {"budget_left_usd_micros": budget_left_usd_micros}
    still = [
        code for code in split_names(str(held.basis.inputs.get("overridden") or "")) if code not in lapsed
    ]
    answer |= {"overridden": ",".join(still) or None}
    answer |= {"priced_on": priced_on.isoformat()} if priced_on else {}
    ruling = rule(_with(held.basis, {**answer, "approved": True}), catalog=catalog, policy=policy)
    if not isinstance(ruling, RenderDecided) or _is_as_approved(held, ruling):
        return ruling
    anew = _with(held.basis, {**answer, "approved": None})
    return consider_inputs(anew, catalog=catalog, policy=policy)


def _is_as_approved(held: RenderHeld, ruling: RenderDecided) -> bool:
    approved = held.choice
    return ruling.model == approved.model and ruling.cost_usd_micros <= (approved.cost_usd_micros or 0)


def override(denied: RenderDenied, code: str, *, catalog: Catalog, policy: Policy) -> Considered:
    """Return the ruling with the denial `code` overridden; other denials and approvals still apply.

    `BadRequest` if nothing was denied with that code, or if the policy does not allow overriding it.
    """
    failed = {failure.detail_code for item in denied.basis.candidates for failure in item.gates_failed}
    validators.parse_word("denial", code, sorted(failed))
    allowed = policy.overridable or ()
    if code not in allowed:
        raise BadRequest(
            f"{code} cannot be overridden under the policy {policy.name}"
            f" (overridable: {', '.join(allowed) or 'nothing'}); follow the fix of the denial instead",
            param="override",
            expected=", ".join(allowed) or "nothing",
            found=f"{code}",
        )
    before = str(denied.basis.inputs.get("overridden") or "")
    codes = ",".join(sorted({code, *filter(None, before.split(","))}))
    return consider_inputs(_with(denied.basis, {"overridden": codes}), catalog=catalog, policy=policy)


def set_aside(ruling: Considered, codes: Iterable[str], *, catalog: Catalog, policy: Policy) -> Considered:
    """Return the ruling with the denials `codes` overridden.

    `BadRequest` if the policy does not permit that, or if one of them was not denied.
    """
    for code in codes:
        if not isinstance(ruling, RenderDenied):
            raise BadRequest(
                f"the request is not denied for {code}, so there is nothing to override; leave it out",
                param="override",
                expected="a code of the denial",
                found=code,
            )
        ruling = override(ruling, code, catalog=catalog, policy=policy)
    return ruling


def _with(basis: Basis, answer: Mapping[str, str | bool | int | None]) -> Inputs:
    """Return the recorded inputs with a person's answer added."""
    return Inputs.model_validate({**basis.inputs, **answer})


def _hold_if_matched(ruling: Ruling, inputs: Inputs, policy: Policy) -> RenderHeld | None:
    """Return the hold if a rule matches; a requester known only by a typed name needs one more approver."""
    if not isinstance(ruling, RenderDecided) or inputs.approved:
        return None
    rules = [
        approval
        for approval in policy.approvals or ()
        if approval.matches(
            model=ruling.model,
            purpose=inputs.purpose,
            operation=inputs.operation,
            change_verdict=inputs.change_verdict,
            cost_usd_micros=ruling.cost_usd_micros,
            guardrails=inputs.guardrail_codes,
        )
    ]
    if not rules:
        return None
    return RenderHeld(
        basis=ruling.basis,
        reason_codes=tuple(dict.fromkeys(rule.code for rule in rules)),
        approvals_needed=max(rule.people for rule in rules) + bool(inputs.requester_claimed),
    )
