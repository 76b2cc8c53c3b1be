"""What a POST to the gateway may be, and how each other one is refused before anything is recorded."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import pytest
from PIL import Image

from ledger.events import RenderRequested
from ledger.terms import State
from render_service.access.grants import Terms, grant
from render_service.server import app as serving
from render_service.server.gateway.api_terms import in_api_terms
from render_service.server.gateway.posts import Posts
from render_service.server.gateway.routes import gateway_routes
from render_service.session.session import Session
from render_service.settlement.settle import settle
from sora_adapter.sandbox.server import SandboxServer

pytestmark = pytest.mark.anyio

GOOD = {"prompt": "a red kite"}


def key_for(session: Session, name: str = "app", *roles: str, **terms: Any) -> str:
    wish = Terms(name, roles or ("requester",), **terms)
    key, _ = grant(session.ledger, wish, session.clock(), session.provenance, None)
    return key.text


@asynccontextmanager
async def client_of(session: Session) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client of a gateway in this process, without a key."""
    app = serving.create_app(session, {}, serving.Parts(gateway=gateway_routes))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway/v1") as client:
        yield client


@pytest.fixture
async def gateway(session: Session) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client of a gateway in this process, without a key."""
    async with client_of(session) as client:
        yield client


@pytest.fixture
def client(gateway: httpx2.AsyncClient, session: Session) -> httpx2.AsyncClient:
    """Return the same client with the key of a requester."""
    gateway.headers["authorization"] = f"Bearer {key_for(session)}"
    return gateway


def requested(session: Session) -> list[RenderRequested]:
    return [entry.event for entry in session.ledger.entries(RenderRequested)]


def image(size: tuple[int, int] = (720, 1280)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


async def test_a_bare_create_has_the_defaults_of_the_api(
    client: httpx2.AsyncClient, session: Session
) -> None:
    answer = await client.post("/videos", json=GOOD)
    [event] = requested(session)
    assert (answer.status_code, answer.json()["object"]) == (200, "video")
    assert (event.requested_model, event.size, event.seconds) == ("sora-2", "720x1280", 4)
    assert (event.prompt.text, event.augmented_prompt) == ("a red kite", None)


async def test_auto_leaves_the_model_to_the_policy(client: httpx2.AsyncClient, session: Session) -> None:
    answer = await client.post("/videos", json=GOOD | {"model": "auto", "purpose": "cinematic"})
    assert (answer.json()["model"], requested(session)[0].requested_model) == ("sora-2-pro", "auto")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_json_is_read_under_any_content_type(client: httpx2.AsyncClient, kind: str) -> None:
    answer = await client.post("/videos", content=b'{"prompt": "a kite"}', headers={"content-type": kind})
    assert answer.status_code == 200


async def test_a_form_with_brackets_is_read(client: httpx2.AsyncClient, session: Session) -> None:
    answer = await client.post("/videos", files={"prompt": (None, "a kite"), "seconds": (None, "8")})
    assert (answer.status_code, requested(session)[0].seconds) == (200, 8)


async def test_terms_are_read_from_headers(client: httpx2.AsyncClient, session: Session) -> None:
    headers = {"x-sora-ledger-purpose": "final", "x-sora-ledger-max-cost-usd": "2.50"}
    key = key_for(session, "platform", "operator")
    headers |= {"x-sora-ledger-team": "film", "authorization": f"Bearer {key}"}
    await client.post("/videos", json=GOOD, headers=headers)
    [event] = requested(session)
    assert (event.purpose, event.max_cost_usd_micros, event.team) == ("final", 2_500_000, "film")


async def test_an_uploaded_image_is_sent_and_recorded(client: httpx2.AsyncClient, session: Session) -> None:
    file = {"input_reference": ("me.png", image(), "image/png")}
    answer = await client.post("/videos", data=GOOD, files=file)
    reference = requested(session)[0].input_reference
    assert (answer.status_code, reference and reference.name.text) == (200, "me.png")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "prompt"),
        ({"prompt": ""}, "empty_string", "prompt"),
        ({"prompt": 7}, "invalid_type", "prompt"),
        ({"prompt": "a\0b"}, "invalid_value", "prompt"),
        (GOOD | {"n": 2}, "unknown_parameter", "n"),
        (GOOD | {"seconds": True}, "invalid_type", "seconds"),
        (GOOD | {"seconds": "5"}, "invalid_value", "seconds"),
        (GOOD | {"size": "1x1"}, "invalid_value", "size"),
        (GOOD | {"model": "sora-9"}, "invalid_value", "model"),
        (GOOD | {"purpose": "fun"}, "invalid_value", "purpose"),
        (GOOD | {"max_cost_usd": "a lot"}, "invalid_value", "max_cost_usd"),
        (GOOD | {"max_cost_usd": "1e999999"}, "invalid_value", "max_cost_usd"),
        (GOOD | {"max_cost_usd": "\ud800"}, "invalid_value", "max_cost_usd"),
        (GOOD | {"\ud800": 1}, "unknown_parameter", "\\ud800"),
        (GOOD | {"team": "film__month"}, "invalid_value", "team"),
        (GOOD | {"team": ""}, "invalid_value", "team"),
        (GOOD | {"project": "\ud800"}, "invalid_value", "project"),
        (GOOD | {"input_reference": "me.png"}, "invalid_type", "input_reference"),
        (GOOD | {"input_reference": {"image_url": "data:image/png;base64,???"}}, "invalid_image_url", None),
        (GOOD | {"characters": [{"id": 1}]}, "invalid_type", "characters[0].id"),
        ([], "invalid_type", "body"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_recorded(
    client: httpx2.AsyncClient, session: Session, body: Any, code: str, param: str | None
) -> None:
    answer = await client.post("/videos", content=json.dumps(body))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code)
    assert error["param"] in {param, "input_reference.image_url"}
    assert answer.headers["x-should-retry"] == "false"
    assert "--" not in error["message"]
    assert requested(session) == []


async def test_an_absurd_count_of_attempts_is_that_of_a_first_one(
    client: httpx2.AsyncClient, session: Session
) -> None:
    answer = await client.post("/videos", json=GOOD, headers={"x-stainless-retry-count": "9" * 5000})
    assert (answer.status_code, len(requested(session))) == (200, 1)


@pytest.mark.parametrize("limit", ["0000000001000", "0" * 4400, "101", "-1", "1e1"])
async def test_a_list_has_a_limit_of_a_hundred_however_it_is_written(
    client: httpx2.AsyncClient, limit: str
) -> None:
    answer = await client.get("/videos", params={"limit": limit})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize(
    ("kind", "end"),
    [("multipart/form-data; boundary=B", b""), ("multipart/form-data; charset=undefined; boundary=B", b"--")],
    ids=["cut off", "no charset"],
)
async def test_a_form_that_is_not_whole_is_refused(
    client: httpx2.AsyncClient, session: Session, kind: str, end: bytes
) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red kite\r\n--B' + end + b"\r\n"
    answer = await client.post("/videos", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_multipart_form")
    assert requested(session) == []


async def test_a_text_file_called_png_is_refused(client: httpx2.AsyncClient, session: Session) -> None:
    file = {"input_reference": ("me.png", b"I am no image", "image/png")}
    answer = await client.post("/videos", data=GOOD, files=file)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_file")
    assert "me.png" in answer.json()["error"]["message"]
    assert "/tmp" not in answer.json()["error"]["message"]  # not a path that is used
    assert requested(session) == []


async def test_an_image_of_another_size_is_refused(client: httpx2.AsyncClient, session: Session) -> None:
    file = {"input_reference": ("me.png", image((64, 64)), "image/png")}
    answer = await client.post("/videos", data=GOOD, files=file)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_reference")
    assert requested(session) == []


async def test_a_body_beyond_the_limit_is_refused_whether_it_says_so_or_not(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("render_service.server.gateway.posts.MAX_JSON_BYTES", 1_000)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 500

    for content in (b" " * 1_001, endless()):
        answer = await client.post("/videos", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("terms", "extra"),
    [
        ({"team": "film"}, {"team": "ads"}),
        ({"project": "spring"}, {"project": "autumn"}),
        ({"purposes": ("draft",)}, {"purpose": "final"}),
    ],
)
async def test_a_key_permits_only_its_own_team_project_and_purposes(
    gateway: httpx2.AsyncClient, session: Session, terms: dict[str, Any], extra: dict[str, str]
) -> None:
    key = key_for(session, **terms)
    answer = await gateway.post("/videos", json=GOOD | extra, headers={"authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert requested(session) == []


async def test_a_reader_may_not_request(gateway: httpx2.AsyncClient, session: Session) -> None:
    key = key_for(session, "eve", "auditor")
    answer = await gateway.post("/videos", json=GOOD, headers={"authorization": f"Bearer {key}"})
    assert (answer.status_code, "requester" in answer.json()["error"]["message"]) == (403, True)


async def test_requests_per_minute_are_limited(gateway: httpx2.AsyncClient, session: Session) -> None:
    headers = {"authorization": f"Bearer {key_for(session, requests_per_minute=1)}"}
    answers = [await gateway.post("/videos", json=GOOD, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert int(answers[1].headers["retry-after"]) > 0


async def test_a_remix_an_edit_and_an_extension_start_from_our_ids(
    client: httpx2.AsyncClient, session: Session, settled: Callable[[str], Awaitable[None]]
) -> None:
    video = (await client.post("/videos", json=GOOD)).json()["id"]
    await settled(video)
    remix = await client.post(f"/videos/{video}/remix", json={"prompt": "change the kite to a blue kite"})
    edit = await client.post("/videos/edits", json={"prompt": "make it night", "video": {"id": video}})
    extension = {"prompt": "it lands", "seconds": "4", "video[id]": video}
    longer = await client.post("/videos/extensions", files={k: (None, v) for k, v in extension.items()})
    assert [each.status_code for each in (remix, edit, longer)] == [200, 200, 200]
    assert remix.json()["remixed_from_video_id"] == video
    assert longer.json()["seconds"] == "8"


async def test_an_edit_of_an_uploaded_film_can_be_remixed_and_extended_and_the_film_itself_cannot(
    client: httpx2.AsyncClient, clip: bytes, settled: Callable[[str], Awaitable[None]]
) -> None:
    files = {"video": ("kite.mp4", clip, "video/mp4")}
    form = {"prompt": "it lands", "seconds": "4"}
    refused = await client.post("/videos/extensions", data=form, files=files)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "video")
    assert "Edit it first" in error["message"]
    edit = (await client.post("/videos/edits", data={"prompt": "make it night"}, files=files)).json()["id"]
    await settled(edit)
    longer = await client.post("/videos/extensions", json=form | {"video": {"id": edit}})
    remix = await client.post(f"/videos/{edit}/remix", json={"prompt": "change the kite to a blue kite"})
    assert [each.status_code for each in (longer, remix)] == [200, 200], (longer.json(), remix.json())


async def test_a_remix_of_several_changes_is_denied_with_what_to_do(
    client: httpx2.AsyncClient, settled: Callable[[str], Awaitable[None]]
) -> None:
    video = (await client.post("/videos", json=GOOD)).json()["id"]
    await settled(video)
    prompt = "change the kite to a blue kite and make the sky green"
    answer = await client.post(f"/videos/{video}/remix", json={"prompt": prompt})
    error, trace = answer.json()["error"], answer.json()["denial_trace"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "SEVERAL_CHANGES", "prompt")
    assert "make 2 remixes" in error["message"]
    assert (trace["detail_code"], answer.headers["x-sora-ledger-decision"]) == ("SEVERAL_CHANGES", "deny")


async def test_an_unclear_remix_is_denied_until_its_one_change_is_declared(
    client: httpx2.AsyncClient, settled: Callable[[str], Awaitable[None]]
) -> None:
    video = (await client.post("/videos", json=GOOD)).json()["id"]
    await settled(video)
    unclear = {"prompt": "make it better"}
    refused = await client.post(f"/videos/{video}/remix", json=unclear)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "CHANGE_UNCLEAR", "declare_change")
    header = {"x-sora-ledger-declare-change": "style"}
    assert (await client.post(f"/videos/{video}/remix", json=unclear, headers=header)).status_code == 200


async def test_a_remix_of_another_teams_video_is_not_found(
    gateway: httpx2.AsyncClient, session: Session
) -> None:
    film, ads = ({"authorization": f"Bearer {key_for(session, team, team=team)}"} for team in ("film", "ads"))
    video = (await gateway.post("/videos", json=GOOD, headers=film)).json()["id"]
    answer = await gateway.post(f"/videos/{video}/remix", json={"prompt": "a blue kite"}, headers=ads)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_not_found")


async def test_a_character_is_created_from_an_upload(client: httpx2.AsyncClient, clip: bytes) -> None:
    file = {"video": ("kite.mp4", clip, "video/mp4")}
    answer = await client.post("/videos/characters", data={"name": "Kite"}, files=file)
    assert (answer.status_code, answer.json()["name"]) == (200, "Kite")
    text = {"video": ("kite.mp4", b"no film", "video/mp4")}
    refused = await client.post("/videos/characters", data={"name": "Kite"}, files=text)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_video_file")


@pytest.fixture
def settled(session: Session) -> Callable[[str], Awaitable[None]]:
    """Wait until the video of a public id is stored."""

    async def wait(video: str) -> None:
        job = await session.job(video.replace("video_", "job_"))
        await settle(session, job, interval_s=0.05, timeout_s=30)

    return wait


async def test_a_denial_names_the_field_that_was_denied(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/videos", json=GOOD | {"size": "1024x1792"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "SIZE_NOT_OFFERED", "size")
    assert "if you set 'model' to sora-2-pro" in error["message"]


async def test_a_server_that_takes_long_leaves_the_video_queued(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    held_back: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = at(sandbox(faults=("create=slow@1",)).base_url)
    monkeypatch.setattr(serving, "Posts", partial(Posts, answer_s=0.05))
    async with client_of(session) as client:
        client.headers["authorization"] = f"Bearer {key_for(session)}"
        answer = await client.post("/videos", json=GOOD)
        assert (answer.status_code, answer.json()["status"]) == (200, "queued")
        held_back.set()
        job = answer.headers["x-sora-ledger-job"]
        while (await session.job(job)).state is State.SUBMITTING:  # noqa: ASYNC110  # the task is the gateway's
            await asyncio.sleep(0.01)
        assert (await session.job(job)).state is State.RUNNING


async def test_a_message_of_the_command_line_is_written_in_the_fields_of_the_api() -> None:
    assert in_api_terms("use --max-cost 2.50, or --character-id") == "use max_cost_usd 2.50, or characters"
