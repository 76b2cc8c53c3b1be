"""What guardrails find in a request, what that does, and that it can be repeated without text or server."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.engine.approval import consider, consider_inputs, override, rule_after_approval
from decision.engine.explain import list_reasons, what_now
from decision.engine.guardrails import ModerationResult, ModerationStatus, find_in, result_in
from decision.engine.inputs import DecisionContext, Inputs
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.canonical import canonical_json
from ledger.events import Considered, RenderDecided, RenderDenied, RenderHeld
from tests.decision.rules.test_guardrails import guardrails, with_rules

Parse = Callable[..., RenderRequest]
Decide = Callable[..., Considered]

TEXT = """
[[terms]]
code = "NAMES"
then = "deny"
terms = ["Emma Watson", "Tom Hanks"]
[[terms]]
code = "MUSIC"
then = "hold"
terms = ["Thriller"]
[[terms]]
code = "BRANDS"
then = "warn"
terms = ["Acme"]
[moderation]
[[moderation.rules]]
code = "GORE"
then = "deny"
categories = ["violence/graphic"]
[[moderation.rules]]
code = "NEARLY"
then = "hold"
categories = ["violence/graphic"]
min_ppm = 300000
"""
CLEAN = ModerationResult(status=ModerationStatus.CHECKED, model="omni", ppm={"violence": 1200})


def moderation(flagged: tuple[str, ...] = (), **ppm: int) -> ModerationResult:
    scores = {name.replace("__", "/"): value for name, value in ppm.items()}
    return ModerationResult(status=ModerationStatus.CHECKED, model="omni", flagged=flagged, ppm=scores)


@pytest.fixture(scope="module")
def guarded(policy: Policy) -> Policy:
    return with_rules(policy, guardrails(TEXT), overridable=["TERM_NOT_ALLOWED"])


@pytest.fixture
def considered(parse: Parse, catalog: Catalog, guarded: Policy) -> Decide:
    def considered(
        prompt: str = "A cat", result: ModerationResult | None = CLEAN, **values: Any
    ) -> Considered:
        context = DecisionContext(moderation=result)
        return consider(parse(prompt=prompt, **values), catalog=catalog, policy=guarded, context=context)

    return considered


def codes(ruling: Considered) -> tuple[str, ...]:
    if isinstance(ruling, RenderDenied):
        return (ruling.denial_trace.detail_code,)
    return ruling.reason_codes


def test_a_term_that_denies_is_denied_with_its_rule_and_what_to_leave_out(
    considered: Decide, parse: Parse
) -> None:
    denied = considered("Emma Watson walks through Times Square with tom  hanks")
    assert isinstance(denied, RenderDenied)
    trace = denied.denial_trace
    assert (trace.detail_code, trace.found) == ("TERM_NOT_ALLOWED", "NAMES")
    assert (trace.code, trace.failed_invariant) == ("INVARIANT_VIOLATION", "INV_WITHIN_GUARDRAILS")
    [fix] = trace.minimal_fix
    assert (fix.field, fix.action, fix.value) == ("terms", "drop", "NAMES")
    request = parse(prompt="Emma Watson walks through Times Square with tom  hanks")
    [step] = what_now(denied, request)
    assert step == 'leave out "Emma Watson", "tom  hanks": the rule NAMES does not allow them'
    assert isinstance(considered("A woman walks through Times Square with a man"), RenderDecided)


def test_terms_are_searched_in_the_prompt_as_it_would_be_sent(considered: Decide) -> None:
    assert codes(considered("A stage", fields={"subject": "Emma Watson"})) == ("TERM_NOT_ALLOWED",)


def test_a_term_that_holds_waits_for_a_person_and_is_rendered_once_approved(
    considered: Decide, catalog: Catalog, guarded: Policy
) -> None:
    held = considered("A dance to Thriller")
    assert isinstance(held, RenderHeld)
    assert (held.reason_codes, held.approvals_needed) == (("MUSIC",), 1)
    assert "the prompt contains 1 term of the policy's rule MUSIC" in list_reasons(held)
    decided = rule_after_approval(held, catalog=catalog, policy=guarded)
    assert isinstance(decided, RenderDecided)
    assert {"APPROVED", "TERM_FOUND"} <= set(decided.reason_codes)


def test_a_term_that_warns_is_allowed_and_marked(considered: Decide) -> None:
    decided = considered("An Acme anvil")
    assert isinstance(decided, RenderDecided)
    assert "TERM_FOUND" in decided.reason_codes
    assert "warning: the prompt contains terms of the policy's rules BRANDS" in list_reasons(decided)


@pytest.mark.parametrize(
    ("result", "then"),
    [
        (moderation(("violence/graphic",), violence__graphic=990_000), ("MODERATION_FLAGGED",)),
        (moderation((), violence__graphic=300_000), ("NEARLY",)),
        (moderation(("harassment",), harassment=700_000), ("MODERATION_FLAGGED",)),
    ],
)
def test_what_a_server_flags_is_denied_or_held_by_the_rule_about_it(
    considered: Decide, result: ModerationResult, then: tuple[str, ...]
) -> None:
    assert codes(considered(result=result)) == then


def test_a_score_below_the_rule_is_no_finding(considered: Decide) -> None:
    decided = considered(result=moderation((), violence__graphic=299_999))
    assert "MODERATION_PASSED" in codes(decided)


def test_a_denial_by_moderation_says_what_the_server_found(considered: Decide) -> None:
    denied = considered(result=moderation(("violence/graphic",), violence__graphic=981_234))
    assert isinstance(denied, RenderDenied)
    assert list_reasons(denied)[0] == (
        "the server's moderation (omni) flagged violence/graphic 98 %; the policy's rule GORE denies that"
    )


@pytest.mark.parametrize("status", [each for each in ModerationStatus if each != "checked"])
@pytest.mark.parametrize(("purpose", "then"), [("draft", "ALLOW"), ("final", "HOLD"), ("client", "HOLD")])
def test_without_a_moderation_a_final_is_held_and_a_draft_is_marked(
    considered: Decide, status: ModerationStatus, purpose: str, then: str
) -> None:
    ruling = considered(result=ModerationResult(status=status), purpose=purpose)
    assert ruling.decision == then
    assert "MODERATION_MISSING" in codes(ruling)


def test_a_prompt_that_was_never_asked_about_is_not_allowed_in_silence(considered: Decide) -> None:
    ruling = considered(result=None, purpose="final")
    assert (ruling.decision, codes(ruling)) == ("HOLD", ("MODERATION_MISSING",))
    assert ruling.basis.inputs["moderation_status"] == "not_asked"


def test_a_policy_may_deny_what_was_not_moderated(policy: Policy, parse: Parse, catalog: Catalog) -> None:
    strict = with_rules(policy, guardrails('[moderation]\nunreachable = "deny"\n'))
    context = DecisionContext(moderation=ModerationResult(status=ModerationStatus.UNREACHABLE))
    denied = consider(parse(), catalog=catalog, policy=strict, context=context)
    assert isinstance(denied, RenderDenied)
    assert denied.denial_trace.detail_code == "MODERATION_MISSING"
    assert "it did not answer in time" in list_reasons(denied)[0]
    [fix] = denied.denial_trace.minimal_fix
    assert (fix.field, fix.action, fix.value) == ("moderation", "wait", "checked")


def test_a_denial_by_a_term_can_be_overridden_if_the_policy_says_so(
    considered: Decide, catalog: Catalog, guarded: Policy
) -> None:
    denied = considered("Emma Watson, who signed a contract")
    assert isinstance(denied, RenderDenied)
    decided = override(denied, "TERM_NOT_ALLOWED", catalog=catalog, policy=guarded)
    assert {"OVERRIDDEN", "TERM_FOUND"} <= set(codes(decided))


def test_attestation_stays_a_gate_of_its_own(guarded: Policy, parse: Parse, catalog: Catalog) -> None:
    both = guarded.model_copy(update={"require_attestation": True})
    denied = consider(parse(), catalog=catalog, policy=both, context=DecisionContext(moderation=CLEAN))
    assert codes(denied) == ("ATTESTATION_MISSING",)


def test_the_record_has_places_categories_and_whole_numbers_and_no_words(considered: Decide) -> None:
    ruling = considered("Emma Watson and Acme", moderation(("violence/graphic",), violence__graphic=900_001))
    inputs = ruling.basis.inputs
    assert inputs["guardrails"] == "BRANDS,GORE,NAMES,NEARLY"
    assert inputs["terms_found"] == "NAMES:17-28,BRANDS:33-37"
    assert inputs["moderation_flagged"] == "violence/graphic"
    assert inputs["moderation_ppm"] == "violence/graphic:900001"
    assert b"watson" not in canonical_json(ruling.as_json()).lower()


SCORES = st.dictionaries(
    st.sampled_from(["violence", "violence/graphic", "sexual"]), st.integers(0, 1_000_000)
)
RESULTS = st.none() | st.builds(
    ModerationResult,
    status=st.sampled_from(ModerationStatus),
    model=st.none() | st.just("omni"),
    flagged=st.lists(st.sampled_from(["violence/graphic", "sexual"]), unique=True).map(tuple),
    ppm=SCORES,
)
WORDS = st.lists(st.sampled_from(["Emma Watson", "Thriller", "Acme", "a cat", "naïve", "米老鼠"]), min_size=1)


@given(words=WORDS, result=RESULTS, purpose=st.sampled_from(["draft", "final"]))
def test_a_recorded_decision_is_repeated_from_its_inputs_alone(
    words: list[str],
    result: ModerationResult | None,
    purpose: str,
    parse: Parse,
    catalog: Catalog,
    guarded: Policy,
) -> None:
    request = parse(prompt=" ".join(words), purpose=purpose)
    context = DecisionContext(moderation=result)
    ruling = consider(request, catalog=catalog, policy=guarded, context=context)
    inputs = Inputs.model_validate(dict(ruling.basis.inputs))
    assert consider_inputs(inputs, catalog=catalog, policy=guarded) == ruling
    again = find_in(request.sent_prompt, guarded.guardrails, result_in(inputs.to_record()))
    assert again.items() >= {"guardrails": inputs.guardrails, "terms_found": inputs.terms_found}.items()


def test_a_policy_without_guardrails_records_nothing_of_them(
    policy: Policy, parse: Parse, catalog: Catalog
) -> None:
    bare = policy.model_copy(update={"guardrails": None})
    ruling = consider(parse(), catalog=catalog, policy=bare)
    assert not {"guardrails", "terms_found", "moderation_status"} & set(ruling.basis.inputs)
