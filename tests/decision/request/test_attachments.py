"""What a render starts from besides its prompt, and which operation takes what."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from decision.errors import BadRequest
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
    "other", [{"reference_url": "https://a.test/b.png"}, {"reference_file_id": "file_1"}]
)
def test_a_video_has_one_first_frame(parse: Parse, other: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="a video has one first frame, found input_reference and reference_"):
        parse(input_reference=IMAGE, **other)


def test_further_images_may_have_any_size(parse: Parse) -> None:
    further = [{**IMAGE, "name": "b.png", "width": 30, "original_sha256": "1" * 64}]
    images = parse(input_reference=IMAGE, further_images=further).further_images
    assert [(image.name, image.original_sha256) for image in images] == [("b.png", "1" * 64)]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.test/a.png",
        "http://[::1]:8080/a",
        "data:image/png;base64,iVBORw0KGgo=",
        "DATA:image/webp;base64,UklGRg==",
        "data:image/jpeg;base64," + "A" * (20_971_520 - 23),
    ],
    ids=["https", "ipv6", "data", "upper case", "longest"],
)
def test_a_first_frame_may_be_a_web_address_or_a_data_url(parse: Parse, url: str) -> None:
    assert parse(reference_url=url).reference_url == url


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"reference_url": "ftp://a.test/b.png"},
            "must begin with https://, http:// or data:, found ftp://a",
        ),
        ({"reference_url": "https:///b.png"}, "must begin with https://"),
        ({"reference_url": "http://[::1/b.png"}, "must begin with https://"),
        ({"reference_url": "https://a.test/b c.png"}, "must begin with https://"),
        ({"reference_url": "cat.png"}, "a file is given with --input-reference"),
        ({"reference_url": "data:image/gif;base64,R0lG"}, "holds image/gif (accepted: image/jpeg, "),
        ({"reference_url": "data:,hello"}, "holds text (accepted: "),
        ({"reference_url": "data:image/png;base64,"}, "reference_url holds no image"),
        ({"reference_url": "x" * 20_971_521}, "20,971,521 characters, at most 20,971,520 are allowed"),
        ({"reference_file_id": " "}, "reference_file_id must be 1 to 200 printable characters"),
        ({"further_images": [IMAGE]}, "further_images are given without input_reference"),
        ({"further_images": IMAGE}, "further_images must be a list, found dict"),
        ({"input_reference": IMAGE, "further_images": [{"name": "b"}]}, "further_images.0.sha256: "),
        ({"character_ids": ["a", "b", "c"]}, "3 characters are named, at most 2 can be in a video"),
        ({"character_ids": ["a", "a"]}, "a character is named twice"),
        ({"character_ids": "char_1"}, "character_ids must be a list, found str"),
        ({"options": {"sede": 1}}, "did you mean seed?"),
        ({"options": {"seed": -1}}, "seed must be a whole number, found -1"),
        ({"options": {"seed": 2**53}}, "seed is at most 9007199254740991, found 9007199254740992"),
        (
            {"options": {"seed": "9" * 30}},
            "seed is at most 9007199254740991, found 9999",
        ),
        ({"options": {"loop": "true"}}, "loop must be true or false, found true"),
        ({"options": 42}, "options must be an object, found int"),
        ({"attested": "yes"}, "attested must be true or false, found yes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_material_that_cannot_be_sent_is_a_typing_error(
    parse: Parse, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=re.escape(message)):
        parse(**values)


def test_a_loop_that_is_not_wanted_is_not_asked_for(parse: Parse) -> None:
    assert parse(options={"seed": "42", "loop": False}).options == {"seed": 42}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operation": "remix", "character_ids": ["char_1"]}, "a remix takes no characters"),
        (
            {"operation": "extend", "seconds": 4, "character_ids": ["char_1"]},
            "an extension takes no characters",
        ),
        (
            {"operation": "extend", "seconds": 4, "input_reference": IMAGE},
            "an extension takes no reference image",
        ),
        ({"operation": "edit", "reference_url": "https://a.test/b"}, "an edit takes no reference image"),
        (
            {"operation": "edit", "options": {"seed": 1}},
            "an edit takes no seed or loop; leave it out or use create",
        ),
        (
            {"operation": "extend"},
            "an extension needs its length (offered: 4, 8, 12, 16, 20); use --seconds 4",
        ),
        (
            {"operation": "extend", "seconds": 5},
            "seconds 5 is not offered for an extension (offered: 4, 8, 12, 16, 20); use --seconds 4",
        ),
        (
            {"operation": "extend", "seconds": 4, "source": None},
            "an extension needs the video it starts from",
        ),
        ({"operation": "edit", "source": None}, "name it with --id, or give its file with --video"),
    ],
)
def test_each_operation_takes_its_own_material(
    remix: Parse, parse: Parse, values: dict[str, Any], message: str
) -> None:
    ask = parse if "source" in values else remix
    with pytest.raises(BadRequest, match=re.escape(message)):
        ask(**values)


@pytest.mark.parametrize("operation", ["create", "remix", "extend"])
def test_only_an_edit_takes_a_video_file(edit_file: Parse, operation: str) -> None:
    with pytest.raises(BadRequest, match="takes no video file; leave it out or use edit --video"):
        edit_file(operation=operation)


def test_an_edit_starts_from_one_video(edit: Parse, edit_file: Parse) -> None:
    with pytest.raises(BadRequest, match="an edit starts from one video"):
        edit_file(source=edit().source)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"media_type": "video/webm"}, "video clip.mp4 is video/webm (accepted: video/mp4); convert it"),
        ({"size": "640x360"}, "video clip.mp4 is 640x360, which no model offers (offered: 720x1280, "),
        ({"seconds": 0}, "source_file.seconds: Input should be greater than 0"),
    ],
)
def test_a_video_file_no_model_can_edit_is_a_typing_error(
    edit_file: Parse, file: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=re.escape(message)):
        edit_file(source_file=file)
