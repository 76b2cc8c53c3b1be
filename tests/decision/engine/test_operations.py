"""Edits, extensions, snapshots, and what a server or a policy asks besides."""

from collections.abc import Callable
from typing import Any

import pytest

from decision.engine.decide import decide
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from decision.rules.purpose import PURPOSES
from ledger.events import RenderDecided, RenderDenied, Ruling
from ledger.terms import DenialCode

Parse = Callable[..., RenderRequest]
Rule = Callable[..., Ruling]


def allowed(ruling: Ruling) -> RenderDecided:
    assert isinstance(ruling, RenderDecided)
    return ruling


def denied(ruling: Ruling) -> RenderDenied:
    assert isinstance(ruling, RenderDenied)
    return ruling


@pytest.mark.parametrize("operation", ["edit", "extend"])
@pytest.mark.parametrize(
    ("source", "detail_code"),
    [
        ({"status": "in_progress"}, "SOURCE_NOT_COMPLETED"),
        ({"status": "failed"}, "SOURCE_FAILED"),
        ({"deleted": True}, "SOURCE_DELETED"),
        ({"model": "dreamer-1"}, "PRICE_UNKNOWN"),
    ],
)
def test_an_edit_or_extension_needs_a_completed_source_too(
    remix: Parse, ruling: Rule, operation: str, source: dict[str, Any], detail_code: str
) -> None:
    seconds = 4 if operation == "extend" else None
    refused = denied(ruling(remix(operation=operation, seconds=seconds, source=source)))
    assert refused.denial_trace.detail_code == detail_code


def test_an_edit_costs_as_much_as_its_source(edit: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(edit(source={"model": "sora-2-pro", "size": "1792x1024", "seconds": 12})))
    assert (decided.model, decided.cost_usd_micros) == ("sora-2-pro", 6_000_000)


def test_an_edit_of_several_changes_is_allowed_and_flagged(edit: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(edit(prompt="Make the coat red and add a dog")))
    assert decided.reason_codes == ("MODEL_OF_SOURCE", "EDIT_OF_SEVERAL_CHANGES")
    assert decided.basis.inputs["change_aspects"] == "palette:1,subject:1"


def test_an_edit_without_a_change_is_allowed_and_flagged(edit: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(edit(prompt="Same shot and framing")))
    assert decided.reason_codes == ("MODEL_OF_SOURCE", "EDIT_OF_NO_CHANGE_FOUND")


def test_an_edit_of_a_file_chooses_among_the_models_that_offer_its_size(
    edit_file: Parse, ruling: Rule
) -> None:
    decided = allowed(ruling(edit_file(source_file={"size": "1920x1080", "seconds": 5})))
    assert (decided.model, decided.cost_usd_micros) == ("sora-2-pro", 3_500_000)
    assert decided.reason_codes == ("ONLY_ONE_PASSED_GATES", "SINGLE_CHANGE")


@pytest.mark.parametrize(
    ("wish", "detail_code"), [({"size": "720x1280"}, "SIZE_FIXED"), ({"seconds": 8}, "SECONDS_FIXED")]
)
def test_an_edit_of_a_file_keeps_its_shape(
    edit_file: Parse, ruling: Rule, wish: dict[str, Any], detail_code: str
) -> None:
    assert denied(ruling(edit_file(**wish))).denial_trace.detail_code == f"{detail_code}_BY_SOURCE"


def test_an_extension_costs_what_it_adds(extend: Parse, ruling: Rule) -> None:
    decided = allowed(ruling(extend(source={"model": "sora-2-pro", "seconds": 20}, seconds=8)))
    assert (decided.model, decided.cost_usd_micros) == ("sora-2-pro", 2_400_000)
    assert decided.reason_codes == ("MODEL_OF_SOURCE",)


@pytest.mark.parametrize(
    ("source", "seconds", "detail_code"),
    [
        ({"extensions": 6}, 4, "EXTENDED_TOO_OFTEN"),
        ({"extensions": 5, "seconds": 104}, 20, "EXTENDED_TOO_FAR"),
    ],
)
def test_a_source_over_its_limits_is_not_extended(
    extend: Parse, ruling: Rule, source: dict[str, Any], seconds: int, detail_code: str
) -> None:
    trace = denied(ruling(extend(source=source, seconds=seconds))).denial_trace
    assert (trace.detail_code, trace.failed_invariant) == (detail_code, "INV_EXTENSION_WITHIN_LIMITS")


def test_a_source_up_to_its_limits_is_extended(extend: Parse, ruling: Rule) -> None:
    assert allowed(ruling(extend(source={"extensions": 5, "seconds": 100}, seconds=20))).model == "sora-2"


@pytest.mark.parametrize("model", ["sora-2-2025-10-06", "sora-2-2025-12-08", "sora-2-pro-2025-10-06"])
def test_a_snapshot_is_chosen_when_it_is_asked_for(parse: Parse, ruling: Rule, model: str) -> None:
    decided = allowed(ruling(parse(model=model)))
    assert decided.model == model
    assert [item.model for item in decided.basis.candidates] == ["sora-2", "sora-2-pro", model]


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_snapshot_nobody_asked_for_is_no_candidate(parse: Parse, ruling: Rule, purpose: str) -> None:
    candidates = {item.model for item in ruling(parse(purpose=purpose)).basis.candidates}
    assert candidates == {"sora-2", "sora-2-pro"}


@pytest.mark.parametrize(
    ("values", "context", "expected", "found"),
    [
        ({}, {"operations_offered": ("remix", "list")}, "list, remix", "create"),
        ({"character_ids": ["char_1"]}, {"operations_offered": ("create",)}, "create", "character"),
        ({"options": {"seed": 1, "loop": True}}, {"options_offered": ("seed",)}, "seed", "loop"),
        ({"options": {"seed": 1, "loop": True}}, {"options_offered": ()}, "none", "loop, seed"),
        ({"reference_url": "https://a.test/b.png"}, {"options_offered": ()}, "none", "url"),
        ({"reference_file_id": "file_1"}, {"options_offered": ("url",)}, "url", "file_id"),
    ],
)
def test_what_the_profile_does_not_offer_is_denied(
    parse: Parse, ruling: Rule, values: dict[str, Any], context: dict[str, Any], expected: str, found: str
) -> None:
    trace = denied(ruling(parse(**values), **context)).denial_trace
    assert trace.failed_invariant == "INV_OFFERED_BY_PROFILE"
    assert (trace.expected, trace.found) == (expected, found)


def test_an_edit_of_a_file_needs_more_than_an_edit(edit: Parse, edit_file: Parse, ruling: Rule) -> None:
    assert allowed(ruling(edit(), operations_offered=("edit",))).model == "sora-2"
    trace = denied(ruling(edit_file(), operations_offered=("edit",))).denial_trace
    assert (trace.detail_code, trace.found) == ("OPERATION_NOT_OFFERED", "edit_upload")


def test_nothing_is_refused_for_a_profile_nobody_described(parse: Parse, ruling: Rule) -> None:
    assert allowed(ruling(parse(options={"seed": 1}, character_ids=["char_1"]))).model == "sora-2"


def test_the_order_of_what_is_offered_does_not_change_the_id(parse: Parse, ruling: Rule) -> None:
    orders = (("create", "remix"), ("remix", "create"))
    assert len({ruling(parse(), operations_offered=order).basis.decision_id for order in orders}) == 1


def test_a_policy_may_require_an_attestation(catalog: Catalog, policy: Policy, parse: Parse) -> None:
    strict = policy.model_copy(update={"require_attestation": True})
    trace = denied(decide(parse(), catalog=catalog, policy=strict)).denial_trace
    assert (trace.detail_code, trace.code) == ("ATTESTATION_MISSING", DenialCode.MISSING_CANON_PREREQS)
    assert allowed(decide(parse(attested=True), catalog=catalog, policy=strict)).model == "sora-2"
