"""What may be planned, and in which order it happens."""

import pytest

from sora_adapter.sandbox.faults import Faults, parse_fault
from sora_adapter.sandbox.wire.refusals import REFUSALS


@pytest.mark.parametrize(
    "spec",
    [
        "create=lost",
        "create=kept-but-answer-lost:1",
        "retrieve=429@7:2",
        "list=503",
        "delete=kept-but-502:1",
        "get-character=slow@0.5",
        "content=reset:1",
        "content=truncated",
        "extend=stuck@40:1",
        "edit=failing@moderation_blocked",
        "webhook=late@3",
        "webhook=out-of-order:1",
    ],
)
def test_a_fault_is_written_as_it_is_read(spec: str) -> None:
    assert str(parse_fault(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("lost", "expected one like create=kept-but-answer-lost:1"),
        ("create=lost:often", "expected one like"),
        ("destroy=lost", r"unknown operation destroy \(known: create, list"),
        ("create=melted", r"create has no fault melted \(known: none, lost"),
        ("retrieve=stuck@40", "retrieve has no fault stuck"),
        ("webhook=429", r"webhook has no fault 429 \(known: none, lost, doubled"),
        ("create=slow", "slow needs a number, as in create=slow@2"),
        ("create=429@soon", "429 needs a number"),
    ],
)
def test_what_cannot_happen_is_refused_with_what_can(spec: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_fault(spec)


def test_a_plan_with_a_mistake_plans_nothing() -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="not a fault"):
        faults.add(["create=lost", "oops"])
    assert faults.list_planned() == []


def _kinds(faults: Faults, operation: str, times: int) -> list[str | None]:
    found = [faults.next(operation) for _ in range(times)]
    return [fault.kind if fault else None for fault in found]


def test_a_counted_fault_happens_that_often() -> None:
    assert _kinds(Faults(["create=lost:2"]), "create", 3) == ["lost", "lost", None]


def test_a_fault_without_a_count_goes_on() -> None:
    assert _kinds(Faults(["create=lost"]), "create", 3) == ["lost"] * 3


def test_a_fault_concerns_its_operation_only() -> None:
    faults = Faults(["create=lost:1"])
    assert _kinds(faults, "retrieve", 1) + _kinds(faults, "create", 1) == [None, "lost"]


def test_faults_of_one_operation_happen_in_the_order_they_were_asked_for() -> None:
    assert _kinds(Faults(["create=503:1", "create=lost:1"]), "create", 3) == ["503", "lost", None]


def test_none_lets_requests_through_before_the_next_fault() -> None:
    assert _kinds(Faults(["create=none:2", "create=lost:1"]), "create", 4) == [None, None, "lost", None]


def test_what_is_left_of_a_plan_can_be_read() -> None:
    faults = Faults(["create=lost:2", "list=503"])
    faults.next("create")
    assert faults.list_planned() == ["create=lost:1", "list=503"]


def test_clearing_ends_faults_and_fates() -> None:
    faults = Faults(["create=lost"])
    faults.befall("video_1", parse_fault("create=stuck@40"))
    faults.clear()
    assert (faults.next("create"), faults.fate_of("video_1")) == (None, None)


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_is_asked_for_by_its_code(code: str) -> None:
    assert str(parse_fault(f"create=refused@{code}:2")) == f"create=refused@{code}:2"


@pytest.mark.parametrize("spec", ["create=refused", "create=refused@bad_mood"])
def test_a_refusal_without_a_code_it_knows_lists_them(spec: str) -> None:
    with pytest.raises(ValueError, match=r"refused needs a code .known: invalid_api_key, not_verified"):
        parse_fault(spec)
