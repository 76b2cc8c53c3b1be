"""A structured remix: one line of the parent's spec, and everything else said to stay."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import BadRequest
from decision.one_change.lexicon import FIELD_ASPECTS
from decision.one_change.shot_spec import NAMES, change_spec, spec_of
from decision.one_change.verdict import check_remix
from decision.request.prompt import augment
from decision.request.request import RenderRequest
from ledger.events import RenderDecided, Ruling

SPEC = spec_of("a close-up of a camera", {"palette": "blue, grey", "camera": "85mm", "negative": "flicker"})
TEXTS = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1).filter(str.strip)


def test_the_prompt_names_the_change_and_spells_out_what_stays() -> None:
    changed = change_spec(SPEC, "palette", "teal, sand, rust")
    assert augment(changed.prompt, changed.fields) == (
        "Primary request: same shot and framing; change only the color palette\n"
        "Color palette: teal, sand, rust\n"
        "Constraints: keep everything else unchanged: subject, scene, action, camera, lighting\n"
        "Avoid: flicker"
    )


def test_a_line_of_the_parent_that_not_every_shot_has_is_kept_too() -> None:
    constraints = change_spec({**SPEC, "audio": "rain"}, "lighting", "dusk").fields["constraints"]
    assert (
        constraints == "keep everything else unchanged: subject, scene, action, camera, color palette, audio"
    )


def test_the_constraints_of_the_parent_are_carried_along() -> None:
    parent = {**SPEC, "constraints": "no logos"}
    first = change_spec(parent, "palette", "teal")
    second = change_spec(first.spec, "camera", "slow orbit")
    assert second.fields["constraints"].endswith("action, lighting, color palette; no logos")


def test_a_structured_parent_prompt_is_read_by_its_lines() -> None:
    parent = spec_of("Primary request: a fox\nCamera: 85mm\nColor palette: blue", {})
    assert change_spec(parent, "camera", "50mm").spec == {
        "prompt": "a fox",
        "camera": "50mm",
        "palette": "blue",
    }


@pytest.mark.parametrize("key", NAMES)
@given(value=TEXTS, old=TEXTS)
def test_exactly_one_line_differs_and_exactly_one_change_is_found(key: str, value: str, old: str) -> None:
    parent = {"prompt": "a fox", key: old}
    try:
        changed = change_spec(parent, key, value)
    except BadRequest:
        assert value.strip().strip('"') == old.strip().strip('"')
        return
    assert {name for name in changed.spec if changed.spec[name] != parent[name]} <= {key}
    verdict, changes = check_remix(changed.prompt, changed.fields)
    assert (verdict, [change.aspect for change in changes]) == ("single", [FIELD_ASPECTS[key]])


@pytest.mark.parametrize("key", NAMES)
def test_a_structured_remix_is_allowed(
    remix: Callable[..., RenderRequest], ruling: Callable[..., Ruling], key: str
) -> None:
    changed = change_spec(SPEC, key, "something else; and add rain")
    assert isinstance(ruling(remix(prompt=changed.prompt, fields=changed.fields)), RenderDecided)


@pytest.mark.parametrize(
    ("key", "value", "command"),
    [
        ("model", "sora-2-pro", "create --model sora-2-pro"),
        ("size", "720x1280", "create --size 720x1280"),
        ("seconds", "8", "sora-ledger extend"),
    ],
)
def test_what_a_remix_keeps_is_refused_with_the_command_that_changes_it(
    key: str, value: str, command: str
) -> None:
    with pytest.raises(BadRequest, match=command):
        change_spec(SPEC, key, value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pallete", "teal", "did you mean palette"),
        ("constraints", "no logos", "--constraints"),
        ("palette", " ", "is empty"),
        ("palette", "blue, grey", "nothing would change"),
        ("palette", "teal\nCamera: orbit", "exactly one thing"),
    ],
)
def test_what_is_no_single_change_is_refused_with_the_way_out(key: str, value: Any, expected: str) -> None:
    with pytest.raises(BadRequest, match=expected):
        change_spec(SPEC, key, value)
