"""The official SDK, as strangers use it, against the sandbox."""

import io
from collections.abc import Callable, Iterator

import httpx2
import openai
import pytest

from tests.sora_adapter.sandbox.conftest import Clock

Make = Callable[..., bytes]

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")


@pytest.fixture
def sdk(api: httpx2.Client) -> Iterator[openai.OpenAI]:
    base_url = str(api.base_url.join("/v1"))
    with openai.OpenAI(api_key="any", base_url=base_url, max_retries=0) as client:
        yield client


def test_create_gives_a_queued_job(sdk: openai.OpenAI) -> None:
    assert sdk.videos.create(prompt="a kite", model="sora-2", seconds="8").status == "queued"


def test_create_takes_a_reference_image(sdk: openai.OpenAI, picture: Make) -> None:
    image = ("kite.png", io.BytesIO(picture()), "image/png")
    assert sdk.videos.create(prompt="a kite", size="1280x720", input_reference=image).size == "1280x720"


def test_create_raises_bad_request_with_the_parameter(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.videos.create(prompt="")
    assert (caught.value.param, caught.value.code) == ("prompt", "empty_string")


def test_poll_returns_once_the_job_is_over(sdk: openai.OpenAI, clock: Clock) -> None:
    job = sdk.videos.create(prompt="a kite")
    clock.advance(10)
    assert sdk.videos.poll(job.id).status == "completed"


def test_list_goes_through_all_pages(sdk: openai.OpenAI) -> None:
    made = {sdk.videos.create(prompt="a kite").id for _ in range(5)}
    assert {video.id for video in sdk.videos.list(limit=2)} >= made


def test_download_content_gives_the_clip(sdk: openai.OpenAI, clock: Clock) -> None:
    job = sdk.videos.create(prompt="a kite")
    clock.advance(10)
    assert sdk.videos.download_content(job.id).read()[4:8] == b"ftyp"


def test_download_content_of_an_unfinished_job_is_not_found(sdk: openai.OpenAI) -> None:
    job = sdk.videos.create(prompt="a kite")
    with pytest.raises(openai.NotFoundError, match="Video is not ready yet"):
        sdk.videos.download_content(job.id)


def test_remix_names_its_source(sdk: openai.OpenAI, clock: Clock) -> None:
    job = sdk.videos.create(prompt="a kite")
    clock.advance(10)
    assert sdk.videos.remix(job.id, prompt="in rust").remixed_from_video_id == job.id


def test_delete_confirms(sdk: openai.OpenAI, clock: Clock) -> None:
    job = sdk.videos.create(prompt="a kite")
    clock.advance(10)
    assert sdk.videos.delete(job.id).deleted


def test_edit_takes_an_upload(sdk: openai.OpenAI, film: Make) -> None:
    assert sdk.videos.edit(prompt="in rust", video=film()).size == "1280x720"


def test_edit_by_id_names_its_source(sdk: openai.OpenAI, clock: Clock) -> None:
    job = sdk.videos.create(prompt="a kite")
    clock.advance(10)
    body = {"prompt": "in rust", "video": {"id": job.id}}
    edit = sdk.post("/videos/edits", body=body, cast_to=openai.types.Video)
    assert edit.remixed_from_video_id == job.id


def test_extend_gives_the_stitched_total(sdk: openai.OpenAI, clock: Clock) -> None:
    job = sdk.videos.create(prompt="a kite", seconds="8")
    clock.advance(10)
    body = {"prompt": "it lands", "seconds": "4", "video": {"id": job.id}}
    assert sdk.post("/videos/extensions", body=body, cast_to=openai.types.Video).seconds == "12"


def test_create_character_gives_what_get_character_gives(sdk: openai.OpenAI, film: Make) -> None:
    made = sdk.videos.create_character(name="Mossy", video=film())
    assert sdk.videos.get_character(str(made.id)).model_dump() == made.model_dump()


def test_create_takes_characters_in_its_extra_body(sdk: openai.OpenAI, film: Make) -> None:
    made = sdk.videos.create_character(name="Mossy", video=film())
    job = sdk.videos.create(prompt="Mossy runs", extra_body={"characters": [{"id": made.id}]})
    assert job.status == "queued"
