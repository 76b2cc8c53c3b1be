"""Advice: what a director would mention; it never blocks."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.advice.advice import advise
from decision.advice.reading import camera_moves, count_spoken_words, main_actions
from decision.request.prompt import FIELDS
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
FIFTEEN_WORDS = " ".join(["word"] * 15)


def codes(request: RenderRequest) -> list[str]:
    return [advice.code for advice in advise(request)]


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        (
            "Start with slow pan right, then dolly forward while panning left",
            ("pan right", "dolly forward", "pan left"),
        ),
        ("slow pan from left to right across the landscape", ("pan",)),
        ("85mm, slow orbit", ("orbit",)),
        ("slow dolly-in, a steady dolly", ("dolly in",)),
        ("Wide tracking shot of a teal coupe", ("track",)),
        ("push in, then pull back", ("push in", "pull back")),
        ("a pan on a stove beside a parked truck, a crane in the harbour", ()),
        ("locked-off, no zoom, without panning", ()),
        ("gentle handheld drift", ()),
    ],
)
def test_camera_moves_are_distinguished_from_things(text: str, moves: tuple[str, ...]) -> None:
    assert camera_moves(text) == moves


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("A fox runs through snow and then climbs a tree", ("run", "climb")),
        ("She laughs, and waves", ("laugh", "wave")),
        ("A fox running and jumping through snow", ("run", "jump")),
        ("A woman walks in the rain, holding an umbrella", ("walk",)),
        ("A cat that sits on a roof yawns", ("yawn",)),
        ("Gentle ocean waves", ()),
        ("Two jumps and a dance", ()),
        ('A sign reading "she runs and jumps"', ("read",)),
    ],
)
def test_main_actions_are_verbs_that_a_subject_does(text: str, actions: tuple[str, ...]) -> None:
    assert main_actions(text) == actions


@pytest.mark.parametrize(
    ("dialogue", "words"),
    [('- Ann: "One two three."\n- Bo: "Four."', 4), ("Ann: one two\n- Bo: three", 3), ("it's well-known", 2)],
)
def test_only_what_is_spoken_counts(dialogue: str, words: int) -> None:
    assert count_spoken_words(dialogue) == words


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"prompt": "A cat jumps on a roof and runs away"}, "SEVERAL_ACTIONS"),
        ({"fields": {"action": "she sits and reads"}}, "SEVERAL_ACTIONS"),
        ({"fields": {"camera": "pan left, zoom in"}}, "SEVERAL_CAMERA_MOVES"),
        ({"prompt": "A slow dolly in on a cat", "fields": {"camera": "orbit"}}, "SEVERAL_CAMERA_MOVES"),
        ({"fields": {"dialogue": f'- Ann: "{FIFTEEN_WORDS}"'}}, "LONG_DIALOGUE"),
        ({"fields": {"text": "one two three four five six seven"}}, "LONG_TEXT"),
        ({"fields": {"text": "Open", "camera": "slow zoom in"}}, "TEXT_BEFORE_MOVING_CAMERA"),
        ({"prompt": "A 10-second video of a cat"}, "LENGTH_IN_PROMPT"),
        ({"prompt": "A cat in 4K"}, "SIZE_IN_PROMPT"),
        ({"fields": {"palette": "red, blue, green, teal, sand and rust"}}, "MANY_COLOURS"),
        ({"character_ids": ["char_1"]}, "CHARACTER_NAME_NEEDED"),
        ({"input_reference": IMAGE, "further_images": [IMAGE]}, "IMAGES_NOT_SENT"),
    ],
)
def test_each_weakness_is_mentioned(parse: Parse, values: dict[str, Any], code: str) -> None:
    assert codes(parse(**values)) == [code]


def test_the_lines_of_a_structured_prompt_are_read_as_fields(parse: Parse) -> None:
    prompt = "Primary request: a cat\nCamera: pan left, zoom in\nAvoid: zoom out"
    assert [(advice.code, advice.field) for advice in advise(parse(prompt=prompt))] == [
        ("SEVERAL_CAMERA_MOVES", "camera")
    ]


def test_a_longer_clip_has_room_for_the_same_dialogue(parse: Parse) -> None:
    assert codes(parse(fields={"dialogue": FIFTEEN_WORDS}, seconds=8)) == []


def test_long_dialogue_is_counted_for_the_reader(parse: Parse) -> None:
    (advice,) = advise(parse(fields={"dialogue": FIFTEEN_WORDS}))
    assert advice.message == (
        "the dialogue has 15 words, and about 10 can be said in 4 seconds: shorten it, or use more --seconds"
    )


@pytest.mark.parametrize("operation", ["remix", "edit"])
def test_a_remix_that_does_not_say_what_stays_is_mentioned(remix: Parse, operation: str) -> None:
    assert codes(remix(operation=operation)) == ["NOTHING_KEPT"]


@pytest.mark.parametrize(
    "values", [{"prompt": "Same shot, make the coat red"}, {"fields": {"constraints": "keep the camera"}}]
)
def test_a_remix_that_says_what_stays_is_fine(remix: Parse, values: dict[str, Any]) -> None:
    assert codes(remix(**values)) == []


def test_the_example_of_the_skill_needs_no_advice(parse: Parse) -> None:
    fields = {
        "use_case": "product teaser",
        "action": "slow 30-degree orbit over 4 seconds",
        "camera": "85mm, shallow depth of field, gentle handheld drift",
        "lighting": "soft key light, subtle rim, premium studio feel",
        "constraints": "no logos, no text",
    }
    request = parse(prompt="a close-up of a matte black camera on a pedestal", fields=fields)
    assert advise(request) == ()


@given(
    prompt=st.text(min_size=1).filter(str.strip), fields=st.dictionaries(st.sampled_from(FIELDS), st.text())
)
def test_any_request_gets_the_same_advice_twice(parse: Parse, prompt: str, fields: dict[str, str]) -> None:
    request = parse().model_copy(update={"prompt": prompt, "fields": fields})
    assert advise(request) == advise(request)


@pytest.mark.parametrize("prompt", ["and she runs " * 2_000, "pan left, " * 3_000, "a " * 15_000])
def test_the_longest_prompts_are_advised_on_in_a_moment(parse: Parse, prompt: str) -> None:
    begun = time.process_time()
    advise(parse(prompt=prompt))
    assert time.process_time() - begun < 3
