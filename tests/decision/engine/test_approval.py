"""Renders that need a person, and denials that may be set aside."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from msgspec import structs

from decision.engine.approval import consider, override, rule_after_approval
from decision.engine.decide import decide, rule
from decision.engine.explain import list_reasons
from decision.engine.inputs import DecisionContext, Inputs
from decision.errors import BadDocument, BadRequest
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog, Price
from decision.rules.policy import Policy, default_policy
from decision.rules.toml import load_document
from ledger.events import Candidate, RenderDecided, RenderDenied, RenderHeld
from ledger.tree.checkpoint import Signer

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


def test_a_remix_whose_change_is_unclear_is_held_where_the_policy_says_so(
    remix: Parse, catalog: Catalog
) -> None:
    held = consider(remix(prompt="Fai nevicare sulla piazza, per favore"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    assert held.reason_codes == ("UNCLEAR_REMIX",)
    assert "whether the prompt asks for one change or several could not be told" in list_reasons(held)


def test_an_approved_render_is_allowed_and_can_be_decided_again(parse: Parse, catalog: Catalog) -> None:
    held = consider(parse(purpose="client"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    decided = rule_after_approval(held, catalog=catalog, policy=PEOPLE)
    assert isinstance(decided, RenderDecided)
    assert "APPROVED" in decided.reason_codes
    assert "a person approved it, as the policy requires" in list_reasons(decided)
    recorded = Inputs.model_validate(decided.basis.inputs)
    assert rule(recorded, catalog=catalog, policy=PEOPLE) == decided


def test_an_approval_opens_no_gate(parse: Parse, catalog: Catalog) -> None:
    held = consider(parse(purpose="client"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    ruling = rule_after_approval(held, catalog=catalog, policy=PEOPLE, budget_left_usd_micros=1)
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
    assert "an entitled person overrode SEVERAL_CHANGES" in list_reasons(decided)


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
        load_document(Policy, toml)


def test_a_rule_for_remixes_of_an_unclear_verdict_is_not_warned_of(catalog: Catalog) -> None:
    rule_ = {"code": "UNCLEAR", "operations": ["remix"], "change_verdicts": ["ambiguous"]}
    policy = Policy.model_validate({**default_policy().model_dump(), "approvals": [rule_]})
    assert policy.warnings(catalog) == ()


@pytest.mark.parametrize("code", ["lower", "9LIVES", "WITH SPACE", "", "A" * 65, "A\nB"])
def test_the_code_of_a_rule_is_a_word_in_capitals(code: str) -> None:
    with pytest.raises(ValueError, match=r"approvals\.0\.code"):
        Policy.model_validate({**default_policy().model_dump(), "approvals": [{"code": code}]})


def test_a_denied_remix_says_where_its_changes_are_under_a_policy_with_rules(
    remix: Parse, catalog: Catalog
) -> None:
    prompt = "Make it night and add a dog"
    denied = consider(remix(prompt=prompt), catalog=catalog, policy=PEOPLE)
    assert isinstance(denied, RenderDenied)
    found = [prompt[change.start : change.end] for change in denied.denial_trace.changes]
    assert len(found) == 2
    assert "night" in found[0]
    assert "dog" in found[1]


def test_several_overrides_survive_an_approval_and_lapse_one_by_one(remix: Parse, catalog: Catalog) -> None:
    rules = [{"code": "REMIXES", "operations": ["remix"]}]
    policy = Policy.model_validate({**PEOPLE.model_dump(), "approvals": rules})
    request = remix(prompt="Make it night and add a dog", max_cost_usd_micros=1)
    ruling = consider(request, catalog=catalog, policy=policy)
    for code in ("SEVERAL_CHANGES", "COST_ABOVE_LIMIT"):
        assert isinstance(ruling, RenderDenied)
        ruling = override(ruling, code, catalog=catalog, policy=policy)
    assert isinstance(ruling, RenderHeld)
    decided = rule_after_approval(ruling, catalog=catalog, policy=policy)
    assert isinstance(decided, RenderDecided)
    assert decided.basis.inputs["overridden"] == "COST_ABOVE_LIMIT,SEVERAL_CHANGES"
    lapsed = rule_after_approval(ruling, catalog=catalog, policy=policy, lapsed=["COST_ABOVE_LIMIT"])
    assert isinstance(lapsed, RenderDenied)
    assert lapsed.denial_trace.detail_code == "COST_ABOVE_LIMIT"


def test_what_was_not_denied_is_not_overridden_though_the_policy_lets_it(
    parse: Parse, catalog: Catalog
) -> None:
    denied = consider(parse(max_cost_usd_micros=1), catalog=catalog, policy=PEOPLE)
    assert isinstance(denied, RenderDenied)
    with pytest.raises(BadRequest, match=r"denial.*SEVERAL_CHANGES"):
        override(denied, "SEVERAL_CHANGES", catalog=catalog, policy=PEOPLE)


@pytest.mark.parametrize(
    ("approved", "found"), [(None, "none was named"), (False, "what it is made from was not approved")]
)
def test_a_missing_draft_and_one_that_was_not_approved_are_distinguished(
    parse: Parse, catalog: Catalog, *, approved: bool | None, found: str
) -> None:
    policy = Policy.model_validate({**default_policy().model_dump(), "require_approved_draft": ["final"]})
    context = DecisionContext(draft_approved=approved)
    denied = consider(parse(purpose="final"), catalog=catalog, policy=policy, context=context)
    assert isinstance(denied, RenderDenied)
    assert denied.denial_trace.found == found


def test_a_requester_under_a_typed_name_takes_one_more_person(parse: Parse, catalog: Catalog) -> None:
    context = DecisionContext(requester_claimed=True)
    held = consider(parse(purpose="client"), catalog=catalog, policy=PEOPLE, context=context)
    assert isinstance(held, RenderHeld)
    assert (held.approvals_needed, held.basis.inputs["requester_claimed"]) == (3, True)


@pytest.mark.parametrize(
    "more",
    [{"purposes": ["final"]}, {"operations": ["budget.set", "create"]}, {"min_cost_usd_micros": 1}],
)
def test_a_rule_for_changes_names_nothing_of_renders(more: dict[str, object]) -> None:
    rule_ = {"code": "MONEY", "operations": ["budget.set"], **more}
    with pytest.raises(ValueError, match=r"a rule for budget\.set names nothing of renders"):
        Policy.model_validate({**default_policy().model_dump(), "approvals": [rule_]})


def test_a_rule_for_changes_holds_no_render_and_is_not_warned_of(parse: Parse, catalog: Catalog) -> None:
    rule_ = {"code": "MONEY", "operations": ["budget.set"]}
    policy = Policy.model_validate({**default_policy().model_dump(), "approvals": [rule_]})
    assert policy.warnings(catalog) == ()
    assert isinstance(consider(parse(), catalog=catalog, policy=policy), RenderDecided)


def test_a_key_belongs_to_one_person_among_approvers_and_requesters() -> None:
    key = [str(Signer("maria", bytes(32)).verifier)]
    with pytest.raises(ValueError, match="is named for two people"):
        Policy.model_validate(
            {**default_policy().model_dump(), "approvers": {"maria": key}, "requesters": {"ana": key}}
        )


def priced(catalog: Catalog, model: str, *usd_micros_per_second: int) -> Catalog:
    """Return the catalog with other prices of `model`: the first from 2026-01-01 on, then 2026-02-01."""
    prices = [
        Price.model_validate(
            {
                "size_class": size,
                "usd_micros_per_second": price,
                "from": date(2026, month, 1),
                "source": "test",
            }
        )
        for month, price in enumerate(usd_micros_per_second, 1)
        for size in sorted({offer.size_class for entry in catalog.models for offer in entry.size_offers})
    ]
    models = [
        entry.model_copy(update={"prices": tuple(prices)}) if entry.name == model else entry
        for entry in catalog.models
    ]
    return catalog.model_copy(update={"models": tuple(models)})


def held_for_client(parse: Parse, catalog: Catalog, **context: Any) -> RenderHeld:
    request = parse(purpose="client", model="sora-2", size="1280x720", seconds=4)
    held = consider(request, catalog=catalog, policy=PEOPLE, context=DecisionContext(**context))
    assert isinstance(held, RenderHeld)
    return held


@pytest.mark.parametrize("price", [250_000, 249_999, 1])
def test_an_approval_covers_the_price_it_was_given_for_and_any_lower_one(
    parse: Parse, catalog: Catalog, price: int
) -> None:
    held = held_for_client(parse, priced(catalog, "sora-2", 250_000))
    decided = rule_after_approval(held, catalog=priced(catalog, "sora-2", price), policy=PEOPLE)
    assert isinstance(decided, RenderDecided)
    assert (decided.model, decided.cost_usd_micros) == ("sora-2", 4 * price)


def test_a_price_above_the_approved_one_is_held_again(parse: Parse, catalog: Catalog) -> None:
    held = held_for_client(parse, priced(catalog, "sora-2", 250_000))
    again = rule_after_approval(held, catalog=priced(catalog, "sora-2", 250_001), policy=PEOPLE)
    assert isinstance(again, RenderHeld)
    assert (again.reason_codes, "approved" in again.basis.inputs) == (("FOR_CLIENTS",), False)
    assert again.choice.cost_usd_micros == 1_000_004


def test_a_model_that_was_not_approved_is_held_again_though_it_costs_less(
    parse: Parse, catalog: Catalog
) -> None:
    held = consider(parse(purpose="client"), catalog=catalog, policy=PEOPLE)
    assert isinstance(held, RenderHeld)
    assert held.choice.model == "sora-2-pro"
    models = [
        entry.model_copy(update={"retired": "2026-01-01"}) if entry.name == "sora-2-pro" else entry
        for entry in catalog.models
    ]
    later = catalog.model_copy(update={"models": tuple(models)})
    again = rule_after_approval(held, catalog=later, policy=PEOPLE)
    assert isinstance(again, RenderHeld)
    assert (again.choice.model, again.reason_codes) == ("sora-2", ("FOR_CLIENTS",))


def test_an_approval_is_priced_on_the_day_of_the_answer(parse: Parse, catalog: Catalog) -> None:
    dearer = priced(catalog, "sora-2", 100_000, 200_000)
    held = held_for_client(parse, dearer, priced_on=date(2026, 1, 31))
    assert held.choice.cost_usd_micros == 400_000
    again = rule_after_approval(held, catalog=dearer, policy=PEOPLE, priced_on=date(2026, 2, 1))
    assert isinstance(again, RenderHeld)
    assert (again.basis.inputs["priced_on"], again.choice.cost_usd_micros) == ("2026-02-01", 800_000)


def test_without_a_day_an_approval_is_priced_on_the_day_it_was_held(parse: Parse, catalog: Catalog) -> None:
    dearer = priced(catalog, "sora-2", 100_000, 200_000)
    held = held_for_client(parse, dearer, priced_on=date(2026, 1, 31))
    decided = rule_after_approval(held, catalog=dearer, policy=PEOPLE)
    assert isinstance(decided, RenderDecided)
    assert decided.cost_usd_micros == 400_000


def test_an_approved_render_is_paid_from_the_budgets_of_now(parse: Parse, catalog: Catalog) -> None:
    held = held_for_client(parse, catalog, budgets=("old",), budget_left_usd_micros=10**9)
    decided = rule_after_approval(held, catalog=catalog, policy=PEOPLE, budgets=["team", "demo"])
    assert isinstance(decided, RenderDecided)
    assert [hold.budget for hold in decided.holds] == ["demo", "team"]
    assert decided.basis.inputs["budget_left_usd_micros"] is None


def test_an_approved_render_is_denied_where_the_budgets_of_now_have_too_little(
    parse: Parse, catalog: Catalog
) -> None:
    held = held_for_client(parse, catalog, budgets=("old",))
    denied = rule_after_approval(
        held, catalog=catalog, policy=PEOPLE, budgets=["new"], budget_left_usd_micros=1
    )
    assert isinstance(denied, RenderDenied)
    assert denied.denial_trace.detail_code == "BUDGET_EXHAUSTED"


@pytest.mark.parametrize("left", [None, 10**9])
def test_without_budgets_an_approved_render_is_paid_from_those_of_then(
    parse: Parse, catalog: Catalog, left: int | None
) -> None:
    held = held_for_client(parse, catalog, budgets=("old",), budget_left_usd_micros=10**8)
    decided = rule_after_approval(held, catalog=catalog, policy=PEOPLE, budget_left_usd_micros=left)
    assert isinstance(decided, RenderDecided)
    assert [hold.budget for hold in decided.holds] == ["old"]
    assert decided.basis.inputs["budget_left_usd_micros"] == (left or 10**8)


@pytest.mark.parametrize(
    ("candidates", "wished", "chosen"),
    [
        ([("a", 5, 100), ("b", 9, 900)], None, "b"),
        ([("a", 5, 100), ("b", 9, 900)], "a", "a"),
        ([("a", 5, 300), ("b", 5, 200)], None, "b"),
        ([("b", 5, 200), ("a", 5, 200)], None, "a"),
    ],
    ids=["the highest score", "the one that was named", "then the lowest cost", "then the first name"],
)
def test_what_an_approval_is_for(
    parse: Parse,
    catalog: Catalog,
    candidates: list[tuple[str, int, int]],
    wished: str | None,
    chosen: str,
) -> None:
    held = held_for_client(parse, catalog)
    of_each = [
        Candidate(
            model=model, score=score, cost_usd_micros=cost, gates_passed=(), gates_failed=(), features={}
        )
        for model, score, cost in candidates
    ]
    inputs = {**held.basis.inputs, "wished_model": wished}
    basis = structs.replace(held.basis, candidates=tuple(of_each), inputs=inputs)
    assert structs.replace(held, basis=basis).choice.model == chosen


def test_each_reason_is_named_once_and_the_rule_that_wants_most_people_counts(
    parse: Parse, catalog: Catalog
) -> None:
    rules = [
        {"code": "THREE", "purposes": ["client"], "people": 3},
        {"code": "ONE", "models": ["sora-2"]},
        {"code": "NEVER", "purposes": ["final"], "people": 5},
    ]
    policy = Policy.model_validate({**default_policy().model_dump(), "approvals": rules})
    request = parse(purpose="client", model="sora-2")
    held = consider(request, catalog=catalog, policy=policy)
    assert isinstance(held, RenderHeld)
    assert (held.reason_codes, held.approvals_needed) == (("THREE", "ONE"), 3)
