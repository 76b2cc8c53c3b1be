"""Characters: made from a short video, named in a create."""

import io
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.sora_adapter.sandbox.conftest import Clock, code_of

Make = Callable[..., bytes]
Ask = Callable[..., httpx2.Response]


@pytest.fixture
def ask(api: httpx2.Client, film: Make) -> Ask:
    """Ask for a character; the film is a good one unless another is given."""

    def post(name: str = "Mossy", upload: bytes | None = None) -> httpx2.Response:
        video = ("mossy.mp4", io.BytesIO(film() if upload is None else upload), "video/mp4")
        return api.post("/v1/videos/characters", data={"name": name}, files={"video": video})

    return post


def test_a_character_has_an_id_a_name_and_a_time(ask: Ask, clock: Clock) -> None:
    character = ask().json()
    assert (character["id"][:5], character) == (
        "char_",
        {"id": character["id"], "name": "Mossy", "created_at": int(clock())},
    )


def test_a_character_can_be_retrieved(api: httpx2.Client, ask: Ask) -> None:
    character = ask().json()
    assert api.get(f"/v1/videos/characters/{character['id']}").json() == character


def test_a_character_that_is_not_there_is_not_found(api: httpx2.Client) -> None:
    assert code_of(api.get("/v1/videos/characters/char_0")) == (404, "character_not_found")


@pytest.mark.parametrize(("length", "status"), [(1, 200), (80, 200), (81, 400)])
def test_a_name_has_1_to_80_characters(ask: Ask, length: int, status: int) -> None:
    assert ask("m" * length).status_code == status


def test_an_empty_name_is_refused(ask: Ask) -> None:
    assert code_of(ask("")) == (400, "empty_string")


@pytest.mark.parametrize(
    ("size", "seconds", "status"),
    [
        ((1280, 720), 2, 200),
        ((1080, 1920), 4, 200),
        ((1280, 720), 5, 400),
        ((1280, 720), 1, 400),
        ((720, 720), 2, 400),
        ((640, 360), 2, 400),
        ((2560, 1440), 2, 400),
    ],
)
def test_a_character_is_made_from_2_to_4_seconds_of_16_9_in_720p_to_1080p(
    ask: Ask, film: Make, size: tuple[int, int], seconds: int, status: int
) -> None:
    assert ask(upload=film(size, seconds)).status_code == status


def test_a_clip_of_the_sandbox_s_own_can_become_a_character(
    api: httpx2.Client, ask: Ask, clock: Clock
) -> None:
    video = api.post("/v1/videos", json={"prompt": "a kite"}).json()
    clock.advance(10)
    assert ask(upload=api.get(f"/v1/videos/{video['id']}/content").content).status_code == 200


def test_an_image_is_no_video(ask: Ask, picture: Make) -> None:
    assert code_of(ask(upload=picture())) == (400, "invalid_video_file")


def test_a_video_that_breaks_off_is_refused(ask: Ask, film: Make) -> None:
    assert code_of(ask(upload=film()[:2000])) == (400, "invalid_video_file")


def test_a_create_may_name_two_characters(api: httpx2.Client, ask: Ask) -> None:
    ids = [ask(name).json()["id"] for name in ("Mossy", "Fern")]
    api.post("/v1/videos", json={"prompt": "Mossy meets Fern", "characters": [{"id": one} for one in ids]})
    *_, record = api.get("/_sandbox/jobs").json()["data"]
    assert record["character_ids"] == ids


@pytest.mark.parametrize("field", ["characters[][id]", "characters[0][id]"])
def test_a_multipart_create_may_name_characters_in_brackets(api: httpx2.Client, ask: Ask, field: str) -> None:
    character = ask().json()
    api.post("/v1/videos", files={"prompt": (None, "Mossy"), field: (None, character["id"])})
    *_, record = api.get("/_sandbox/jobs").json()["data"]
    assert record["character_ids"] == [character["id"]]


def test_a_create_cannot_name_three_characters(api: httpx2.Client) -> None:
    body = {"prompt": "p", "characters": [{"id": "char_1"}, {"id": "char_2"}, {"id": "char_3"}]}
    assert code_of(api.post("/v1/videos", json=body)) == (400, "array_above_max_length")


@pytest.mark.parametrize(
    ("characters", "param", "code"),
    [
        ("char_1", "characters", "invalid_type"),
        (["char_1"], "characters[0]", "invalid_type"),
        ([{}], "characters[0].id", "missing_required_parameter"),
        ([{"id": 7}], "characters[0].id", "invalid_type"),
        ([{"id": "char_0", "name": "M"}], "characters[0].name", "unknown_parameter"),
        ([{"id": "char_0"}], "characters[0].id", "character_not_found"),
    ],
)
def test_a_refusal_names_the_character_and_the_reason(
    api: httpx2.Client, characters: Any, param: str, code: str
) -> None:
    error = api.post("/v1/videos", json={"prompt": "p", "characters": characters}).json()["error"]
    assert (error["param"], error["code"]) == (param, code)
