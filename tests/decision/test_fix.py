"""The minimal fix: applied, it is allowed; and it is the smallest there is."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.decide import Ruling
from decision.policy import PURPOSES
from decision.remix import check_single_change
from decision.request import RenderRequest
from ledger.events import DenialTrace, Fix, RenderDecided, RenderDenied

Parse = Callable[..., RenderRequest]
Rule = Callable[..., Ruling]

SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024", "1080x1920", "1920x1080")
MONEY = st.one_of(st.none(), st.integers(0, 20_000_000))
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from(SIZES),
        "seconds": st.sampled_from([4, 8, 12, 16, 20]),
        "model": st.sampled_from(["auto", "sora-2", "sora-2-pro"]),
        "purpose": st.sampled_from(PURPOSES),
        "max_cost_usd_micros": st.integers(0, 20_000_000),
    },
)
SOURCES = st.fixed_dictionaries(
    {
        "status": st.sampled_from([None, "queued", "in_progress", "completed", "failed"]),
        "deleted": st.booleans(),
        "model": st.sampled_from(["sora-2", "sora-2-pro"]),
        "seconds": st.sampled_from([4, 20, 120]),
    }
)
PARTS = ["Make the coat red", "add a dog", "switch to anime style"]


def trace_of(ruling: Ruling) -> DenialTrace:
    assert isinstance(ruling, RenderDenied)
    return ruling.denial_trace


def apply(fix: Fix, asked: dict[str, Any], context: dict[str, Any]) -> None:
    """Do what the fix says, the way a person would who reads it."""
    if fix.field == "budget_left_usd_micros":
        context[fix.field] = fix.value
    elif (fix.field, fix.action) == ("source", "wait"):
        asked["source"]["status"] = fix.value
    elif (fix.field, fix.action) == ("operation", "set"):
        asked["operation"] = fix.value
    elif (fix.field, fix.action) == ("prompt", "split"):
        asked["prompt"] = PARTS[0]
    elif fix.action == "drop":
        asked.pop(fix.field)
    else:
        asked[fix.field] = fix.value


@given(wishes=WISHES, left=MONEY)
def test_the_minimal_fix_of_a_create_applied_is_allowed(
    parse: Parse, ruling: Rule, wishes: dict[str, Any], left: int | None
) -> None:
    context = {"budget_left_usd_micros": left}
    ruled = ruling(parse(**wishes), **context)
    for fix in ruled.denial_trace.minimal_fix if isinstance(ruled, RenderDenied) else ():
        apply(fix, wishes, context)
    assert isinstance(ruling(parse(**wishes), **context), RenderDecided)


@given(
    wishes=WISHES, source=SOURCES, left=MONEY, parts=st.lists(st.sampled_from(PARTS), min_size=1, unique=True)
)
def test_the_minimal_fix_of_a_remix_applied_is_allowed(  # four independent inputs
    parse: Parse,
    remix: Parse,
    ruling: Rule,
    wishes: dict[str, Any],
    source: dict[str, Any],
    left: int | None,
    parts: list[str],
) -> None:
    asked = {**wishes, "source": source, "prompt": ", then ".join(parts)}
    context = {"budget_left_usd_micros": left}
    ruled = ruling(remix(**asked), **context)
    for fix in ruled.denial_trace.minimal_fix if isinstance(ruled, RenderDenied) else ():
        apply(fix, asked, context)
    if asked.get("operation") == "create":
        asked.pop("source")
        assert isinstance(ruling(parse(**asked), **context), RenderDecided)
    else:
        assert isinstance(ruling(remix(**asked), **context), RenderDecided)


@pytest.mark.parametrize(
    ("values", "context", "fixes"),
    [
        ({"model": "sora-2", "size": "1792x1024"}, {}, [("model", "set", "sora-2-pro")]),
        (
            {"model": "sora-2", "size": "1792x1024", "max_cost_usd_micros": 500_000},
            {},
            [("size", "set", "1280x720")],
        ),
        (
            {"model": "sora-2-pro", "max_cost_usd_micros": 10},
            {},
            [("max_cost_usd_micros", "raise", 1_200_000)],
        ),
        ({"size": "1920x1080", "max_cost_usd_micros": 10}, {}, [("max_cost_usd_micros", "raise", 2_800_000)]),
        ({"model": "sora-2-pro"}, {"budget_left_usd_micros": 500_000}, [("model", "set", "sora-2")]),
        ({"seconds": 12}, {"budget_left_usd_micros": 900_000}, [("seconds", "set", 8)]),
        ({}, {"budget_left_usd_micros": 0}, [("budget_left_usd_micros", "raise", 400_000)]),
    ],
)
def test_the_fix_is_the_smallest_change(
    parse: Parse,
    ruling: Rule,
    values: dict[str, Any],
    context: dict[str, Any],
    fixes: list[tuple[str, str, str | int]],
) -> None:
    trace = trace_of(ruling(parse(**values), **context))
    assert [(fix.field, fix.action, fix.value) for fix in trace.minimal_fix] == fixes


@pytest.mark.parametrize(
    ("values", "fixes"),
    [
        ({"source": {"status": "queued"}}, [("source", "wait", "completed")]),
        ({"source": {"status": "failed"}}, [("operation", "set", "create")]),
        ({"source": {"deleted": True}, "size": "720x1280"}, [("operation", "set", "create")]),
        ({"model": "sora-2-pro", "seconds": 8}, [("model", "drop", None), ("seconds", "drop", None)]),
        ({"prompt": "Make it night, add a dog"}, [("prompt", "split", 2)]),
        ({"prompt": "Keep everything"}, [("prompt", "set", None)]),
    ],
)
def test_each_obstacle_of_a_remix_has_its_remedy(
    remix: Parse, ruling: Rule, values: dict[str, Any], fixes: list[tuple[str, str, str | int | None]]
) -> None:
    trace = trace_of(ruling(remix(**values)))
    assert [(fix.field, fix.action, fix.value) for fix in trace.minimal_fix] == fixes


@given(st.lists(st.sampled_from(PARTS), min_size=2, unique=True))
def test_each_part_of_a_split_is_a_single_change(parts: list[str]) -> None:
    prompt = ", and ".join(parts)
    changes = check_single_change(prompt).changes
    assert [check_single_change(prompt[part.start : part.end]).verdict for part in changes] == [
        "single"
    ] * len(parts)
