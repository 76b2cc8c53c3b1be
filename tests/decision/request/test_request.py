"""Parsing a request: typing errors name the thing, what was expected, what came and the next step."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from decision.errors import BadRequest
from decision.request.request import RenderRequest, RequestedOutput, parse_request
from decision.rules.catalog import Catalog

Parse = Callable[..., RenderRequest]
IMAGE = {
    "name": "a.png",
    "sha256": "0" * 64,
    "media_type": "image/png",
    "width": 1280,
    "height": 720,
    "bytes": 9,
}


def test_the_defaults_are_those_of_the_skill(parse: Parse) -> None:
    request = parse()
    assert (request.model, request.size, request.seconds, request.augment) == ("auto", "1280x720", 4, True)


@pytest.mark.parametrize("seconds", ["8", 8])
def test_seconds_may_be_digits_or_a_number(parse: Parse, seconds: str | int) -> None:
    assert parse(seconds=seconds).seconds == 8


def test_none_means_not_given(parse: Parse) -> None:
    assert parse(size=None, purpose=None, fields=None) == parse()


def test_a_prompt_is_sent_augmented(parse: Parse) -> None:
    assert parse(fields={"camera": "85mm"}).sent_prompt == "Primary request: A cat on a roof\nCamera: 85mm"


def test_a_prompt_is_sent_as_it_is_without_augmentation(parse: Parse) -> None:
    assert parse(augment=False).sent_prompt == "A cat on a roof"


def test_a_prompt_of_32000_characters_is_accepted(parse: Parse) -> None:
    assert len(parse(prompt="x" * 32_000, augment=False).sent_prompt) == 32_000


def test_fields_are_kept_without_blank_ones(parse: Parse) -> None:
    assert parse(fields={"camera": " 85mm ", "style": " ", "scene": None}).fields == {"camera": "85mm"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"size": "1080x1080"},
            "size 1080x1080 is offered by no model (offered: 720x1280, 1280x720 by sora-2; ",
        ),
        ({"size": "1080x1080"}, "use --size"),
        ({"size": "large"}, "size large is offered by no model"),
        ({"seconds": 7}, "seconds 7 is offered by no model (offered: 4, 8, 12, 16, 20); use --seconds 8"),
        ({"seconds": "8s"}, "seconds must be a whole number, found 8s"),
        ({"seconds": True}, "seconds must be a whole number, found True"),
        ({"seconds": 4.0}, "seconds must be a whole number, found 4.0"),
        ({"model": "sora-2-por"}, "did you mean sora-2-pro?"),
        (
            {"model": "dreamer"},
            "model dreamer is unknown (known: auto, sora-2, sora-2-pro, sora-2-2025-10-06, ",
        ),
        ({"purpose": "markting"}, "did you mean marketing?"),
        ({"purpose": ""}, "purpose '' is unknown"),
        ({"fields": {"pallete": "teal"}}, "did you mean palette?"),
        ({"fields": {"camera": 35}}, "field camera must be text, found int"),
        ({"fields": ["camera"]}, "fields must be an object of texts, found list"),
        ({"prompt": ""}, "prompt is empty; say what the clip should show"),
        ({"prompt": " \n\t"}, "prompt is empty"),
        ({"prompt": None}, "prompt is empty"),
        ({"prompt": "x" * 32_001}, "32,001 characters, at most 32,000 are allowed; shorten it by 1"),
        ({"prompt": "x" * 32_000}, "shorten it by 17, or send it as it is with --no-augment"),
        ({"prompt": "cat \udc80"}, "prompt is not valid Unicode"),
        ({"prompt": "\0cat"}, "prompt holds the character NUL (U+0000) at position 1"),
        ({"prompt": "a \0cat"}, "prompt holds the character NUL (U+0000) at position 3"),
        ({"fields": {"camera": "85\0mm"}}, "field camera holds the character NUL (U+0000) at position 3"),
        ({"profile": "Open AI"}, "profile Open AI is no name"),
        ({"request_key": " "}, "request_key must be 1 to 200 printable characters"),
        ({"request_key": "k" * 201}, "request_key must be 1 to 200 printable characters"),
        ({"max_cost_usd_micros": -1}, "max_cost_usd_micros must be a whole number, found -1"),
        ({"augment": "no"}, "augment must be true or false, found no"),
        (
            {"augment": False, "fields": {"camera": "85mm"}},
            "without augmentation the fields would not be sent",
        ),
        ({"operation": "rmix"}, "did you mean remix?"),
        ({"promt": "a cat"}, "did you mean prompt?"),
        ({"operation": "remix"}, "a remix needs the video it starts from; name it with --id"),
    ],
)
def test_a_typing_error_says_what_came_and_what_to_do(
    parse: Parse, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=re.escape(message)):
        parse(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 1024, "height": 1792}, "is 1024x1792, the video's size is 1280x720; use --fit cover"),
        ({"width": 1024, "height": 1792}, "or use --size 1024x1792"),
        ({"media_type": "image/gif"}, "is image/gif (accepted: image/jpeg, image/png, image/webp)"),
        ({"width": 0}, "input_reference.width: Input should be greater than 0, found 0"),
    ],
)
def test_a_reference_image_that_does_not_fit_is_a_typing_error(
    parse: Parse, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=re.escape(message)):
        parse(input_reference={**IMAGE, **values})


def test_a_reference_image_of_the_video_size_is_accepted(parse: Parse) -> None:
    image = parse(input_reference=IMAGE).input_reference
    assert image is not None
    assert image.name == "a.png"


def test_an_edit_of_a_file_has_the_shape_of_the_file(edit_file: Parse) -> None:
    request = edit_file(source_file={"size": "1920x1080", "seconds": 7}, model="sora-2-pro")
    assert (request.model, request.size, request.seconds) == ("sora-2-pro", "1920x1080", 7)


def test_an_extension_adds_to_the_length_of_its_source(extend: Parse) -> None:
    request = extend(source={"seconds": 20, "extensions": 1}, seconds="12")
    assert (request.seconds, request.total_seconds) == (12, 32)


def test_other_operations_are_as_long_as_they_say(parse: Parse, edit: Parse) -> None:
    assert (parse(seconds=12).total_seconds, edit(source={"seconds": 20}).total_seconds) == (12, 20)


def test_a_snapshot_may_be_asked_for_by_name(parse: Parse) -> None:
    assert parse(model="sora-2-2025-12-08").requested_model == "sora-2-2025-12-08"


def test_a_long_value_is_cut_in_the_message(parse: Parse) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(model="m" * 5_000)
    assert len(str(caught.value)) < 200


def test_a_remix_takes_its_shape_from_its_source(remix: Parse) -> None:
    request = remix(source={"model": "sora-2-pro", "size": "1792x1024", "seconds": 12})
    assert (request.model, request.size, request.seconds) == ("sora-2-pro", "1792x1024", 12)


def test_a_remix_remembers_what_was_wished(remix: Parse) -> None:
    assert remix(model="sora-2-pro", seconds="8").wished == RequestedOutput(model="sora-2-pro", seconds=8)


def test_the_requested_model_of_a_remix_is_auto_when_none_was_named(remix: Parse) -> None:
    assert remix().requested_model == "auto"


def test_a_remix_takes_no_reference_image(remix: Parse) -> None:
    with pytest.raises(BadRequest, match="a remix takes no reference image"):
        remix(input_reference=IMAGE)


def test_a_create_starts_from_no_video(remix: Parse) -> None:
    with pytest.raises(BadRequest, match="use remix --id"):
        remix(operation="create")


def test_a_request_without_an_operation_is_refused(catalog: Catalog) -> None:
    with pytest.raises(BadRequest, match="operation must be text"):
        parse_request(catalog=catalog, prompt="a cat")
