"""The score: fit, cost, minutes, risk and lineage, over what passed the gates and nothing else."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.engine.decide import DecisionContext, decide
from decision.request.request import RenderRequest, parse_request
from decision.rules.policy import default_policy
from decision.rules.purpose import PURPOSES
from decision.rules.toml import default_catalog
from ledger.events import RenderDecided

MODELS = ("sora-2", "sora-2-pro")
MEASURED = st.none() | st.dictionaries(st.sampled_from(MODELS), st.integers(0, 1_000_000))
CONTEXTS = st.fixed_dictionaries(
    {
        "deadline_minutes": st.none() | st.integers(0, 60),
        "median_seconds": MEASURED,
        "failure_ppm": MEASURED,
        "promotes_approved": st.none() | st.booleans(),
    }
)
REQUESTS = st.builds(
    lambda purpose, size, seconds: parse_request(
        catalog=default_catalog(),
        operation="create",
        prompt="a fox",
        purpose=purpose,
        size=size,
        seconds=seconds,
    ),
    st.sampled_from(PURPOSES),
    st.sampled_from(default_catalog().sizes),
    st.sampled_from(default_catalog().seconds),
)


def chosen(request: RenderRequest, **context: object) -> RenderDecided | None:
    known = DecisionContext.model_validate(context)
    ruling = decide(request, catalog=default_catalog(), policy=default_policy(), context=known)
    return ruling if isinstance(ruling, RenderDecided) else None


@pytest.fixture
def review(parse: Callable[..., RenderRequest]) -> RenderRequest:
    return parse(purpose="review")


@pytest.fixture
def final(parse: Callable[..., RenderRequest]) -> RenderRequest:
    return parse(purpose="final")


def model(decided: RenderDecided | None) -> str | None:
    return decided.model if decided else None


def test_a_model_that_would_miss_the_deadline_gives_way(final: RenderRequest) -> None:
    measured = {"sora-2": 60, "sora-2-pro": 900}
    assert model(chosen(final, median_seconds=measured)) == "sora-2-pro"
    assert model(chosen(final, median_seconds=measured, deadline_minutes=5)) == "sora-2"


def test_a_model_that_often_fails_gives_way_and_the_reason_is_reported(final: RenderRequest) -> None:
    decided = chosen(final, failure_ppm={"sora-2": 10_000, "sora-2-pro": 900_000})
    assert decided is not None
    assert decided.model == "sora-2"
    assert "FAILS_MORE_OFTEN" in decided.why_not_runner_up


def test_promoting_an_approved_draft_is_worth_the_dearer_model(parse: Callable[..., RenderRequest]) -> None:
    request = parse(purpose="final", size="1280x720")
    scores = {
        promotes: {item.model: item.score for item in decided.basis.candidates}
        for promotes in (False, True)
        if (decided := chosen(request, promotes_approved=promotes))
    }
    assert scores[True]["sora-2-pro"] > scores[False]["sora-2-pro"]
    assert scores[True]["sora-2"] == scores[False]["sora-2"]


def test_what_was_not_measured_leaves_record_and_score_as_they_were(review: RenderRequest) -> None:
    decided = chosen(review)
    assert decided is not None
    assert not {"deadline_minutes", "median_seconds", "failure_ppm"} & set(decided.basis.inputs)
    assert set(decided.basis.candidates[0].features) == {"fit", "cost_percent_of_cheapest"}


@given(REQUESTS, CONTEXTS, st.integers(0, 20_000_000), st.integers(0, 20_000_000))
def test_cheaper_never_becomes_dearer_when_the_budget_falls(
    request: RenderRequest, context: dict[str, object], one: int, other: int
) -> None:
    lower = chosen(request, **context, budget_left_usd_micros=min(one, other))
    higher = chosen(request, **context, budget_left_usd_micros=max(one, other))
    assert lower is None or (higher is not None and lower.cost_usd_micros <= higher.cost_usd_micros)


@given(REQUESTS, CONTEXTS, st.none() | st.integers(0, 20_000_000))
def test_no_candidate_that_failed_a_gate_is_ever_chosen(
    request: RenderRequest, context: dict[str, object], budget: int | None
) -> None:
    decided = chosen(request, **context, budget_left_usd_micros=budget)
    if decided:
        [winner] = [item for item in decided.basis.candidates if item.model == decided.model]
        assert winner.gates_failed == ()


@given(REQUESTS, CONTEXTS)
def test_the_same_inputs_in_another_order_give_the_same_id(
    request: RenderRequest, context: dict[str, object]
) -> None:
    turned = {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value
        for name, value in reversed(context.items())
    }
    one, other = chosen(request, **context), chosen(request, **turned)
    assert (one and one.basis.decision_id) == (other and other.basis.decision_id)
