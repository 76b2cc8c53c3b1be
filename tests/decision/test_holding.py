"""Renders that need a person, and denials that may be set aside."""

from collections.abc import Callable

import pytest

from decision.catalog import Catalog
from decision.decide import decide, rule
from decision.errors import BadDocument, BadRequest
from decision.explain import why
from decision.holding import after_approval, consider, override
from decision.inputs import Inputs
from decision.policy import Policy, default_policy, load_policy
from decision.request import RenderRequest
from ledger.events import RenderDecided, RenderDenied, RenderHeld

Parse = Callable[..., RenderRequest]
PEOPLE = Policy.model_validate(
    {
        **default_policy().model_dump(),
        "approvals": [
            {"code": "PRO_ABOVE_ONE_USD", "models": ["sora-2-pro"], "min_cost_usd_micros": 1_000_000},
            {"code": "FOR_CLIENTS", "purposes": ["client"], "people": 2},
            {"code": "UNCLEAR_REMIX", "change_verdicts": ["ambiguous"]},
        ],
        "overridable": ["SEVERAL_CHANGES", "COST_ABOVE_LIMIT"],
    }
)


def test_what_matches_a_rule_is_held_with_the_reasons_and_the_people_needed(
    parse: Parse, catalog: Catalog
) -> None:
    held = consider(parse(purpose="client"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    assert held.reason_codes == ("PRO_ABOVE_ONE_USD", "FOR_CLIENTS")
    assert held.approvals_needed == 2


def test_what_matches_no_rule_is_decided_as_ever(parse: Parse, catalog: Catalog) -> None:
    assert isinstance(consider(parse(), catalog=catalog, policy=PEOPLE), RenderDecided)


def test_what_is_denied_is_not_held(parse: Parse, catalog: Catalog) -> None:
    denied = consider(parse(purpose="client", max_cost_usd_micros=1), catalog=catalog, policy=PEOPLE)
    assert isinstance(denied, RenderDenied)


def test_a_remix_that_cannot_be_told_is_held_where_the_policy_says_so(remix: Parse, catalog: Catalog) -> None:
    held = consider(remix(prompt="Que llueva, por favor"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    assert held.reason_codes == ("UNCLEAR_REMIX",)
    assert "whether the prompt asks for one change or several could not be told" in why(held)


def test_an_approved_render_is_allowed_and_can_be_decided_again(parse: Parse, catalog: Catalog) -> None:
    held = consider(parse(purpose="client"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    decided = after_approval(held, catalog=catalog, policy=PEOPLE)
    assert isinstance(decided, RenderDecided)
    assert "APPROVED" in decided.reason_codes
    assert "a person approved it, as the policy requires" in why(decided)
    recorded = Inputs.model_validate(decided.basis.inputs)
    assert rule(recorded, catalog=catalog, policy=PEOPLE) == decided


def test_an_approval_opens_no_gate(parse: Parse, catalog: Catalog) -> None:
    held = consider(parse(purpose="client"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    ruling = after_approval(held, catalog=catalog, policy=PEOPLE, budget_left_usd_micros=1)
    assert isinstance(ruling, RenderDenied)


def test_a_caller_that_cannot_hold_is_refused_a_policy_that_needs_people(
    parse: Parse, catalog: Catalog
) -> None:
    with pytest.raises(BadDocument, match="approval rules"):
        decide(parse(), catalog=catalog, policy=PEOPLE)


def test_the_packaged_policy_needs_nobody(parse: Parse, catalog: Catalog, policy: Policy) -> None:
    request = parse(purpose="client")
    assert consider(request, catalog=catalog, policy=policy) == decide(
        request, catalog=catalog, policy=policy
    )


def test_a_denial_the_policy_lets_be_overridden_is_set_aside(remix: Parse, catalog: Catalog) -> None:
    denied = consider(remix(prompt="Make it night and add a dog"), catalog=catalog, policy=PEOPLE)
    assert isinstance(denied, RenderDenied)
    decided = override(denied, "SEVERAL_CHANGES", catalog=catalog, policy=PEOPLE)
    assert isinstance(decided, RenderDecided)
    assert decided.basis.inputs["overridden"] == "SEVERAL_CHANGES"
    assert "somebody entitled to it set aside SEVERAL_CHANGES" in why(decided)


def test_an_override_does_not_replace_an_approval(parse: Parse, catalog: Catalog) -> None:
    denied = consider(parse(purpose="client", max_cost_usd_micros=1), catalog=catalog, policy=PEOPLE)
    assert isinstance(denied, RenderDenied)
    assert isinstance(override(denied, "COST_ABOVE_LIMIT", catalog=catalog, policy=PEOPLE), RenderHeld)


@pytest.mark.parametrize("code", ["SEVERAL_CHANGES", "COST_ABOVE_LIMIT"])
def test_what_was_not_denied_or_may_not_be_overridden_is_refused(
    parse: Parse, catalog: Catalog, policy: Policy, code: str
) -> None:
    denied = consider(parse(max_cost_usd_micros=1), catalog=catalog, policy=policy)
    assert isinstance(denied, RenderDenied)
    with pytest.raises(BadRequest, match=r"unknown|cannot be overridden"):
        override(denied, code, catalog=catalog, policy=policy)


def test_a_policy_cannot_let_a_fact_be_overridden() -> None:
    with pytest.raises(ValueError, match="SOURCE_DELETED cannot be overridden by anybody"):
        Policy.model_validate({**default_policy().model_dump(), "overridable": ["SOURCE_DELETED"]})


@pytest.mark.parametrize(
    ("rule_", "warning"),
    [
        ({"code": "OLD", "models": ["sora-1"]}, "the catalog has none of its models"),
        ({"code": "ODD", "purposes": ["doodle"]}, "none of its purposes is known"),
        ({"code": "DEAR", "min_cost_usd_micros": 10**12}, "nothing costs"),
        ({"code": "LONG", "operations": ["create"], "min_cost_usd_micros": 5 * 10**7}, "nothing costs"),
        ({"code": "NONE", "operations": []}, "its operations are an empty list"),
        ({"code": "VAGUE", "change_verdicts": ["unsure"]}, "none of its change_verdicts is known"),
        (
            {"code": "NEW", "operations": ["create"], "change_verdicts": ["ambiguous"]},
            "only a remix or an edit has one",
        ),
    ],
)
def test_a_rule_that_can_never_match_is_warned_of(
    catalog: Catalog, rule_: dict[str, object], warning: str
) -> None:
    policy = Policy.model_validate({**default_policy().model_dump(), "approvals": [rule_]})
    [found] = policy.warnings(catalog)
    assert warning in found


def test_two_rules_of_one_code_are_refused_since_either_could_stand_for_the_other() -> None:
    rules = [{"code": "A", "models": ["sora-2-pro"], "people": 2}, {"code": "A", "models": ["sora-2"]}]
    with pytest.raises(ValueError, match="two rules have the code A"):
        Policy.model_validate({**default_policy().model_dump(), "approvals": rules})


def test_the_packaged_policy_is_without_warnings(catalog: Catalog, policy: Policy) -> None:
    assert (policy.warnings(catalog), PEOPLE.warnings(catalog)) == ((), ())


def test_an_approval_rule_with_an_unknown_key_is_refused() -> None:
    toml = b'version = 1\nname = "p"\n[[approvals]]\ncode = "A"\nmodel = "sora-2"\n'
    with pytest.raises(BadDocument, match=r"line 5, approvals\.0\.model"):
        load_policy(toml)
