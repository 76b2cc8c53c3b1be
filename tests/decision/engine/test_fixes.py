"""The minimal fix: applied, it is allowed; and it is the smallest there is."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.engine.decide import DecisionContext, decide
from decision.one_change.verdict import check_single_change
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import FaceRule, Policy
from decision.rules.purpose import PURPOSES
from ledger.events import DenialTrace, Fix, RenderDecided, RenderDenied, Ruling

Parse = Callable[..., RenderRequest]
Rule = Callable[..., Ruling]

SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024", "1080x1920", "1920x1080")
MONEY = st.one_of(st.none(), st.integers(0, 20_000_000))
LENGTHS = st.sampled_from([4, 8, 12, 16, 20])
FILE = {"name": "clip.mp4", "sha256": "0" * 64, "media_type": "video/mp4", "bytes": 9}
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from(SIZES),
        "seconds": LENGTHS,
        "model": st.sampled_from(["auto", "sora-2", "sora-2-pro", "sora-2-2025-12-08"]),
        "purpose": st.sampled_from(PURPOSES),
        "max_cost_usd_micros": st.integers(0, 20_000_000),
    },
)
SOURCES = st.fixed_dictionaries(
    {
        "video_id": st.just("video_0"),
        "status": st.sampled_from([None, "queued", "in_progress", "completed", "completed", "failed"]),
        "deleted": st.sampled_from([False, False, True]),
        "model": st.sampled_from(["sora-2", "sora-2-pro", "sora-2-pro-2025-10-06"]),
        "size": st.sampled_from(["720x1280", "1280x720"]),
        "seconds": st.sampled_from([4, 20, 104, 112, 116, 120]),
        "extensions": st.integers(0, 7),
    }
)
MATERIAL = st.fixed_dictionaries(
    {},
    optional={
        "options": st.sampled_from([{"seed": 1}, {"loop": True}, {"seed": 1, "loop": True}]),
        "character_ids": st.just(["char_1"]),
        "reference_url": st.just("https://example.test/a.png"),
    },
)
OFFERS = st.sampled_from(["create", "remix", "edit", "edit_upload", "extend", "character", "list"])
CONTEXTS = st.fixed_dictionaries(
    {
        "budget_left_usd_micros": MONEY,
        "draft_approved": st.sampled_from([None, False, True]),
        "operations_offered": st.one_of(st.none(), st.lists(OFFERS)),
        "options_offered": st.one_of(st.none(), st.lists(st.sampled_from(["seed", "loop", "url"]))),
    }
)
PARTS = ["Make the coat red", "add a dog", "switch to anime style"]


def trace_of(ruling: Ruling) -> DenialTrace:
    assert isinstance(ruling, RenderDenied)
    return ruling.denial_trace


def apply(fix: Fix, asked: dict[str, Any], context: dict[str, Any]) -> None:  # noqa: C901  # one per kind
    """Do what the fix says, the way a person would who reads it."""
    match fix.field, fix.action:
        case "budget_left_usd_micros", _:
            context[fix.field] = fix.value
        case "profile", "set":
            context.update(operations_offered=None, options_offered=None)
        case "source", "wait":
            asked["source"] = {**asked["source"], "status": fix.value}
        case "operation", "set":
            asked["operation"] = fix.value
            asked.pop("source")
        case "prompt", "split":
            asked["prompt"] = PARTS[0]
        case "draft", "wait":
            context["draft_approved"] = True
        case "reference_faces", "set":
            asked["input_reference"] = {**asked["input_reference"], "faces": "none"}
        case "attested", "set":
            asked["attested"] = True
        case "seed" | "loop", "drop":
            asked["options"] = {key: value for key, value in asked["options"].items() if key != fix.field}
        case field, "drop":
            asked.pop(field)
        case field, _:
            asked[field] = fix.value


@pytest.fixture(scope="session")
def assert_fix_is_allowed(catalog: Catalog, policy: Policy, parse: Parse) -> Callable[..., None]:
    def assert_fix_is_allowed(asked: dict[str, Any], context: dict[str, Any], *, strict: bool) -> None:
        own = policy.model_copy(
            update={
                "require_attestation": strict,
                "require_approved_draft": ("final", "draft") if strict else None,
            }
        )

        def rule() -> Ruling:
            return decide(parse(**asked), catalog=catalog, policy=own, context=DecisionContext(**context))

        ruled = rule()
        for fix in ruled.denial_trace.minimal_fix if isinstance(ruled, RenderDenied) else ():
            apply(fix, asked, context)
        assert isinstance(rule(), RenderDecided)

    return assert_fix_is_allowed


@given(wishes=WISHES, material=MATERIAL, context=CONTEXTS, strict=st.booleans())
def test_the_minimal_fix_of_a_create_applied_is_allowed(
    assert_fix_is_allowed: Callable[..., None],
    wishes: dict[str, Any],
    material: dict[str, Any],
    context: dict[str, Any],
    strict: bool,  # noqa: FBT001  # hypothesis names its arguments
) -> None:
    assert_fix_is_allowed({**wishes, **material}, context, strict=strict)


@given(
    wishes=WISHES.map(lambda wishes: {key: value for key, value in wishes.items() if key != "size"}),
    faces=st.sampled_from(["none", "found", "not_checked"]),
    rule=st.sampled_from(["ignore", "warn", "block", "require"]),
)
def test_the_minimal_fix_of_a_face_in_the_image_applied_is_allowed(
    catalog: Catalog, policy: Policy, parse: Parse, wishes: dict[str, Any], faces: str, rule: str
) -> None:
    image = {"name": "a.png", "sha256": "0" * 64, "media_type": "image/png", "bytes": 9, "faces": faces}
    values = {**wishes, "input_reference": {**image, "width": 1280, "height": 720}}
    own = policy.model_copy(update={"reference_faces": FaceRule(rule)})
    ruled = decide(parse(**values), catalog=catalog, policy=own)
    for fix in ruled.denial_trace.minimal_fix if isinstance(ruled, RenderDenied) else ():
        apply(fix, values, {})
    assert isinstance(decide(parse(**values), catalog=catalog, policy=own), RenderDecided)


@given(
    operation=st.sampled_from(["remix", "edit"]),
    wishes=WISHES,
    source=SOURCES,
    parts=st.lists(st.sampled_from(PARTS), min_size=1, unique=True),
    context=CONTEXTS,
    strict=st.booleans(),
)
def test_the_minimal_fix_of_a_remix_or_edit_applied_is_allowed(  # six independent inputs
    assert_fix_is_allowed: Callable[..., None],
    operation: str,
    wishes: dict[str, Any],
    source: dict[str, Any],
    parts: list[str],
    context: dict[str, Any],
    strict: bool,  # noqa: FBT001  # hypothesis names its arguments
) -> None:
    own = {"operation": operation, "source": source, "prompt": ", then ".join(parts)}
    assert_fix_is_allowed({**wishes, **own}, context, strict=strict)


@given(wishes=WISHES, source=SOURCES, seconds=LENGTHS, context=CONTEXTS, strict=st.booleans())
def test_the_minimal_fix_of_an_extension_applied_is_allowed(
    assert_fix_is_allowed: Callable[..., None],
    wishes: dict[str, Any],
    source: dict[str, Any],
    seconds: int,
    context: dict[str, Any],
    strict: bool,  # noqa: FBT001  # hypothesis names its arguments
) -> None:
    own = {"operation": "extend", "source": source, "seconds": seconds}
    assert_fix_is_allowed({**wishes, **own}, context, strict=strict)


@given(
    wishes=WISHES,
    size=st.sampled_from(SIZES),
    seconds=st.integers(1, 120),
    context=CONTEXTS,
    strict=st.booleans(),
)
def test_the_minimal_fix_of_an_edit_of_a_file_applied_is_allowed(
    assert_fix_is_allowed: Callable[..., None],
    wishes: dict[str, Any],
    size: str,
    seconds: int,
    context: dict[str, Any],
    strict: bool,  # noqa: FBT001  # hypothesis names its arguments
) -> None:
    file = {**FILE, "size": size, "seconds": seconds}
    own = {"operation": "edit", "source_file": file, "prompt": PARTS[0]}
    assert_fix_is_allowed({**wishes, **own}, context, strict=strict)


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


@pytest.mark.parametrize(
    ("source", "seconds", "context", "fixes"),
    [
        ({"seconds": 112}, 16, {}, [("seconds", "set", 8)]),
        ({"seconds": 118}, 4, {}, [("operation", "set", "create")]),
        ({"extensions": 6}, 4, {}, [("operation", "set", "create")]),
        ({}, 20, {"budget_left_usd_micros": 900_000}, [("seconds", "set", 8)]),
        (
            {"status": "queued"},
            4,
            {"operations_offered": ("create",)},
            [("profile", "set", None), ("source", "wait", "completed")],
        ),
    ],
)
def test_each_obstacle_of_an_extension_has_its_remedy(
    extend: Parse,
    ruling: Rule,
    source: dict[str, Any],
    seconds: int,
    context: dict[str, Any],
    fixes: list[tuple[str, str, str | int | None]],
) -> None:
    trace = trace_of(ruling(extend(source=source, seconds=seconds), **context))
    assert [(fix.field, fix.action, fix.value) for fix in trace.minimal_fix] == fixes


def test_what_the_profile_does_not_take_is_left_out(parse: Parse, ruling: Rule) -> None:
    request = parse(options={"seed": 1, "loop": True}, character_ids=["char_1"])
    trace = trace_of(ruling(request, operations_offered=("create",), options_offered=("loop",)))
    assert [(fix.field, fix.action) for fix in trace.minimal_fix] == [
        ("character_ids", "drop"),
        ("seed", "drop"),
    ]
