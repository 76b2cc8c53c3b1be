"""What passes the door, and what is said to what does not."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from sora_adapter.sandbox.wire.requests import (
    CreateRequest,
    parse_create,
    parse_list,
    parse_remix,
    parse_variant,
)
from sora_adapter.serving.bodies import Upload
from sora_adapter.serving.errors import ApiError

Make = Callable[..., bytes]


def refusal(fields: dict[str, Any]) -> tuple[str | None, str]:
    with pytest.raises(ApiError) as caught:
        parse_create(fields)
    return caught.value.param, caught.value.code


def test_what_is_not_said_is_the_default_of_the_api() -> None:
    assert parse_create({"prompt": "p"}) == CreateRequest("p", "sora-2", "720x1280", "4", None)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "empty_string"),
        ({"prompt": "p" * 32_001}, "prompt", "string_above_max_length"),
        ({"prompt": 7}, "prompt", "invalid_type"),
        ({"prompt": "half \ud83d"}, "prompt", "invalid_unicode"),
        ({"prompt": "p", "seconds": 4}, "seconds", "invalid_type"),
        ({"prompt": "p", "seconds": "5"}, "seconds", "invalid_value"),
        ({"prompt": "p", "model": "sora-3"}, "model", "invalid_value"),
        ({"prompt": "p", "size": "1920x1080"}, "size", "invalid_value"),
        ({"prompt": "p", "size": None}, "size", "invalid_type"),
        ({"prompt": "p", "fps": "30"}, "fps", "unknown_parameter"),
        ({"prompt": "p", "input_reference": "x"}, "input_reference", "invalid_type"),
        ({"prompt": "p", "input_reference": {}}, "input_reference", "invalid_value"),
        ({"prompt": "p", "input_reference": {"url": "x"}}, "input_reference.url", "unknown_parameter"),
        ({"prompt": "p", "input_reference": {"file_id": "f"}}, "input_reference.file_id", "file_not_found"),
        (
            {"prompt": "p", "input_reference": {"image_url": "https://example.com/a.png"}},
            "input_reference.image_url",
            "invalid_image_url",
        ),
        (
            {"prompt": "p", "input_reference": {"image_url": "data:image/png;base64,?"}},
            "input_reference.image_url",
            "invalid_image_url",
        ),
    ],
)
def test_a_refusal_names_the_parameter_and_the_reason(fields: dict[str, Any], param: str, code: str) -> None:
    assert refusal(fields) == (param, code)


def test_the_longest_prompt_is_taken() -> None:
    assert len(parse_create({"prompt": "\N{SNOWMAN}" * 32_000}).prompt) == 32_000


def test_the_pro_model_offers_sizes_the_other_does_not() -> None:
    wanted = parse_create({"prompt": "p", "model": "sora-2-pro", "size": "1920x1080"})
    assert wanted.size == "1920x1080"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_uploaded_image_of_the_right_size_is_taken(kind: str, picture: Make) -> None:
    image = picture((720, 1280), kind)
    assert parse_create({"prompt": "p", "input_reference": Upload("a", "b", image)}).reference == image


def test_an_image_in_a_data_url_is_taken(picture: Make) -> None:
    image = picture((720, 1280))
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    assert parse_create({"prompt": "p", "input_reference": {"image_url": url}}).reference == image


def test_an_image_of_another_size_is_refused_in_the_words_of_the_api(picture: Make) -> None:
    upload = Upload("a.png", "image/png", picture((720, 720)))
    with pytest.raises(ApiError, match="Inpaint image must match the requested width and height"):
        parse_create({"prompt": "p", "input_reference": upload})


def test_a_text_file_called_png_is_refused() -> None:
    fields = {"prompt": "p", "input_reference": Upload("a.png", "image/png", b"hello")}
    assert refusal(fields) == ("input_reference", "invalid_image_file")


def test_an_image_that_breaks_off_is_refused(picture: Make) -> None:
    broken = picture((720, 1280), "JPEG")[:-2000]
    fields = {"prompt": "p", "input_reference": Upload("a.jpg", "image/jpeg", broken)}
    assert refusal(fields) == ("input_reference", "invalid_image_file")


def test_a_gif_is_refused(picture: Make) -> None:
    fields = {"prompt": "p", "input_reference": Upload("a.gif", "image/gif", picture((720, 1280), "GIF"))}
    assert refusal(fields) == ("input_reference", "invalid_image_file")


def test_a_remix_takes_a_prompt_and_nothing_else() -> None:
    with pytest.raises(ApiError, match="Unknown parameter: 'seconds'"):
        parse_remix({"prompt": "p", "seconds": "8"})


@pytest.mark.parametrize("limit", ["-1", "101", "ten", "", "1e2", "\N{ARABIC-INDIC DIGIT TWO}", "9" * 5000])
def test_a_limit_outside_0_to_100_is_refused(limit: str) -> None:
    with pytest.raises(ApiError, match="Invalid 'limit'"):
        parse_list({"limit": limit})


def test_an_order_that_is_neither_asc_nor_desc_is_refused() -> None:
    with pytest.raises(ApiError, match="Invalid value: 'up'"):
        parse_list({"order": "up"})


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ApiError, match="'video', 'thumbnail', 'spritesheet'"):
        parse_variant({"variant": "gif"})
