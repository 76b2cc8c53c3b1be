"""Missing details: only what makes a render pointless is asked for."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from decision.advice.reading import apply_answer, missing_details
from decision.request.request import RenderRequest

Parse = Callable[..., RenderRequest]
IMAGE = {
    "name": "a.png",
    "sha256": "0" * 64,
    "media_type": "image/png",
    "width": 1280,
    "height": 720,
    "bytes": 9,
}


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("A cup of {drink} on a table", "{drink}"),
        ("A cup of <hot drink> on a table", "<hot drink>"),
        ("A cup of [insert drink] on a table", "[insert drink]"),
        ("A cup of TODO on a table", "TODO"),
        ('Primary request: a sign\nText (verbatim): "{words}"', "{words}"),
    ],
)
def test_a_blank_is_asked_for(parse: Parse, prompt: str, found: str) -> None:
    (question,) = missing_details(parse(prompt=prompt))
    assert (question.code, question.field, question.found) == ("UNFILLED_BLANK", "prompt", found)


def test_a_blank_in_a_field_belongs_to_the_field(parse: Parse) -> None:
    (question,) = missing_details(parse(fields={"palette": "teal, {second colour}"}))
    assert question.field == "palette"
    assert question.question == "the line 'Color palette' still has {second colour} in it: what goes there?"


def test_a_blank_that_occurs_twice_is_asked_for_once(parse: Parse) -> None:
    request = parse(prompt="{who} on a roof", fields={"action": "{who} jumps"})
    (question,) = missing_details(request)
    assert apply_answer(request, question, " a cat ") == ("a cat on a roof", {"action": "a cat jumps"})


@pytest.mark.parametrize(
    "prompt", ["make it nice", "Create a really cool video, please!", "…", "something great"]
)
def test_a_prompt_of_empty_words_is_asked_for_its_subject(parse: Parse, prompt: str) -> None:
    assert [question.code for question in missing_details(parse(prompt=prompt))] == ["NO_SUBJECT"]


def test_an_answer_about_the_subject_comes_before_the_prompt(parse: Parse) -> None:
    request = parse(prompt="make it nice")
    prompt, fields = apply_answer(request, missing_details(request)[0], "a cat")
    assert (prompt, fields) == ("a cat\nmake it nice", {})
    assert missing_details(parse(prompt=prompt)) == ()


@pytest.mark.parametrize("operation", ["remix", "edit"])
def test_a_change_nobody_named_is_asked_for(remix: Parse, operation: str) -> None:
    (question,) = missing_details(remix(operation=operation, prompt="make it better"))
    assert question.code == "NO_CHANGE_NAMED"


def test_an_extension_may_go_on_without_a_word(extend: Parse) -> None:
    assert missing_details(extend(prompt="more please")) == ()


@pytest.mark.parametrize(
    "values",
    [
        {"fields": {"subject": "a cat"}},
        {"fields": {"dialogue": '- Ann: "Hello."'}},
        {"input_reference": IMAGE},
        {"reference_url": "https://example.test/a.png"},
        {"reference_file_id": "file_1"},
        {"character_ids": ["char_1"]},
    ],
)
def test_something_else_may_say_what_is_shown(parse: Parse, values: dict[str, Any]) -> None:
    assert missing_details(parse(prompt="make it nice", **values)) == ()


@pytest.mark.parametrize(
    "prompt",
    [
        "Test",
        "Your prompt",
        "Quick test prompt",
        "Extended cinematic shot",
        "Standard scene",
        "Final production prompt",
        "Gentle ocean waves that loop seamlessly",
        "猫",
        "🐱",
        "Un vidéo d'un chat",
        'A sign that reads "<b>TODO</b>"',
        "A page of <b>bold</b> words",
        "Dialogue:\n<dialogue>\n- Ann: hello\n</dialogue>",
    ],
)
def test_a_short_or_odd_prompt_is_no_reason_to_ask(parse: Parse, prompt: str) -> None:
    assert missing_details(parse(prompt=prompt)) == ()


@pytest.mark.parametrize(
    "prompt", ["<" * 30_000, "<a>" * 10_000, "{a" * 15_000, "[add" * 7_000, '"' * 30_000]
)
def test_the_longest_prompts_are_read_in_a_moment(parse: Parse, prompt: str) -> None:
    begun = time.process_time()
    missing_details(parse(prompt=prompt))
    assert time.process_time() - begun < 3
