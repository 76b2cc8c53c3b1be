"""The decision: gates first, then a score; the event says everything it was made with."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.engine.decide import ENGINE, decide, rule
from decision.engine.inputs import Inputs
from decision.errors import BadRequest
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy, UnclearChange
from decision.rules.purpose import PURPOSES
from ledger.canonical import canonical_json
from ledger.events import RenderDecided, RenderDenied, Ruling
from ledger.terms import DenialCode

Parse = Callable[..., RenderRequest]
Rule = Callable[..., Ruling]

SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024", "1080x1920", "1920x1080")
MONEY = st.one_of(st.none(), st.integers(0, 20_000_000))
REQUESTS = st.fixed_dictionaries(
    {
        "size": st.sampled_from(SIZES),
        "seconds": st.sampled_from([4, 8, 12, 16, 20]),
        "model": st.sampled_from(["auto", "sora-2", "sora-2-pro"]),
        "purpose": st.sampled_from(PURPOSES),
        "max_cost_usd_micros": MONEY,
    }
)


def allowed(ruling: Ruling) -> RenderDecided:
    assert isinstance(ruling, RenderDecided)
    return ruling


def denied(ruling: Ruling) -> RenderDenied:
    assert isinstance(ruling, RenderDenied)
    return ruling


@pytest.mark.parametrize("purpose", ["draft", "concept", "iteration", "social", "review"])
def test_a_purpose_like_a_draft_selects_sora_2(parse: Parse, ruling: Rule, purpose: str) -> None:
    assert allowed(ruling(parse(purpose=purpose))).model == "sora-2"


@pytest.mark.parametrize("purpose", ["final", "marketing", "cinematic", "client"])
def test_a_purpose_that_is_shown_selects_pro(parse: Parse, ruling: Rule, purpose: str) -> None:
    assert allowed(ruling(parse(purpose=purpose))).model == "sora-2-pro"


@pytest.mark.parametrize("size", SIZES[2:])
def test_a_size_only_pro_offers_selects_pro(parse: Parse, ruling: Rule, size: str) -> None:
    decided = allowed(ruling(parse(size=size)))
    assert (decided.model, decided.reason_codes) == ("sora-2-pro", ("ONLY_ONE_PASSED_GATES",))


def test_an_explicit_model_is_honoured(parse: Parse, ruling: Rule) -> None:
    assert allowed(ruling(parse(model="sora-2", purpose="final"))).model == "sora-2"


def test_an_explicit_model_does_not_hide_what_the_policy_would_have_chosen(
    parse: Parse, ruling: Rule
) -> None:
    decided = allowed(ruling(parse(model="sora-2", purpose="final")))
    assert decided.policy_choice == "sora-2-pro"
    assert decided.reason_codes == ("EXPLICIT_MODEL", "POLICY_WOULD_CHOOSE_OTHER")


def test_the_event_holds_every_candidate_with_its_cost(parse: Parse, ruling: Rule) -> None:
    costs = {item.model: item.cost_usd_micros for item in ruling(parse(seconds=8)).basis.candidates}
    assert costs == {"sora-2": 800_000, "sora-2-pro": 2_400_000}


def test_the_runner_up_is_named_with_the_reason(parse: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(parse()))
    assert (decided.runner_up, decided.why_not_runner_up) == ("sora-2-pro", ("LOWER_SCORE", "COSTS_MORE"))


def test_a_gated_runner_up_is_named_with_the_gate(parse: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(parse(size="1792x1024")))
    assert (decided.runner_up, decided.why_not_runner_up) == ("sora-2", ("SIZE_NOT_OFFERED",))


def test_the_cost_is_reserved_in_every_budget(parse: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(parse(), budgets=("team", "spring"), budget_left_usd_micros=400_000))
    assert [(hold.budget, hold.usd_micros) for hold in decided.holds] == [
        ("spring", 400_000),
        ("team", 400_000),
    ]


def test_a_limit_keeps_the_dearer_model_out(parse: Parse, ruling: Rule) -> None:
    assert allowed(ruling(parse(purpose="final", max_cost_usd_micros=500_000))).model == "sora-2"


@pytest.mark.parametrize(
    ("values", "context", "detail_code", "code", "invariant"),
    [
        (
            {"model": "sora-2", "size": "1920x1080"},
            {},
            "SIZE_NOT_OFFERED",
            DenialCode.INVARIANT_VIOLATION,
            "INV_OFFERED_BY_MODEL",
        ),
        (
            {"max_cost_usd_micros": 1},
            {},
            "COST_ABOVE_LIMIT",
            DenialCode.COST_BOUND_EXCEEDED,
            "INV_COST_WITHIN_LIMIT",
        ),
        (
            {},
            {"budget_left_usd_micros": -5},
            "BUDGET_EXHAUSTED",
            DenialCode.COST_BOUND_EXCEEDED,
            "INV_COST_WITHIN_BUDGET",
        ),
    ],
)
def test_a_gated_request_is_denied_with_its_reason(
    parse: Parse,
    ruling: Rule,
    values: dict[str, Any],
    context: dict[str, Any],
    detail_code: str,
    code: str,
    invariant: str,
) -> None:
    trace = denied(ruling(parse(**values), **context)).denial_trace
    assert (trace.detail_code, trace.code, trace.failed_invariant) == (detail_code, code, invariant)


def test_the_reason_is_that_of_the_candidate_that_came_nearest(parse: Parse, ruling: Rule) -> None:
    ruled = ruling(parse(max_cost_usd_micros=500_000), budget_left_usd_micros=100_000)
    trace = denied(ruled).denial_trace
    assert (trace.detail_code, trace.found) == ("BUDGET_EXHAUSTED", "0.40 USD")


def test_a_candidate_with_a_price_is_nearer_than_one_without(parse: Parse, ruling: Rule) -> None:
    trace = denied(ruling(parse(size="1792x1024", max_cost_usd_micros=500_000))).denial_trace
    assert (trace.detail_code, trace.found) == ("COST_ABOVE_LIMIT", "2.00 USD")


def test_an_explicit_model_that_is_gated_is_denied_and_not_replaced(parse: Parse, ruling: Rule) -> None:
    trace = denied(ruling(parse(model="sora-2", size="1792x1024"))).denial_trace
    assert (trace.expected, trace.found) == ("720x1280, 1280x720", "1792x1024")


def test_seconds_the_wished_model_does_not_offer_are_denied(
    catalog: Catalog, policy: Policy, parse: Parse
) -> None:
    sora_2, pro = catalog.models
    short = sora_2.model_copy(update={"seconds_offers": sora_2.seconds_offers[:1]})
    shorter_catalog = catalog.model_copy(update={"models": (short, pro)})
    ruled = decide(parse(model="sora-2", seconds=20), catalog=shorter_catalog, policy=policy)
    assert denied(ruled).denial_trace.detail_code == "SECONDS_NOT_OFFERED"


@pytest.mark.parametrize(
    ("source", "detail_code"),
    [
        ({"status": "queued"}, "SOURCE_NOT_COMPLETED"),
        ({"status": "in_progress"}, "SOURCE_NOT_COMPLETED"),
        ({"status": None}, "SOURCE_NOT_COMPLETED"),
        ({"status": "failed"}, "SOURCE_FAILED"),
        ({"deleted": True}, "SOURCE_DELETED"),
        ({"model": "dreamer-1"}, "PRICE_UNKNOWN"),
    ],
)
def test_a_remix_of_a_video_that_cannot_be_changed_is_denied(
    remix: Parse, ruling: Rule, source: dict[str, Any], detail_code: str
) -> None:
    assert denied(ruling(remix(source=source))).denial_trace.detail_code == detail_code


@pytest.mark.parametrize(
    ("wish", "detail_code"),
    [
        ({"model": "sora-2-pro"}, "MODEL_FIXED_BY_SOURCE"),
        ({"size": "720x1280"}, "SIZE_FIXED_BY_SOURCE"),
        ({"seconds": 8}, "SECONDS_FIXED_BY_SOURCE"),
    ],
)
def test_a_remix_that_wants_another_shape_is_denied(
    remix: Parse, ruling: Rule, wish: dict[str, Any], detail_code: str
) -> None:
    assert denied(ruling(remix(**wish))).denial_trace.detail_code == detail_code


def test_a_remix_that_names_the_shape_of_its_source_is_allowed(remix: Parse, ruling: Rule) -> None:
    assert allowed(ruling(remix(model="sora-2", size="1280x720", seconds=4))).model == "sora-2"


def test_a_remix_keeps_the_model_of_its_source_whatever_the_purpose(remix: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(remix(purpose="final")))
    assert (decided.model, decided.reason_codes) == ("sora-2", ("MODEL_OF_SOURCE", "SINGLE_CHANGE"))


def test_a_remix_that_changes_several_things_is_denied_with_each_change(remix: Parse, ruling: Rule) -> None:
    trace = denied(ruling(remix(prompt="Make the coat red and add a dog"))).denial_trace
    assert (trace.detail_code, trace.failed_invariant) == ("SEVERAL_CHANGES", "INV_SINGLE_CHANGE_REMIX")
    assert [(change.start, change.end) for change in trace.changes] == [(0, 17), (22, 31)]


def test_a_remix_that_changes_nothing_is_denied(remix: Parse, ruling: Rule) -> None:
    trace = denied(ruling(remix(prompt="Same shot and framing"))).denial_trace
    assert trace.detail_code == "NO_CHANGE_FOUND"


UNCLEAR = "Make it better"


def test_a_remix_whose_change_is_unclear_is_denied(remix: Parse, ruling: Rule) -> None:
    trace = denied(ruling(remix(prompt=UNCLEAR))).denial_trace
    [fix] = trace.minimal_fix
    assert (trace.detail_code, trace.failed_invariant) == ("CHANGE_UNCLEAR", "INV_SINGLE_CHANGE_REMIX")
    assert (fix.field, fix.action, fix.value) == ("declared_change", "set", "subject")


def test_a_remix_whose_one_change_is_declared_is_allowed_and_says_so(remix: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(remix(prompt=UNCLEAR, declared_change="lighting")))
    assert decided.reason_codes == ("MODEL_OF_SOURCE", "SINGLE_CHANGE_DECLARED")
    assert decided.basis.inputs["declared_change"] == "lighting"


def test_a_declaration_does_not_make_several_changes_one(remix: Parse, ruling: Rule) -> None:
    several = remix(prompt="Make the coat red and add a dog", declared_change="subject")
    assert denied(ruling(several)).denial_trace.detail_code == "SEVERAL_CHANGES"


def test_only_a_remix_declares_its_change(parse: Parse) -> None:
    with pytest.raises(BadRequest, match="declare_change is for a remix"):
        parse(declared_change="lighting")


def test_a_declared_change_is_one_of_the_known_aspects(remix: Parse) -> None:
    with pytest.raises(BadRequest, match=r"declare_change.*lighting"):
        remix(declared_change="light")


def test_a_policy_may_let_unclear_changes_pass_and_they_are_marked(
    catalog: Catalog, policy: Policy, remix: Parse
) -> None:
    lenient = policy.model_copy(update={"unclear_change": UnclearChange.ALLOW})
    decided = allowed(decide(remix(prompt=UNCLEAR), catalog=catalog, policy=lenient))
    assert "SINGLE_CHANGE_NOT_ESTABLISHED" in decided.reason_codes


def test_a_trace_locates_no_more_changes_than_a_record_can_hold(remix: Parse, ruling: Rule) -> None:
    refused = denied(ruling(remix(prompt="make the car red, " * 1_000)))
    assert (len(refused.denial_trace.changes), refused.basis.inputs["change_count"]) == (50, 1_000)


def test_no_words_of_the_prompt_are_in_the_event(remix: Parse, ruling: Rule) -> None:
    refused = ruling(remix(prompt="Make the xylophone red and add a zeppelin", fields={"style": "quagga"}))
    assert not {word for word in ("xylophone", "zeppelin", "quagga") if word in json.dumps(refused.as_json())}


def test_the_basis_names_policy_catalog_and_engine(
    catalog: Catalog, policy: Policy, parse: Parse, ruling: Rule
) -> None:
    basis = ruling(parse()).basis
    assert (basis.policy_sha256, basis.catalog_sha256, basis.engine) == (
        policy.digest,
        catalog.digest,
        ENGINE,
    )


def test_a_ruling_is_canonical(parse: Parse, ruling: Rule) -> None:
    payload = ruling(parse(), budgets=("team",)).as_json()
    assert json.loads(canonical_json(payload)) == payload


def test_a_ruling_can_be_made_again_from_its_recorded_inputs(
    catalog: Catalog, policy: Policy, remix: Parse, ruling: Rule
) -> None:
    first = ruling(remix(), budgets=("team",), budget_left_usd_micros=9_000_000)
    recorded = Inputs.model_validate(json.loads(json.dumps(first.basis.inputs)))
    assert rule(recorded, catalog=catalog, policy=policy) == first


def test_a_wished_model_the_catalog_no_longer_has_is_denied(
    catalog: Catalog, policy: Policy, parse: Parse
) -> None:
    smaller = catalog.model_copy(update={"models": catalog.models[:1]})
    refused = denied(decide(parse(model="sora-2-pro"), catalog=smaller, policy=policy))
    assert [fix.value for fix in refused.denial_trace.minimal_fix] == ["sora-2"]


def test_other_words_do_not_change_the_id(parse: Parse, ruling: Rule) -> None:
    ids = {ruling(parse(prompt=prompt)).basis.decision_id for prompt in ("a cat", "a dog")}
    assert len(ids) == 1


def test_another_purpose_changes_the_id(parse: Parse, ruling: Rule) -> None:
    assert ruling(parse()).basis.decision_id != ruling(parse(purpose="final")).basis.decision_id


@given(values=REQUESTS, data=st.data())
def test_the_order_of_the_inputs_does_not_change_the_id(
    parse: Parse, ruling: Rule, values: dict[str, Any], data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(values.items()))))
    first = ruling(parse(**values), budgets=("a", "b"))
    second = ruling(parse(**shuffled), budgets=("b", "a"))
    assert first.basis.decision_id == second.basis.decision_id


@given(values=REQUESTS, left=MONEY)
def test_no_candidate_that_failed_a_gate_is_chosen(
    parse: Parse, ruling: Rule, values: dict[str, Any], left: int | None
) -> None:
    ruled = ruling(parse(**values), budget_left_usd_micros=left)
    chosen = [ruled.model, ruled.policy_choice] if isinstance(ruled, RenderDecided) else []
    gated = {item.model for item in ruled.basis.candidates if item.gates_failed}
    assert not gated & set(chosen)


@given(values=REQUESTS, left=MONEY)
def test_only_candidates_that_passed_every_gate_have_a_score(
    parse: Parse, ruling: Rule, values: dict[str, Any], left: int | None
) -> None:
    candidates = ruling(parse(**values), budget_left_usd_micros=left).basis.candidates
    assert all((item.score is None) == bool(item.gates_failed) for item in candidates)


@given(values=REQUESTS, budgets=st.tuples(st.integers(0, 20_000_000), st.integers(0, 20_000_000)))
def test_a_lower_budget_never_chooses_a_dearer_model(
    parse: Parse, ruling: Rule, values: dict[str, Any], budgets: tuple[int, int]
) -> None:
    lower, higher = (ruling(parse(**values), budget_left_usd_micros=left) for left in sorted(budgets))
    if isinstance(lower, RenderDecided):
        assert lower.cost_usd_micros <= allowed(higher).cost_usd_micros


def test_a_cheaper_runner_up_is_not_reported_to_cost_more(
    parse: Callable[..., RenderRequest], catalog: Catalog, policy: Policy
) -> None:
    decided = decide(parse(purpose="final"), catalog=catalog, policy=policy)
    assert isinstance(decided, RenderDecided)
    assert (decided.model, decided.runner_up, decided.why_not_runner_up) == (
        "sora-2-pro",
        "sora-2",
        ("LOWER_SCORE",),
    )
