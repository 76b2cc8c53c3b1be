"""One client, every server: what a profile says is what its server does, imitated by the sandbox.

Every departure from the protocol that is in `profiles.toml` is checked twice: it holds as the profile is, and
it does not where the profile is without it.
"""

import base64
import io
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from ledger.events import SubmissionAccepted, SubmissionIntended, SubmissionRejected, SubmissionUnknown
from ledger.terms import Operation, Status, Variant
from sora_adapter.client import VideosClient
from sora_adapter.errors import (
    AdapterError,
    ContentGone,
    ContentNotReady,
    OperationUnsupported,
    ServerBusy,
    ServerUnreachable,
    VideoNotFound,
)
from sora_adapter.models import Observation
from sora_adapter.polling import poll
from sora_adapter.profiles import Profile, Quirk, profile, profiles
from sora_adapter.requests import ReferenceFile, ReferenceUrl, SubmitCall
from sora_adapter.sandbox.emulators import NAMES
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
SERVERS = ("sandbox", *NAMES)
MERGE = """
[merge]
like = "custom"
title = "Merge Gateway"
description = "A gateway that takes JSON only."
operations = ["create", "retrieve", "content"]
variants = ["video"]
create_as = "json_only"
"""
CALL = SubmitCall(operation=Operation.CREATE, prompt="a fox runs", model="sora-2", size="1280x720", seconds=4)
INTENT = SubmissionIntended(
    attempt_id="att_1", request_sha256="0" * 64, profile="any", server="here", model="sora-2"
)


@dataclass
class Server:
    """A running imitation, the profile that goes with it, and what tests ask it beside the API."""

    profile: Profile
    origin: str

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def client(self, changed: Profile | None = None) -> VideosClient:
        return VideosClient(changed or self.profile, self.base_url, "any-key")

    def plan(self, *faults: str) -> None:
        httpx2.post(f"{self.origin}/_sandbox/faults", json={"faults": faults}).raise_for_status()

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = httpx2.get(f"{self.origin}/_sandbox/requests").json()
        return counts

    @property
    def requests(self) -> int:
        return sum(self.counts.values())


Check = Callable[[VideosClient, Server], Awaitable[bool]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of clips for all servers, so that each is rendered once."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture
def run(tmp_path: Path, media: Path) -> Callable[..., AbstractContextManager[Server]]:
    """Return a context in which the server of a profile runs, always on the data of this test."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "media").symlink_to(media, target_is_directory=True)
    own = tmp_path / "own.toml"
    own.write_text(MERGE)

    @contextmanager
    def running(name: str, render_seconds: float = 0) -> Iterator[Server]:
        settings = SandboxSettings(
            data_dir=tmp_path / "data",
            render_seconds=render_seconds,
            media="cached",
            clock=lambda: NOW,
            imitates=name if name in NAMES else None,
        )
        with SandboxServer(settings) as server:
            yield Server(profile(name, own), server.origin)

    return running


@pytest.fixture
def server(
    run: Callable[..., AbstractContextManager[Server]], request: pytest.FixtureRequest
) -> Iterator[Server]:
    with run(request.param) as running:
        yield running


def every_server(names: tuple[str, ...] = SERVERS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", names, indirect=True)


async def _ignore(_: Observation) -> None:
    """Take note of nothing."""


async def _created(client: VideosClient, call: SubmitCall = CALL) -> str:
    accepted = await client.submit(INTENT, call)
    assert isinstance(accepted, SubmissionAccepted), accepted
    return accepted.video_id


async def _download(client: VideosClient, video_id: str, variant: Variant = Variant.VIDEO) -> bytes:
    async with client.fetch(video_id, variant) as content:
        return b"".join([chunk async for chunk in content])


def _unknown_id(server: Server) -> str:
    """Return an id such as the server makes, of a video it never made."""
    if server.profile.name != "litellm":
        return "video_0"
    return (
        "video_" + base64.b64encode(b"litellm:custom_llm_provider:openai;model_id:;video_id:video_0").decode()
    )


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1280, 720), "teal").save(buffer, "PNG")
    return buffer.getvalue()


# --- the contract --------------------------------------------------------------------------------------


@every_server()
async def test_a_render_is_submitted_awaited_and_downloaded_whole(server: Server) -> None:
    async with server.client() as client:
        video_id = await _created(client)
        observation = await poll(client, video_id, interval_s=1, timeout_s=30, on_observation=_ignore)
        clip = await _download(client, video_id)
    assert (observation.video_id, observation.status, clip[4:8]) == (video_id, Status.COMPLETED, b"ftyp")


@every_server()
async def test_an_image_is_taken_to_start_from(server: Server) -> None:
    image = ReferenceFile("fox.png", "image/png", _picture())
    async with server.client() as client:
        assert await _created(client, replace(CALL, input_reference=image))


@every_server()
async def test_the_server_lists_what_it_made_or_is_not_asked(server: Server) -> None:
    async with server.client() as client:
        video_id = await _created(client)
        if server.profile.can_list:
            assert [observation.video_id for observation in (await client.list(limit=5)).observations] == [
                video_id
            ]
        else:
            with pytest.raises(OperationUnsupported, match="does not offer a list of its videos"):
                await client.list()
    assert server.counts["lists"] == int(server.profile.can_list)


@every_server()
async def test_a_video_is_deleted_once_or_the_server_is_not_asked(server: Server) -> None:
    async with server.client() as client:
        video_id = await _created(client)
        if server.profile.offers("delete"):
            assert [(await client.delete(video_id)).answer for _ in range(2)] == ["deleted", "not_found"]
        else:
            with pytest.raises(OperationUnsupported, match="does not offer deletions"):
                await client.delete(video_id)
            assert server.counts["deletes"] == 0


@every_server()
async def test_a_failed_job_is_seen_as_failed_with_its_reason_and_without_bytes(server: Server) -> None:
    async with server.client() as client:
        video_id = await _created(client, replace(CALL, prompt="a fox [fail]"))
        observation = await poll(client, video_id, interval_s=1, timeout_s=30, on_observation=_ignore)
        with pytest.raises(ContentGone, match="it failed"):
            await _download(client, video_id)
    assert observation.error
    assert observation.error.message
    assert (observation.status, "blocked" in str(observation.error.message.text)) == (Status.FAILED, True)


@pytest.mark.parametrize("name", SERVERS)
async def test_a_download_that_comes_too_early_is_not_ready(
    run: Callable[..., AbstractContextManager[Server]], name: str
) -> None:
    with run(name, render_seconds=3600) as server:
        async with server.client() as client:
            with pytest.raises(ContentNotReady):
                await _download(client, await _created(client))


@every_server()
async def test_a_video_it_never_made_is_not_found(server: Server) -> None:
    async with server.client() as client:
        with pytest.raises(VideoNotFound):
            await client.observe(_unknown_id(server))


@every_server()
async def test_a_request_it_judges_and_declines_proves_what_the_profile_says(server: Server) -> None:
    async with server.client() as client:
        outcome = await client.submit(INTENT, replace(CALL, size="999x999"))
    expected = SubmissionRejected if server.profile.refusal_is_proof else SubmissionUnknown
    assert isinstance(outcome, expected)
    assert outcome.error
    assert outcome.error.message
    assert "999x999" in str(outcome.error.message.text)


@every_server()
async def test_a_server_that_is_busy_says_when_to_ask_again(server: Server) -> None:
    async with server.client() as client:
        video_id = await _created(client)
        server.plan("retrieve=429@7:1")
        with pytest.raises(ServerBusy) as caught:
            await client.observe(video_id)
    assert caught.value.retry_after_ms == 7000


@every_server()
async def test_an_answer_that_is_lost_leaves_the_outcome_unknown(server: Server) -> None:
    server.plan("create=kept-but-answer-lost:1")
    async with server.client() as client:
        assert isinstance(await client.submit(INTENT, CALL), SubmissionUnknown)
    assert server.counts["creates"] == 1


@every_server()
async def test_a_question_that_is_lost_is_no_observation(server: Server) -> None:
    async with server.client() as client:
        video_id = await _created(client)
        server.plan("retrieve=lost:1")
        with pytest.raises(ServerUnreachable):
            await client.observe(video_id)


@every_server()
async def test_a_remix_is_made_or_the_server_is_not_asked(server: Server) -> None:
    async with server.client() as client:
        remix = replace(CALL, operation=Operation.REMIX, source_video_id=await _created(client))
        before = server.requests
        if server.profile.offers("remix"):
            assert (await client.observe(await _created(client, remix))).status is Status.COMPLETED
        else:
            with pytest.raises(OperationUnsupported):
                await client.submit(INTENT, remix)
            assert server.requests == before


@every_server()
@pytest.mark.parametrize("operation", [Operation.EDIT, Operation.EXTEND])
async def test_an_edit_or_extension_by_id_is_made_or_the_server_is_not_asked(
    server: Server, operation: Operation
) -> None:
    async with server.client() as client:
        change = replace(CALL, operation=operation, source_video_id=await _created(client))
        before = server.requests
        if server.profile.offers(operation.value):
            assert (await client.observe(await _created(client, change))).status is Status.COMPLETED
        else:
            with pytest.raises(OperationUnsupported):
                await client.submit(INTENT, change)
            assert server.requests == before


@every_server()
async def test_an_uploaded_video_is_edited_or_the_server_is_not_asked(server: Server) -> None:
    async with server.client() as client:
        clip = ReferenceFile("fox.mp4", "video/mp4", await _download(client, await _created(client)))
        edit = replace(CALL, operation=Operation.EDIT, source_file=clip)
        before = server.requests
        if server.profile.offers("edit_upload"):
            assert await _created(client, edit)
        else:
            with pytest.raises(OperationUnsupported):
                await client.submit(INTENT, edit)
            assert server.requests == before


@every_server()
async def test_a_character_is_made_shown_and_used_or_the_server_is_not_asked(server: Server) -> None:
    async with server.client() as client:
        clip = ReferenceFile("fox.mp4", "video/mp4", await _download(client, await _created(client)))
        before = server.requests
        if server.profile.offers("character"):
            made = await client.create_character("Rufus", clip)
            assert await client.get_character(made.character_id) == made
            assert await _created(client, replace(CALL, character_ids=(made.character_id,)))
        else:
            with pytest.raises(OperationUnsupported, match="characters"):
                await client.create_character("Rufus", clip)
            with pytest.raises(OperationUnsupported, match="characters"):
                await client.get_character("char_1")
            assert server.requests == before


@every_server()
async def test_a_field_beyond_the_protocol_is_taken_or_the_server_is_not_asked(server: Server) -> None:
    seeded = replace(CALL, options={"seed": 7})
    async with server.client() as client:
        if server.profile.offers("seed"):
            assert await _created(client, seeded)
        else:
            with pytest.raises(OperationUnsupported, match="does not offer a seed"):
                await client.submit(INTENT, seeded)
            assert server.requests == 0


async def test_several_images_are_sent_where_the_server_takes_them(
    run: Callable[..., AbstractContextManager[Server]],
) -> None:
    image = ReferenceFile("fox.png", "image/png", _picture())
    with run("vllm-omni") as server:
        async with server.client() as client:
            assert await _created(client, replace(CALL, input_reference=image, more_references=(image,)))
        assert server.counts["creates"] == 1


@pytest.mark.parametrize("name", [name for name in SERVERS if name != "merge" and profile(name).can_list])
async def test_a_list_proves_an_absence_only_where_it_survives_a_restart(
    run: Callable[..., AbstractContextManager[Server]], name: str
) -> None:
    with run(name) as server:
        async with server.client() as client:
            video_id = await _created(client)
    with run(name) as restarted:
        async with restarted.client() as client:
            listed = [observation.video_id for observation in (await client.list()).observations]
    assert video_id in listed or not profile(name).list_proves_absence


# --- what each profile says differently ----------------------------------------------------------------


async def _id_of_create_stays(client: VideosClient, _: Server) -> bool:
    video_id = await _created(client)
    return (await client.observe(video_id)).video_id == video_id


async def _foreign_source_is_not_shown(client: VideosClient, _: Server) -> bool:
    remix = replace(CALL, operation=Operation.REMIX, source_video_id=await _created(client))
    return (await client.observe(await _created(client, remix))).remixed_from_video_id is None


async def _original_error_is_read(client: VideosClient, _: Server) -> bool:
    outcome = await client.submit(INTENT, replace(CALL, size="999x999"))
    assert isinstance(outcome, SubmissionUnknown)
    return outcome.error is not None and (outcome.error.code, outcome.error.param) == (
        "invalid_value",
        "size",
    )


async def _retry_after_is_read(client: VideosClient, server: Server) -> bool:
    video_id = await _created(client)
    server.plan("retrieve=429@7:1")
    with pytest.raises(ServerBusy) as caught:
        await client.observe(video_id)
    return caught.value.retry_after_ms == 7000


async def _cost_is_reported(client: VideosClient, _: Server) -> bool:
    prepared = await client.prepare(CALL)
    return (await client.submit_prepared(INTENT, prepared)).reported_cost_usd_micros == 400_000


async def _failed_job_is_seen(client: VideosClient, _: Server) -> bool:
    video_id = await _created(client, replace(CALL, prompt="a fox [fail]"))
    return (await client.observe(video_id)).status is Status.FAILED


async def _create_is_accepted(client: VideosClient, _: Server) -> bool:
    return isinstance(await client.submit(INTENT, CALL), SubmissionAccepted)


async def _deletion_is_confirmed(client: VideosClient, _: Server) -> bool:
    return (await client.delete(await _created(client))).answer == "deleted"


QUIRKS: dict[Quirk, Check] = {
    Quirk.IDS_REWRITTEN: _id_of_create_stays,
    Quirk.FOREIGN_SOURCE_IDS: _foreign_source_is_not_shown,
    Quirk.ERROR_IN_MESSAGE: _original_error_is_read,
    Quirk.PREFIXED_HEADERS: _retry_after_is_read,
    Quirk.COST_HEADER: _cost_is_reported,
    Quirk.FAILED_JOB_IS_AN_HTTP_ERROR: _failed_job_is_seen,
    Quirk.INTEGER_SECONDS: _create_is_accepted,
    Quirk.DELETION_SHOWS_THE_VIDEO: _deletion_is_confirmed,
}


async def _holds(check: Check, server: Server, changed: Profile) -> bool:
    async with server.client(changed) as client:
        try:
            return await check(client, server)
        except AdapterError:
            return False


@pytest.mark.parametrize("is_known", [True, False], ids=["with", "without"])
@pytest.mark.parametrize(
    ("server", "quirk"),
    [(known.name, quirk) for known in profiles().values() for quirk in known.quirks],
    indirect=["server"],
)
async def test_each_quirk_in_the_file_is_needed(server: Server, quirk: Quirk, *, is_known: bool) -> None:
    others = {other: text for other, text in server.profile.quirks.items() if other is not quirk}
    changed = server.profile if is_known else server.profile.model_copy(update={"quirks": others})
    assert await _holds(QUIRKS[quirk], server, changed) is is_known


def test_every_quirk_there_can_be_is_in_some_profile() -> None:
    assert {quirk for known in profiles().values() for quirk in known.quirks} == set(Quirk)


@pytest.mark.parametrize("known", profiles().values(), ids=profiles())
def test_each_quirk_names_the_section_of_its_server(known: Profile) -> None:
    assert all(text[:2] == "1." for text in known.quirks.values())


async def _video_can_be_fetched(client: VideosClient, _: Server) -> bool:
    return (await _download(client, await _created(client)))[4:8] == b"ftyp"


async def _thumbnail_is_no_video(client: VideosClient, _: Server) -> bool:
    video_id = await _created(client)
    try:
        return (await _download(client, video_id, Variant.THUMBNAIL))[4:8] != b"ftyp"
    except OperationUnsupported:
        return True


async def _image_url_is_taken(client: VideosClient, server: Server) -> bool:
    url = f"data:image/png;base64,{base64.b64encode(_picture()).decode()}"
    await _created(client, replace(CALL, input_reference=ReferenceUrl(url)))
    jobs = httpx2.get(f"{server.origin}/_sandbox/jobs").json()["data"]
    return jobs[-1]["reference_sha256"] is not None


async def _upload_is_taken(client: VideosClient, _: Server) -> bool:
    image = ReferenceFile("fox.png", "image/png", _picture())
    return bool(await _created(client, replace(CALL, input_reference=image)))


async def _refused_create_stays_open(client: VideosClient, _: Server) -> bool:
    return isinstance(await client.submit(INTENT, replace(CALL, size="999x999")), SubmissionUnknown)


EVERYTHING = tuple(Variant)


@pytest.mark.parametrize("is_known", [True, False], ids=["with", "without"])
@pytest.mark.parametrize(
    ("server", "without", "check"),
    [
        ("litellm", {"variants": EVERYTHING}, _thumbnail_is_no_video),
        ("litellm", {"refusal_is_proof": True}, _refused_create_stays_open),
        ("vllm-omni", {"variants": EVERYTHING}, _thumbnail_is_no_video),
        ("vllm-omni", {"create_as": "json"}, _create_is_accepted),
        ("vllm-omni", {"reference_by": {"url": "input_reference"}}, _image_url_is_taken),
        ("sglang", {"variants": EVERYTHING}, _video_can_be_fetched),
        ("sglang", {"reference_by": {"url": "input_reference_url"}}, _image_url_is_taken),
        ("merge", {"create_as": "multipart"}, _create_is_accepted),
        ("merge", {"create_as": "json"}, _upload_is_taken),
    ],
    indirect=["server"],
)
async def test_each_fact_that_departs_from_the_protocol_is_needed(
    server: Server, without: dict[str, Any], check: Check, *, is_known: bool
) -> None:
    changed = server.profile if is_known else server.profile.model_copy(update=without)
    try:
        holds = await _holds(check, server, changed)
    except AssertionError:  # the create itself was refused
        holds = False
    assert holds is is_known
