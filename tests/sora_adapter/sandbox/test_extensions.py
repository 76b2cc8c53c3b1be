"""More of a video: the stitched total, and how far it goes."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.sora_adapter.sandbox.conftest import Clock, code_of

Make = Callable[..., bytes]
Extend = Callable[..., httpx2.Response]


@pytest.fixture
def video(api: httpx2.Client, clock: Clock) -> dict[str, Any]:
    made: dict[str, Any] = api.post("/v1/videos", json={"prompt": "a teal kite", "seconds": "12"}).json()
    clock.advance(10)
    return made


@pytest.fixture
def extend(api: httpx2.Client, clock: Clock) -> Extend:
    """Extend a video, and let the extension complete."""

    def ask(video: dict[str, Any], seconds: str = "4") -> httpx2.Response:
        body = {"prompt": "it lands", "seconds": seconds, "video": {"id": video["id"]}}
        answer = api.post("/v1/videos/extensions", json=body)
        clock.advance(10)
        return answer

    return ask


def test_the_seconds_of_an_extension_are_the_stitched_total(video: dict[str, Any], extend: Extend) -> None:
    assert extend(video, "16").json()["seconds"] == "28"


def test_an_extension_of_an_extension_counts_all_that_was_before(
    video: dict[str, Any], extend: Extend
) -> None:
    assert extend(extend(video, "4").json(), "8").json()["seconds"] == "24"


def test_an_extension_is_no_remix(video: dict[str, Any], extend: Extend) -> None:
    assert extend(video).json()["remixed_from_video_id"] is None


def test_a_video_can_be_extended_six_times_and_not_a_seventh(video: dict[str, Any], extend: Extend) -> None:
    for _ in range(6):
        video = extend(video).json()
    assert (video["seconds"], *code_of(extend(video))) == ("36", 400, "too_many_extensions")


def test_a_video_can_be_extended_to_120_seconds_and_no_further(video: dict[str, Any], extend: Extend) -> None:
    for seconds in ("20", "20", "20", "20", "20"):
        video = extend(video, seconds).json()
    too_long = code_of(extend(video, "12"))
    assert (too_long, extend(video, "8").json()["seconds"]) == ((400, "video_too_long"), "120")


@pytest.mark.parametrize(
    ("seconds", "code"), [("5", "invalid_value"), ("24", "invalid_value"), (8, "invalid_type")]
)
def test_only_lengths_on_offer_can_be_added(
    video: dict[str, Any], extend: Extend, seconds: str, code: str
) -> None:
    assert code_of(extend(video, seconds)) == (400, code)


@pytest.mark.parametrize("missing", ["prompt", "seconds", "video"])
def test_an_extension_says_everything_it_must(
    api: httpx2.Client, video: dict[str, Any], missing: str
) -> None:
    body = {"prompt": "it lands", "seconds": "4", "video": {"id": video["id"]}}
    del body[missing]
    assert api.post("/v1/videos/extensions", json=body).json()["error"]["param"] == missing


def test_an_extension_takes_no_characters(api: httpx2.Client, video: dict[str, Any]) -> None:
    body = {"prompt": "p", "seconds": "4", "video": {"id": video["id"]}, "characters": []}
    assert code_of(api.post("/v1/videos/extensions", json=body)) == (400, "unknown_parameter")


def test_a_video_under_way_cannot_be_extended(api: httpx2.Client) -> None:
    video = api.post("/v1/videos", json={"prompt": "a kite"}).json()
    body = {"prompt": "p", "seconds": "4", "video": {"id": video["id"]}}
    assert code_of(api.post("/v1/videos/extensions", json=body)) == (400, "video_not_completed")


def test_an_upload_can_be_extended(api: httpx2.Client, film: Make) -> None:
    upload = ("kite.mp4", film((720, 1280), 6), "video/mp4")
    data = {"prompt": "it lands", "seconds": "12"}
    answer = api.post("/v1/videos/extensions", data=data, files={"video": upload})
    assert answer.json()["seconds"] == "20"


def test_the_whole_of_an_extension_is_remixed(
    api: httpx2.Client, video: dict[str, Any], extend: Extend
) -> None:
    longer = extend(video).json()
    api.post(f"/v1/videos/{longer['id']}/remix", json={"prompt": "in rust"})
    *_, record = api.get("/_sandbox/jobs").json()["data"]
    assert (record["seconds"], record["act_seconds"]) == ("16", [12, 4])


def test_an_extension_outlives_the_video_it_continues(
    api: httpx2.Client, clock: Clock, extend: Extend
) -> None:
    video = api.post("/v1/videos", json={"prompt": "a kite", "seconds": "4"}).json()
    clock.advance(10)
    longer = extend(video).json()
    api.delete(f"/v1/videos/{video['id']}")
    assert api.get(f"/v1/videos/{longer['id']}/content").content[4:8] == b"ftyp"
