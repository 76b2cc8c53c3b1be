"""How each call is written, server by server."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ledger.terms import Operation
from sora_adapter.errors import OperationUnsupported, VideoNotFound
from sora_adapter.profiles import profile
from sora_adapter.requests import (
    ReferenceFile,
    ReferenceId,
    ReferenceUrl,
    SubmitCall,
    character_path,
    character_post,
    post_of,
)

FOX = ReferenceFile("fox.png", "image/png", b"PNG")
CLIP = ReferenceFile("fox.mp4", "video/mp4", b"MP4")
URL = ReferenceUrl("https://here/fox.png")
PARTS = {"prompt": "a fox runs", "model": "sora-2", "size": "1280x720", "seconds": "8"}


def test_a_create_is_a_form_of_text(call: SubmitCall) -> None:
    post = post_of(replace(call, options={"seed": 7, "loop": True}), profile("custom"))
    assert (post.path, post.multipart, post.body) == ("/videos", True, {**PARTS, "seed": "7", "loop": "true"})


@pytest.mark.parametrize(
    ("reference", "written"),
    [(URL, {"image_url": "https://here/fox.png"}), (ReferenceId("file_1"), {"file_id": "file_1"})],
)
def test_an_image_the_server_fetches_is_an_object_in_json(
    call: SubmitCall, reference: Any, written: dict[str, str]
) -> None:
    post = post_of(replace(call, input_reference=reference), profile("openai"))
    assert (post.multipart, post.body) == (False, {**PARTS, "input_reference": written})


def test_characters_are_a_list_of_objects_in_json(call: SubmitCall) -> None:
    post = post_of(replace(call, character_ids=("char_1", "char_2")), profile("openai"))
    assert (post.multipart, post.body["characters"]) == (False, [{"id": "char_1"}, {"id": "char_2"}])


def test_an_upload_beside_characters_becomes_a_data_url(call: SubmitCall) -> None:
    post = post_of(replace(call, character_ids=("char_1",), input_reference=FOX), profile("openai"), b"PNG")
    assert (post.multipart, post.files) == (False, None)
    assert post.body["input_reference"] == {"image_url": "data:image/png;base64,UE5H"}


def test_vllm_omni_is_told_an_images_address_as_text_in_a_form(call: SubmitCall) -> None:
    post = post_of(replace(call, input_reference=URL), profile("vllm-omni"))
    assert post.multipart
    assert json.loads(post.body["image_reference"]) == {"image_url": "https://here/fox.png"}


def test_vllm_omni_is_sent_several_images_under_one_name(call: SubmitCall) -> None:
    several = replace(call, input_reference=FOX, more_references=(replace(FOX, name="cub.png"),))
    post = post_of(several, profile("vllm-omni"), b"1", [b"2"])
    assert post.files is None
    assert post.more_files == (
        ("input_references", ("fox.png", b"1", "image/png")),
        ("input_references", ("cub.png", b"2", "image/png")),
    )


def test_sglang_is_sent_json_with_a_number(call: SubmitCall) -> None:
    post = post_of(replace(call, input_reference=URL), profile("sglang"))
    assert (post.multipart, post.body["seconds"]) == (False, 8)
    assert post.body["reference_url"] == "https://here/fox.png"


def test_sglang_is_sent_an_upload_as_a_form(call: SubmitCall) -> None:
    post = post_of(replace(call, input_reference=FOX), profile("sglang"), b"PNG")
    assert (post.multipart, post.body["seconds"]) == (True, "8")
    assert post.files == {"input_reference": ("fox.png", b"PNG", "image/png")}


def test_an_edit_of_a_video_the_server_has_names_it(call: SubmitCall) -> None:
    post = post_of(replace(call, operation=Operation.EDIT, source_video_id="video_0"), profile("openai"))
    assert (post.path, post.multipart) == ("/videos/edits", False)
    assert post.body == {"prompt": "a fox runs", "video": {"id": "video_0"}}


def test_an_edit_of_a_file_sends_it_with_the_model(call: SubmitCall) -> None:
    post = post_of(replace(call, operation=Operation.EDIT, source_file=CLIP), profile("openai"), b"MP4")
    assert (post.path, post.multipart) == ("/videos/edits", True)
    assert post.body == {"prompt": "a fox runs", "model": "sora-2"}
    assert post.files == {"video": ("fox.mp4", b"MP4", "video/mp4")}


def test_an_extension_names_its_source_and_how_much_longer(call: SubmitCall) -> None:
    post = post_of(replace(call, operation=Operation.EXTEND, source_video_id="video_0"), profile("openai"))
    assert (post.path, post.multipart) == ("/videos/extensions", False)
    assert post.body == {"prompt": "a fox runs", "seconds": "8", "video": {"id": "video_0"}}


@pytest.mark.parametrize("operation", [Operation.REMIX, Operation.EDIT, Operation.EXTEND])
def test_a_change_without_a_source_is_a_mistake_of_the_callers(
    call: SubmitCall, operation: Operation
) -> None:
    with pytest.raises(ValueError, match="needs source_video_id"):
        post_of(replace(call, operation=operation), profile("openai"))


def test_a_character_is_a_form_with_a_name_and_a_video() -> None:
    post = character_post("Rufus", CLIP, b"MP4", profile("openai"))
    assert (post.path, post.multipart, post.body) == ("/videos/characters", True, {"name": "Rufus"})
    assert post.files == {"video": ("fox.mp4", b"MP4", "video/mp4")}


@pytest.mark.parametrize("character_id", ["", ".", ".."])
def test_an_id_that_would_leave_the_path_is_no_character(character_id: str) -> None:
    with pytest.raises(VideoNotFound):
        character_path(character_id)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("litellm", {"input_reference": URL}, "an input reference by URL: LiteLLM makes a broken upload"),
        ("sglang", {"input_reference": ReferenceId("file_1")}, "an input reference by file id"),
        ("litellm", {"character_ids": ("char_1",)}, "characters: LiteLLM sends characters to api.openai.com"),
        ("openai", {"options": {"seed": 7}}, "a seed: its server has create, remix"),
        ("litellm", {"options": {"loop": True}}, "loops"),
        ("openai", {"input_reference": FOX, "more_references": (FOX,)}, "several input references"),
        ("sglang", {"operation": Operation.REMIX, "source_video_id": "video_0"}, "remixes: its server has"),
        ("litellm", {"operation": Operation.EDIT, "source_file": CLIP}, "edits of an uploaded video"),
        ("new-api", {"operation": Operation.EXTEND, "source_video_id": "video_0"}, "extensions"),
    ],
)
def test_what_a_server_does_not_offer_is_refused_with_the_reason(
    call: SubmitCall, name: str, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(
        OperationUnsupported, match=rf"profile {name} does not offer {expected}.*nothing was sent"
    ):
        post_of(replace(call, **change), profile(name), b"")
