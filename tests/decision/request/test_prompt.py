"""Prompt augmentation: the template, its order, and nothing that nobody wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import BadRequest
from decision.request.prompt import FIELDS, LABELS, augment, is_structured

LINES = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=12)


def test_a_prompt_without_fields_becomes_the_primary_request() -> None:
    assert augment("a cat", {}) == "Primary request: a cat"


def test_the_example_of_the_skill_comes_out_word_for_word() -> None:
    fields = {
        "constraints": "no logos, no text",
        "camera": "85mm, shallow depth of field, gentle handheld drift",
        "use_case": "product teaser",
        "action": "slow 30-degree orbit over 4 seconds",
        "lighting": "soft key light, subtle rim, premium studio feel",
    }
    assert augment("a close-up of a matte black camera on a pedestal", fields) == (
        "Use case: product teaser\n"
        "Primary request: a close-up of a matte black camera on a pedestal\n"
        "Action: slow 30-degree orbit over 4 seconds\n"
        "Camera: 85mm, shallow depth of field, gentle handheld drift\n"
        "Lighting/mood: soft key light, subtle rim, premium studio feel\n"
        "Constraints: no logos, no text"
    )


def test_dialogue_stands_in_a_block_of_its_own() -> None:
    expected = 'Primary request: two people\nDialogue:\n<dialogue>\n- Ann: "Hello."\n</dialogue>'
    assert augment("two people", {"dialogue": '- Ann: "Hello."'}) == expected


@pytest.mark.parametrize("text", ["OPEN", '"OPEN"'])
def test_verbatim_text_is_quoted_once(text: str) -> None:
    assert augment("a sign", {"text": text}) == 'Primary request: a sign\nText (verbatim): "OPEN"'


def test_a_blank_field_makes_no_line() -> None:
    assert augment("a cat", {"camera": "  "}) == "Primary request: a cat"


@pytest.mark.parametrize(
    "prompt",
    [
        "Use case: teaser\nPrimary request: a cat",
        "Camera: 85mm, slow orbit\nAction: the cat jumps",
        "\n  primary REQUEST: a cat",
        "A cat.\nPrimary request: a cat",
    ],
)
def test_a_structured_prompt_is_not_wrapped_again(prompt: str) -> None:
    assert augment(prompt, {}) == prompt


def test_a_colon_in_a_sentence_makes_no_structured_prompt() -> None:
    assert not is_structured("A cat with one thought: fish")


def test_a_structured_prompt_gets_the_lines_it_does_not_have() -> None:
    assert augment("Primary request: a cat", {"camera": "85mm"}) == "Primary request: a cat\nCamera: 85mm"


def test_a_line_given_twice_is_refused_rather_than_lost() -> None:
    with pytest.raises(BadRequest, match="leave out --camera"):
        augment("Primary request: a cat\nCamera: 85mm", {"camera": "35mm"})


@given(prompt=LINES, fields=st.dictionaries(st.sampled_from(FIELDS), LINES))
def test_augmentation_never_invents_text(prompt: str, fields: dict[str, str]) -> None:
    scaffold = {*(f"{label}:" for label in LABELS.values()), "<dialogue>", "</dialogue>"}
    left = [line for line in augment(prompt, fields).splitlines() if line not in scaffold]
    for label in scaffold:
        left = [line.removeprefix(f"{label} ").strip('"') for line in left]
    assert sorted(left) == sorted([prompt, *fields.values()])


@given(fields=st.dictionaries(st.sampled_from(FIELDS), LINES))
def test_augmenting_twice_changes_nothing_more(fields: dict[str, str]) -> None:
    once = augment("a cat", fields)
    assert augment(once, {}) == once


@given(fields=st.dictionaries(st.sampled_from(FIELDS), LINES))
def test_the_lines_stand_in_the_order_of_the_template(fields: dict[str, str]) -> None:
    sent = augment("a cat", fields)
    places = [sent.index(f"{label}:") for name, label in LABELS.items() if name in fields or name == "prompt"]
    assert places == sorted(places)
