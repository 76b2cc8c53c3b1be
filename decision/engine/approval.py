"""Renders that wait for a person, and denials that a person sets aside. Pure: who said yes is not known here.

`consider` is `decision.engine.decide.decide` for a policy that has approval rules: what would be allowed and
matches a rule is held. `after_approval` and `override` decide again from the recorded inputs, so every gate
is asked anew; the answer of the person is one of the inputs, and the new decision can be made again like any
other.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date

from decision.engine.decide import DecisionContext, Ruling, requested_inputs, rule
from decision.engine.inputs import Inputs, split_names
from decision.errors import BadRequest
from decision.request import validators
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.events import Basis, Candidate, Change, RenderDecided, RenderDenied, RenderHeld

Considered = Ruling | RenderHeld
"""What comes of considering a request: it is allowed, denied, or waits for a person."""

_UNKNOWN = DecisionContext()


def consider(
    request: RenderRequest, *, catalog: Catalog, policy: Policy, context: DecisionContext = _UNKNOWN
) -> Considered:
    """Return what is ruled on `request`, `RenderHeld` where the policy requires a person."""
    inputs, changes = requested_inputs(request, context)
    return consider_inputs(inputs, catalog=catalog, policy=policy, changes=changes)


def consider_inputs(
    inputs: Inputs, *, catalog: Catalog, policy: Policy, changes: tuple[Change, ...] = ()
) -> Considered:
    """Return the same from recorded `inputs`, whether people had answered by then or not."""
    ruling = rule(inputs, catalog=catalog, policy=policy, changes=changes)
    return _held(ruling, inputs, policy) or ruling


def after_approval(
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

    What was approved is the model that would have been rendered then, at that cost or less. Where it would be
    another or a dearer one now, nobody approved that: it is considered anew, and may be held again.

    `budgets` are those it is paid from now, with the least that any has left (None: no limit); without them
    they are those of then, and `budget_left_usd_micros` None is what was left then. Overrides that have
    `lapsed` hold no longer. Prices are those of `priced_on`, without it of the day it was held.
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


def choice_of(held: RenderHeld) -> Candidate:
    """Return what would be rendered if `held` were approved as it stands."""
    wished = held.basis.inputs.get("wished_model")
    passed = (item for item in held.basis.candidates if not item.gates_failed)
    return min(
        passed,
        key=lambda item: (item.model != wished, -(item.score or 0), item.cost_usd_micros or 0, item.model),
    )


def _is_as_approved(held: RenderHeld, ruling: RenderDecided) -> bool:
    approved = choice_of(held)
    return ruling.model == approved.model and ruling.cost_usd_micros <= (approved.cost_usd_micros or 0)


def override(denied: RenderDenied, code: str, *, catalog: Catalog, policy: Policy) -> Considered:
    """Return the ruling with the denial `code` set aside; other denials stand, approvals are needed still.

    `BadRequest` where nothing was denied for it, or the policy does not let it be overridden.
    """
    failed = {failure.detail_code for item in denied.basis.candidates for failure in item.gates_failed}
    validators.word("denial", code, sorted(failed))
    allowed = policy.overridable or ()
    if code not in allowed:
        raise BadRequest(
            f"{code} cannot be overridden under the policy {policy.name}"
            f" (overridable: {', '.join(allowed) or 'nothing'}); follow the fix of the denial instead"
        )
    before = str(denied.basis.inputs.get("overridden") or "")
    codes = ",".join(sorted({code, *filter(None, before.split(","))}))
    return consider_inputs(_with(denied.basis, {"overridden": codes}), catalog=catalog, policy=policy)


def _with(basis: Basis, answer: Mapping[str, str | bool | int | None]) -> Inputs:
    """Return the recorded inputs with the answer of a person among them."""
    return Inputs.model_validate({**basis.inputs, **answer})


def _held(ruling: Ruling, inputs: Inputs, policy: Policy) -> RenderHeld | None:
    """Return the hold where a rule matches; a typed name may be any approver's, so it takes one more."""
    if not isinstance(ruling, RenderDecided) or inputs.approved:
        return None
    rules = [
        one
        for one in policy.approvals or ()
        if one.matches(
            model=ruling.model,
            purpose=inputs.purpose,
            operation=inputs.operation,
            change_verdict=inputs.change_verdict,
            cost_usd_micros=ruling.cost_usd_micros,
        )
    ]
    if not rules:
        return None
    return RenderHeld(
        basis=ruling.basis,
        reason_codes=tuple(dict.fromkeys(one.code for one in rules)),
        approvals_needed=max(one.people for one in rules) + bool(inputs.requester_claimed),
    )
